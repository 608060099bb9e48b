"""Runs, their slices and their days: the rows of the table CostRuns.

    partition `runs`      row RUN                         the run (its existence is the run's existence)
    partition RUN         row slice|SEEDING|0007          one (metric, scope, window) of it
    partition RUN         row day|SEEDING|METRIC|DAY      one day it had to publish
    partition `poison`    row QUEUE|MESSAGE               a message that could not be worked, kept as evidence

A seeding that died half-way leaves slices that no run row names: every slice carries the name of its seeding,
and only the seeding that the run row names counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Delete, Insert, Row, quoted
from shared.storage.tables import Tables

TABLE = "CostRuns"
RUNS = "runs"
POISON = "poison"
VERSION = 1
BATCH = 100


class UnknownVersionError(Exception):
    """A row was written by another version of this product, or edited: it is named and never guessed at."""


class SliceState(StrEnum):
    """What became of a slice."""

    OPEN = "open"
    RECONCILED = "reconciled"
    FAILED = "failed"
    VANISHED = "vanished"
    UNRECONCILED = "unreconciled"


class RunStatus(StrEnum):
    """What became of a run: `complete` means that nothing at all is missing."""

    OPEN = "open"
    COMPLETE = "complete"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class ListedScope:
    """A scope of the settings as a run found it: what a manifest must account for."""

    path: str
    key: str
    source: str
    grouping: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `first` to `last` are the days it covers; `scopes` are those of the settings, never fewer.

    `seeded` is set once its first messages are sent, `publishing` once its days are planned, `cleaned` once
    its staged pages are removed.
    """

    id: str
    kind: str
    first: date
    last: date
    full: bool
    seeding: str
    planned: int
    scopes: tuple[ListedScope, ...]
    created_at: datetime
    accept_vanished: bool = False
    seeded: bool = False
    publishing: bool = False
    cleaned: bool = False
    status: RunStatus = RunStatus.OPEN
    closed_at: datetime | None = None
    summary: Mapping[str, Any] | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """One (metric, scope, window) of a run with everything that reading it needs, frozen when it was planned.

    `generation` is the reading that counts now, `reading` its ordinal from 1, `reading_first` to `reading_last`
    the days it asks for; `must_control` is set once a day disagreed, so that no later reading goes unproven.
    `restarts` counts how often it was restarted for the page that `waiting_for` names; `requests` and
    `throttled` count what brought no committed page, the pages count theirs.
    """

    run: str
    name: str
    seeding: str
    scope: str
    scope_key: str
    metric: str
    source: str
    grouping: tuple[str, ...]
    first: date
    last: date
    page_size: int
    tolerance: Decimal
    accept_vanished: bool
    generation: str
    reading: int
    reading_first: date
    reading_last: date
    must_control: bool = False
    not_before: datetime | None = None
    restarts: int = 0
    waiting_for: str = ""
    state: SliceState = SliceState.OPEN
    cause: str | None = None
    cure: str | None = None
    discarded: int = 0
    requests: int = 0
    throttled: int = 0
    etag: str | None = None
    touched_at: datetime | None = None

    @property
    def partition(self) -> str:
        """The registry partition of the generation that counts now."""
        return registry_partition(self.run, self.name, self.generation)


@dataclass(frozen=True, slots=True)
class DayTask:
    """A day that a run found to differ from its publication."""

    run: str
    seeding: str
    metric: str
    day: date
    state: str = "open"
    cause: str | None = None
    restarts: int = 0
    etag: str | None = None
    touched_at: datetime | None = None


def registry_partition(run: str, name: str, generation: str) -> str:
    """Name the partition of CostHashes that holds one generation's pages."""
    return f"{run}|{name}|{generation}"


def slice_name(seeding: str, ordinal: int) -> str:
    """Name the `ordinal`-th slice of a seeding; names sort as they were planned."""
    return f"{seeding}-{ordinal:05d}"


def _checked(row: Row) -> Mapping[str, Any]:
    if row.values.get("version") != VERSION:
        raise UnknownVersionError(
            f"{TABLE} entity ({row.pk}, {row.rk}) is of version {row.values.get('version')!r}; "
            f"this release reads version {VERSION}",
        )
    return row.values


