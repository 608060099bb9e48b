"""How runs, slices and days are written as rows of CostRuns, and read from them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from shared.ledger.columns import COST_COLUMN
from shared.messages import QUEUES
from shared.runs.model import DayTask, ListedScope, Run, RunStatus, Slice, started
from shared.scope_list import Period, Source
from shared.scopes import Scope
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row
from shared.versions import VERSION, MalformedError, converted, demand, has_packed, reads

TABLE = "CostRuns"
RUNS = "runs"
POISON = "poison"
INVOICES = "invoices"
COLUMNS = "columns"
"""The partitions that are no run's own."""
SLICE: Final = "slice|"
DAY: Final = "day|"
DAY_STATES: Final = frozenset({"open", "published", "failed"})

RUN_CURE: Final = "restore it; the next run over its days reads them again"
SLICE_CURE: Final = "restore it, or leave it: the next run over its days reads them again"
DAY_CURE: Final = "restore it, or leave it: the next run publishes the day if it still differs"
POISON_CURE: Final = "restore it, or remove it once you know what it was evidence of"

_DAY_KEY: Final = ("seeding", "metric", "day")
_GENERATION: Final = re.compile(r"[0-9]{8}T[0-9]{12}Z-[0-9a-f]{6}")
"""What `shared.read.ending.generation_id` writes."""
_NO_LATER: Final = datetime(9000, 1, 1, tzinfo=UTC)


MOST_SLICES: Final = 999_999
"""More than every window of a day of 37 months, for hundreds of scopes: how long a run may take goes by its slices,
and must be a time."""

LONGEST_CAUSE: Final = 8000
"""A property holds 32,000 characters; a cause that names a thousand things is told by its beginning."""


@dataclass(frozen=True, slots=True)
class _Poison:
    """What every record of a poisoned message tells; later releases may tell more."""

    raw: str
    inserted_on: datetime
    drained_at: datetime


class _Counted(msgspec.Struct, frozen=True):
    total: int
    reconciled: int
    failed: int


class _DaySummed(msgspec.Struct, frozen=True):
    metric: str
    day: str
    state: str


class _Failure(msgspec.Struct, frozen=True):
    scope: str | None
    metric: str | None
    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")
    state: str
    cause: str | None
    cure: str | None


class _Summary(msgspec.Struct, frozen=True):
    """A closed run's summary, as `shared.summary` writes it."""

    run_id: str
    status: RunStatus
    slices: _Counted
    pages: int
    rows_read: int
    duplicates_dropped: int
    generations_discarded: int
    requests: int
    throttled: int
    days: list[_DaySummed]
    totals: dict[str, dict[str, str]]
    failures: list[_Failure]


def slice_row(item: Slice) -> Row:
    """Write a slice as its row."""
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
        "background": item.background,
        "restarts": item.restarts,
        "waiting_for": item.waiting_for,
        "state": item.state.value,
        "discarded": item.discarded,
        "requests": item.requests,
        "throttled": item.throttled,
    }
    cause = None if item.cause is None else item.cause[:LONGEST_CAUSE]
    optional = {
        "cause": cause,
        "cure": item.cure,
        "not_before": item.not_before,
        "period": item.period,
        "awaits": item.awaits,
    }
    values.update({name: value for name, value in optional.items() if value is not None})
    return Row(item.run, f"{SLICE}{item.name}", values)


