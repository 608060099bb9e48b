"""Pointers and publications: the rows of the table CostDays.

    partition METRIC|DAY    row scope|KEY       which reading of a scope counts for the day, and its last attempt
                            row publication     what was last published of the day, and from which readings

A pointer only ever moves to a later reading, whoever moves it and in whatever order; its `changed_at` never
goes back. A publication is written last, under its ETag.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from shared.storage.errors import Conflict
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row, quoted
from shared.storage.tables import Tables

TABLE = "CostDays"
VERSION = 1
PUBLICATION = "publication"
RACES = 20


class UnknownVersionError(Exception):
    """An entity of CostDays is of another version, or was edited: it is named and never guessed at."""


class ScopeState(StrEnum):
    """What a manifest says of a scope on a day."""

    RECONCILED = "reconciled"
    MISSING = "missing"
    FAILED = "failed"
    VANISHED = "vanished"
    UNRECONCILED = "unreconciled"
    STALE = "stale"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class Reading:
    """One complete reading of a scope's day. Amounts are per currency; `shape` names source and grouping.

    Later is what has the greater (`read_at`, `generation`): the service's clock, then the generation's start.
    """

    run: str
    slice: str
    generation: str
    digest: str
    shape: str
    records: int
    totals: Mapping[str, Decimal]
    absolutes: Mapping[str, Decimal]
    control: Mapping[str, Decimal]
    control_kind: str
    agreed: bool
    read_at: datetime

    @property
    def order(self) -> tuple[datetime, str]:
        """What orders readings in time."""
        return self.read_at, self.generation


@dataclass(frozen=True, slots=True)
class Attempt:
    """A slice that ended without a reading that counts: its state, its cause and when.

    `since` is when the first of the attempts in a row ended that way.
    """

    run: str
    state: ScopeState
    cause: str
    at: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class Pointer:
    """A scope's day: the reading that counts, if any, and the last failed attempt since, if any."""

    metric: str
    day: date
    scope: str
    key: str
    reading: Reading | None = None
    changed_at: datetime | None = None
    attempt: Attempt | None = None
    etag: str | None = None

    @property
    def state(self) -> ScopeState:
        """The scope's state on this day, in the manifest's words."""
        reading, attempt = self.reading, self.attempt
        if reading is None:
            return ScopeState.MISSING if attempt is None else attempt.state
        if not reading.agreed:
            return ScopeState.UNRECONCILED
        if attempt is None:
            return ScopeState.RECONCILED
        return ScopeState.VANISHED if attempt.state is ScopeState.VANISHED else ScopeState.STALE


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One published file with the ETag that it was written under."""

    path: str
    rows: int
    bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class Publication:
    """What was last published of a day. `view` maps a scope key to its (path, digest, shape, state).

    `listed` are the keys of the scope list and `scopes_at` dates it; `as_of` is the latest time that stands in
    the day's ledger; `disagrees` names shadowed scopes that see another cost, with both figures. `unfinished`
    is set where a later publisher gave up half-way: the day must be published again.
    """

    metric: str
    day: date
    view: Mapping[str, tuple[str, str, str, str]]
    listed: tuple[str, ...]
    scopes_at: datetime
    as_of: datetime
    status: str
    totals: Mapping[str, Decimal]
    published_at: datetime
    files: tuple[PublishedFile, ...] = ()
    disagrees: Mapping[str, str] = field(default_factory=dict)
    manifest_etag: str = ""
    unfinished: bool = False
    etag: str | None = None


def partition(metric: str, day: date) -> str:
    """Name the partition of a day."""
    return f"{metric}|{day.isoformat()}"


def _check(row: Row) -> Mapping[str, Any]:
    if row.values.get("version") != VERSION:
        raise UnknownVersionError(
            f"{TABLE} entity ({row.pk}, {row.rk}) is of version {row.values.get('version')!r}; "
            f"this release reads version {VERSION}",
        )
    return row.values


def _place(row: Row) -> tuple[str, date]:
    metric, day = row.pk.split("|")
    return metric, date.fromisoformat(day)


def _pointer_row(pointer: Pointer) -> Row:
    values: dict[str, Any] = {"version": VERSION, "scope": pointer.scope}
    if pointer.reading is not None:
        values.update(pack_json("reading", msgspec.to_builtins(pointer.reading)))
    if pointer.attempt is not None:
        values.update(pack_json("attempt", msgspec.to_builtins(pointer.attempt)))
    if pointer.changed_at is not None:
        values["changed_at"] = pointer.changed_at
    return Row(partition(pointer.metric, pointer.day), f"scope|{pointer.key}", values)


def _pointer(row: Row) -> Pointer:
    value = _check(row)
    metric, day = _place(row)
    return Pointer(
        metric=metric,
        day=day,
        scope=value["scope"],
        key=row.rk.removeprefix("scope|"),
        reading=unpack_json("reading", value, Reading) if "reading_0" in value else None,
        changed_at=value.get("changed_at"),
        attempt=unpack_json("attempt", value, Attempt) if "attempt_0" in value else None,
        etag=row.etag,
    )


def _publication_row(publication: Publication) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "scopes_at": publication.scopes_at,
        "as_of": publication.as_of,
        "status": publication.status,
        "published_at": publication.published_at,
        "manifest_etag": publication.manifest_etag,
        "unfinished": publication.unfinished,
    }
    values.update(pack_json("view", msgspec.to_builtins(publication.view)))
    values.update(pack_json("totals", msgspec.to_builtins(publication.totals)))
    values.update(pack_json("listed", publication.listed))
    values.update(pack_json("disagrees", dict(publication.disagrees)))
    values.update(pack_json("files", msgspec.to_builtins(publication.files)))
    return Row(partition(publication.metric, publication.day), PUBLICATION, values)


def _publication(row: Row) -> Publication:
    value = _check(row)
    metric, day = _place(row)
    return Publication(
        metric=metric,
        day=day,
        view=unpack_json("view", value, dict[str, tuple[str, str, str, str]]),
        listed=unpack_json("listed", value, tuple[str, ...]),
        disagrees=unpack_json("disagrees", value, dict[str, str]),
        scopes_at=value["scopes_at"],
        as_of=value["as_of"],
        status=value["status"],
        totals=unpack_json("totals", value, dict[str, Decimal]),
        published_at=value["published_at"],
        files=unpack_json("files", value, tuple[PublishedFile, ...]),
        manifest_etag=value["manifest_etag"],
        unfinished=value["unfinished"],
        etag=row.etag,
    )


@dataclass(frozen=True, slots=True)
class Day:
    """All that CostDays holds of one day."""

    pointers: tuple[Pointer, ...]
    publication: Publication | None


class DayBook:
    """Reads and writes the rows of CostDays."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def publication(self, metric: str, day: date) -> Publication | None:
        """Read a day's publication with its ETag."""
        row = await self._tables.get(TABLE, partition(metric, day), PUBLICATION)
        return None if row is None else _publication(row)

    async def pointers(self, metric: str, day: date) -> list[Pointer]:
        """Read a day's pointers, in the order of their keys."""
        condition = (
            f"PartitionKey eq {quoted(partition(metric, day))} and RowKey ge 'scope|' and RowKey lt 'scope}}'"
        )
        return [_pointer(row) for row in await self._tables.query(TABLE, condition)]

    async def days(self, metric: str, first: date, last: date) -> dict[date, Day]:
        """Read all rows of the days from `first` to `last`; a day without any is absent."""
        pointers: dict[date, list[Pointer]] = {}
        publications: dict[date, Publication] = {}
        for row in await self._tables.query(TABLE, _between(metric, first, last)):
            _, day = _place(row)
            if row.rk == PUBLICATION:
                publications[day] = _publication(row)
            else:
                pointers.setdefault(day, []).append(_pointer(row))
        return {
            day: Day(tuple(pointers.get(day, ())), publications.get(day))
            for day in sorted(pointers.keys() | publications.keys())
        }

    async def of_scope(self, metric: str, key: str, first: date, last: date) -> dict[date, Pointer]:
        """Read one scope's pointers from `first` to `last`."""
        condition = f"{_between(metric, first, last)} and RowKey eq {quoted(f'scope|{key}')}"
        rows = map(_pointer, await self._tables.query(TABLE, condition))
        return {pointer.day: pointer for pointer in rows}

    async def move(self, pointer: Pointer, reading: Reading) -> None:
        """Point a scope's day at `reading`, unless a later reading stands there."""
        for _ in range(RACES):
            if await self._save(moved(pointer, reading), pointer):
                return
            pointer = await self._again(pointer)
        raise Conflict(f"{TABLE} {partition(pointer.metric, pointer.day)} scope|{pointer.key}")

    async def note(self, pointer: Pointer, attempt: Attempt) -> None:
        """Note an attempt that gave no reading, unless a later reading or attempt stands there."""
        for _ in range(RACES):
            if await self._save(noted(pointer, attempt), pointer):
                return
            pointer = await self._again(pointer)
        raise Conflict(f"{TABLE} {partition(pointer.metric, pointer.day)} scope|{pointer.key}")

    async def save_publication(self, publication: Publication) -> None:
        """Write a day's publication under the ETag that its predecessor was read with.

        Raises:
            Conflict: somebody else published the day meanwhile.
        """
        row = _publication_row(publication)
        if publication.etag is None:
            await self._tables.insert(TABLE, row)
        else:
            await self._tables.replace(TABLE, row, publication.etag)

    async def _save(self, changed: Pointer, read: Pointer) -> bool:
        if changed == read:
            return True
        row = _pointer_row(changed)
        try:
            if read.etag is None:
                await self._tables.insert(TABLE, row)
            else:
                await self._tables.replace(TABLE, row, read.etag)
        except Conflict:
            return False
        return True

    async def _again(self, pointer: Pointer) -> Pointer:
        row = await self._tables.get(TABLE, partition(pointer.metric, pointer.day), f"scope|{pointer.key}")
        return (
            replace(pointer, reading=None, attempt=None, changed_at=None, etag=None)
            if row is None
            else _pointer(row)
        )