def _slice_row(item: Slice) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "slice",
        "seeding": item.seeding,
        "scope": item.scope,
        "scope_key": item.scope_key,
        "metric": item.metric,
        "source": item.source,
        "grouping": ",".join(item.grouping),
        "first": item.first.isoformat(),
        "last": item.last.isoformat(),
        "page_size": item.page_size,
        "tolerance": str(item.tolerance),
        "accept_vanished": item.accept_vanished,
        "generation": item.generation,
        "reading": item.reading,
        "reading_first": item.reading_first.isoformat(),
        "reading_last": item.reading_last.isoformat(),
        "must_control": item.must_control,
        "restarts": item.restarts,
        "waiting_for": item.waiting_for,
        "state": item.state.value,
        "discarded": item.discarded,
        "requests": item.requests,
        "throttled": item.throttled,
    }
    optional = {"cause": item.cause, "cure": item.cure, "not_before": item.not_before}
    values.update({name: value for name, value in optional.items() if value is not None})
    return Row(item.run, f"slice|{item.name}", values)


def _slice(row: Row) -> Slice:
    value = _checked(row)
    return Slice(
        run=row.pk,
        name=row.rk.removeprefix("slice|"),
        seeding=value["seeding"],
        scope=value["scope"],
        scope_key=value["scope_key"],
        metric=value["metric"],
        source=value["source"],
        grouping=tuple(value["grouping"].split(",")),
        first=date.fromisoformat(value["first"]),
        last=date.fromisoformat(value["last"]),
        page_size=value["page_size"],
        tolerance=Decimal(value["tolerance"]),
        accept_vanished=value["accept_vanished"],
        generation=value["generation"],
        reading=value["reading"],
        reading_first=date.fromisoformat(value["reading_first"]),
        reading_last=date.fromisoformat(value["reading_last"]),
        must_control=value["must_control"],
        not_before=value.get("not_before"),
        restarts=value["restarts"],
        waiting_for=value["waiting_for"],
        state=SliceState(value["state"]),
        cause=value.get("cause"),
        cure=value.get("cure"),
        discarded=value["discarded"],
        requests=value["requests"],
        throttled=value["throttled"],
        etag=row.etag,
        touched_at=row.timestamp,
    )


def _run_row(run: Run) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": run.kind,
        "first": run.first.isoformat(),
        "last": run.last.isoformat(),
        "full": run.full,
        "seeding": run.seeding,
        "planned": run.planned,
        "created_at": run.created_at,
        "accept_vanished": run.accept_vanished,
        "seeded": run.seeded,
        "publishing": run.publishing,
        "cleaned": run.cleaned,
        "status": run.status.value,
    }
    values.update(pack_json("scopes", [msgspec.to_builtins(scope) for scope in run.scopes]))
    if run.closed_at is not None:
        values["closed_at"] = run.closed_at
    if run.summary is not None:
        values.update(pack_json("summary", run.summary))
    return Row(RUNS, run.id, values)


def _run(row: Row) -> Run:
    value = _checked(row)
    return Run(
        id=row.rk,
        kind=value["kind"],
        first=date.fromisoformat(value["first"]),
        last=date.fromisoformat(value["last"]),
        full=value["full"],
        seeding=value["seeding"],
        planned=value["planned"],
        scopes=unpack_json("scopes", value, tuple[ListedScope, ...]),
        created_at=value["created_at"],
        accept_vanished=value["accept_vanished"],
        seeded=value["seeded"],
        publishing=value["publishing"],
        cleaned=value["cleaned"],
        status=RunStatus(value["status"]),
        closed_at=value.get("closed_at"),
        summary=unpack_json("summary", value, dict[str, Any]) if "summary_0" in value else None,
        etag=row.etag,
    )


def _day_row(task: DayTask) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "day",
        "seeding": task.seeding,
        "state": task.state,
        "restarts": task.restarts,
    }
    if task.cause is not None:
        values["cause"] = task.cause
    return Row(task.run, f"day|{task.seeding}|{task.metric}|{task.day.isoformat()}", values)


def _day(row: Row) -> DayTask:
    value = _checked(row)
    _, seeding, metric, day = row.rk.split("|")
    return DayTask(
        run=row.pk,
        seeding=seeding,
        metric=metric,
        day=date.fromisoformat(day),
        state=value["state"],
        cause=value.get("cause"),
        restarts=value["restarts"],
        etag=row.etag,
        touched_at=row.timestamp,
    )