@reads(TABLE, SLICE_CURE)
def read_slice(row: Row) -> Slice:
    """Read a slice from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    grouping, scope = _text(row, "grouping"), _text(row, "scope")
    demand(row.rk.startswith(SLICE), "RowKey", row.rk)
    _text(row, "tolerance")
    held = {**row.values, "grouping": grouping.split(",") if grouping else ()}
    told = {
        "run": row.pk,
        "name": row.rk.removeprefix(SLICE),
        "etag": row.etag,
        "touched_at": row.timestamp,
    }
    item = converted(Slice, held, told, constant={"kind": "slice"})
    demand(all(item.grouping), "grouping", grouping)
    demand(Scope.parse(scope).key == item.scope_key, "scope_key", item.scope_key)
    demand(item.metric in COST_COLUMN, "metric", item.metric)
    demand(item.source in set(Source), "source", item.source)
    by_query = item.source == Source.QUERY
    demand(bool(item.grouping) == by_query, "grouping", grouping)
    demand(item.period is None if by_query else item.period in set(Period), "period", item.period)
    demand(item.tolerance.is_finite() and item.tolerance >= 0, "tolerance", str(item.tolerance))
    demand(_is_generation(item.generation), "generation", item.generation)
    demand(item.awaits is None or _is_generation(item.awaits), "awaits", item.awaits)
    demand(item.first <= item.reading_first, "reading_first", item.reading_first.isoformat())
    demand(
        item.reading_first <= item.reading_last <= item.last, "reading_last", item.reading_last.isoformat()
    )
    demand(item.page_size > 0, "page_size", item.page_size)
    demand(item.reading > 0, "reading", item.reading)
    return item


def run_row(run: Run) -> Row:
    """Write a run as its row."""
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


@reads(TABLE, RUN_CURE)
def read_run(row: Row) -> Run:
    """Read a run from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    told = {
        "id": row.rk,
        "scopes": unpack_json("scopes", row.values, tuple[ListedScope, ...]),
        "summary": _summary(row),
        "etag": row.etag,
    }
    run = converted(Run, row.values, told, packed=("scopes", "summary"))
    demand(0 <= run.planned <= MOST_SLICES, "planned", run.planned)
    demand(run.first <= run.last, "last", run.last.isoformat())
    demand((run.closed_at is None) == (run.status is RunStatus.OPEN), "status", run.status.value)
    demand((run.summary is None) == (run.status is RunStatus.OPEN), "status", run.status.value)
    return run


def day_row(task: DayTask) -> Row:
    """Write a day as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "day",
        "seeding": task.seeding,
        "state": task.state,
        "restarts": task.restarts,
    }
    if task.cause is not None:
        values["cause"] = task.cause[:LONGEST_CAUSE]
    return Row(task.run, f"{DAY}{task.seeding}|{task.metric}|{task.day.isoformat()}", values)


@reads(TABLE, DAY_CURE)
def read_day(row: Row) -> DayTask:
    """Read a day from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    parts = row.rk.removeprefix(DAY).split("|")
    demand(row.rk.startswith(DAY) and len(parts) == len(_DAY_KEY), "RowKey", row.rk)
    demand(row.values.get("seeding") == parts[0], "seeding", row.values.get("seeding"))
    told = {
        "run": row.pk,
        **dict(zip(_DAY_KEY, parts, strict=True)),
        "etag": row.etag,
        "touched_at": row.timestamp,
    }
    held = {name: value for name, value in row.values.items() if name != "seeding"}
    task = converted(DayTask, held, told, constant={"kind": "day"})
    demand(task.metric in COST_COLUMN, "RowKey", row.rk)
    demand(task.state in DAY_STATES, "state", task.state)
    return task


@reads(TABLE, POISON_CURE)
def read_poison(row: Row) -> Row:
    """Give back the record of a message that could not be worked, once it is sure that it is one.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    kept = {name: row.values[name] for name in ("raw", "inserted_on", "drained_at")}
    converted(_Poison, kept, {})
    demand(row.rk.split("|")[0] in QUEUES, "RowKey", row.rk)
    return row


def _is_generation(name: str) -> bool:
    """Tell whether a reading may be called so: what it began at is a time, and one to which time can be added."""
    if _GENERATION.fullmatch(name) is None:
        return False
    try:
        return started(name) < _NO_LATER
    except ValueError:
        return False


def _text(row: Row, name: str) -> str:
    """Give a property that is a text, though its field is more than that."""
    value = row.values[name]
    if not isinstance(value, str):
        raise MalformedError(f'has {type(value).__name__} as "{name}", text was expected')
    return value


def _summary(row: Row) -> dict[str, Any] | None:
    if not has_packed("summary", row.values):
        return None
    # Checked as what it is, given as the object that is printed.
    unpack_json("summary", row.values, _Summary)
    return unpack_json("summary", row.values, dict[str, Any])