def moved(pointer: Pointer, reading: Reading) -> Pointer:
    """Give the pointer after this reading: itself where a later reading stands."""
    old = pointer.reading
    if old is not None and old.order >= reading.order:
        return pointer
    same = old is not None and (old.digest, old.shape, old.agreed) == (
        reading.digest,
        reading.shape,
        reading.agreed,
    )
    changed_at = pointer.changed_at if same else _latest(pointer.changed_at, reading.read_at)
    attempt = pointer.attempt
    # The service dates its answers in whole seconds.
    if attempt is not None and attempt.at.replace(microsecond=0) <= reading.read_at:
        attempt = None
    return replace(pointer, reading=reading, changed_at=changed_at, attempt=attempt)


def noted(pointer: Pointer, attempt: Attempt) -> Pointer:
    """Give the pointer after this attempt: itself where a later reading or attempt stands."""
    if pointer.reading is not None and pointer.reading.read_at > attempt.at:
        return pointer
    if pointer.attempt is not None and pointer.attempt.at >= attempt.at:
        return pointer
    since = attempt.since if pointer.attempt is None else min(pointer.attempt.since, attempt.since)
    return replace(pointer, attempt=replace(attempt, since=since))


def _latest(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)


def _between(metric: str, first: date, last: date) -> str:
    return (
        f"PartitionKey ge {quoted(partition(metric, first))} "
        f"and PartitionKey le {quoted(partition(metric, last))}"
    )