class RunBook:
    """Reads and writes the rows of CostRuns. Every change of a row is made under the ETag it was read with."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def plan(self, slices: Iterable[Slice]) -> None:
        """Write the slices of a seeding; they count only once `open` has written the run that names it.

        Raises:
            Conflict: a slice of that name is there already.
        """
        rows = [_slice_row(item) for item in slices]
        for start in range(0, len(rows), BATCH):
            await self._tables.batch(TABLE, [Insert(row) for row in rows[start : start + BATCH]])

    async def open(self, run: Run) -> Run:
        """Write the run's row: from here on the run exists.

        Raises:
            Conflict: a run of that id exists.
        """
        etag = await self._tables.insert(TABLE, _run_row(run))
        return replace(run, etag=etag)

    async def run(self, run: str) -> Run | None:
        """Find a run by its id."""
        row = await self._tables.get(TABLE, RUNS, run)
        return None if row is None else _run(row)

    async def runs(self, *, only_open: bool = False) -> list[Run]:
        """List runs, oldest id first."""
        condition = f"PartitionKey eq {quoted(RUNS)}"
        if only_open:
            condition += f" and status eq {quoted(RunStatus.OPEN.value)}"
        return [_run(row) for row in await self._tables.query(TABLE, condition)]

    async def save_run(self, run: Run) -> Run:
        """Replace a run's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, _run_row(run), _etag(run.etag))
        return replace(run, etag=etag)

    async def slice(self, run: str, name: str) -> Slice | None:
        """Find one slice."""
        row = await self._tables.get(TABLE, run, f"slice|{name}")
        return None if row is None else _slice(row)

    async def slices(self, run: Run, *, only_open: bool = False) -> list[Slice]:
        """List the slices that the run's seeding planned, in their order."""
        return [_slice(row) for row in await self._rows(run, "slice", only_open=only_open)]

    async def save_slice(self, item: Slice) -> Slice:
        """Replace a slice's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, _slice_row(item), _etag(item.etag))
        return replace(item, etag=etag)

    async def plan_days(self, tasks: Iterable[DayTask]) -> None:
        """Write the days that a run must publish.

        Raises:
            Conflict: one of them is there already.
        """
        rows = [_day_row(task) for task in tasks]
        for start in range(0, len(rows), BATCH):
            await self._tables.batch(TABLE, [Insert(row) for row in rows[start : start + BATCH]])

    async def day(self, run: Run, metric: str, day: date) -> DayTask | None:
        """Find one day of a run."""
        row = await self._tables.get(TABLE, run.id, f"day|{run.seeding}|{metric}|{day.isoformat()}")
        return None if row is None else _day(row)

    async def days(self, run: Run, *, only_open: bool = False) -> list[DayTask]:
        """List the days that the run had to publish."""
        return [_day(row) for row in await self._rows(run, "day", only_open=only_open)]

    async def save_day(self, task: DayTask) -> DayTask:
        """Replace a day's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, _day_row(task), _etag(task.etag))
        return replace(task, etag=etag)

    async def any_open(self, run: str, seeding: str) -> bool:
        """Tell whether a slice or a day of the run is still open."""
        condition = (
            f"PartitionKey eq {quoted(run)} and state eq {quoted('open')} and seeding eq {quoted(seeding)}"
        )
        return bool(await self._tables.query(TABLE, condition, select=["state"], top=1))

    async def keep_poison(self, queue: str, message: str, values: Mapping[str, Any]) -> None:
        """Keep the evidence of a message that could not be worked; writing it twice changes nothing."""
        row = Row(POISON, f"{queue}|{message}", {"version": VERSION, **values})
        await self._tables.upsert(TABLE, row)

    async def poison(self) -> list[Row]:
        """List the messages that could not be worked."""
        return await self._tables.query(TABLE, f"PartitionKey eq {quoted(POISON)}")

    async def forget(self, run: Run) -> None:
        """Remove a run's slices and days, then the run."""
        rows = await self._tables.query(TABLE, f"PartitionKey eq {quoted(run.id)}", select=["kind"])
        for start in range(0, len(rows), BATCH):
            await self._tables.batch(TABLE, [Delete(row.pk, row.rk) for row in rows[start : start + BATCH]])
        await self._tables.delete(TABLE, RUNS, run.id)

    async def _rows(self, run: Run, kind: str, *, only_open: bool) -> list[Row]:
        condition = (
            f"PartitionKey eq {quoted(run.id)} and RowKey ge {quoted(kind + '|')} "
            f"and RowKey lt {quoted(kind + '}')} and seeding eq {quoted(run.seeding)}"
        )
        if only_open:
            condition += f" and state eq {quoted('open')}"
        return await self._tables.query(TABLE, condition)


def _etag(etag: str | None) -> str:
    if etag is None:
        raise ValueError("a row that was never read cannot be replaced")
    return etag
