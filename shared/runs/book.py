"""The book of runs: every read and every change of CostRuns."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from itertools import groupby
from typing import Any

from shared.runs.model import DayTask, Run, RunStatus, Slice
from shared.runs.rows import (
    COLUMNS,
    DAY,
    INVOICES,
    POISON,
    RUNS,
    SLICE,
    TABLE,
    day_row,
    read_day,
    read_poison,
    read_run,
    read_slice,
    run_row,
    slice_row,
)
from shared.storage.errors import Conflict
from shared.storage.rows import Insert, Row, quoted
from shared.storage.tables import Tables
from shared.versions import VERSION, Refused, UnreadableError, readable

BATCH = 100


class RunBook:
    """Reads and writes the rows of CostRuns. Every change of a row is made under the ETag it was read with.

    Whatever reads a row raises UnreadableError where somebody edited it or another version wrote it. Whatever
    lists rows leaves such a row out instead where `refused` is given, and tells it.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def plan(self, slices: Iterable[Slice]) -> None:
        """Write the slices of a seeding; they count only once `open` has written the run that names it."""
        rows = [slice_row(item) for item in slices]
        for start in range(0, len(rows), BATCH):
            try:
                await self._tables.batch(TABLE, [Insert(row) for row in rows[start : start + BATCH]])
            except Conflict:
                # A seeding's name is its own and a transaction is done whole: an earlier try of this very one was.
                if await self._tables.get(TABLE, rows[start].pk, rows[start].rk) is None:
                    raise

    async def open(self, run: Run) -> Run:
        """Write the run's row: from here on the run exists.

        Raises:
            Conflict: a run of that id exists.
        """
        etag = await self._tables.insert(TABLE, run_row(run))
        return replace(run, etag=etag)

    async def run(self, run: str) -> Run | None:
        """Find a run by its id.

        Raises:
            UnreadableError: its row cannot be read.
        """
        row = await self._tables.get(TABLE, RUNS, run)
        return None if row is None else read_run(row)

    async def runs(self, *, only_open: bool = False, refused: Refused | None = None) -> list[Run]:
        """List runs, oldest id first.

        Raises:
            UnreadableError: a run's row cannot be read, and `refused` is not given.
        """
        condition = f"PartitionKey eq {quoted(RUNS)}"
        if only_open:
            condition += f" and status eq {quoted(RunStatus.OPEN.value)}"
        return readable(await self._tables.query(TABLE, condition), read_run, refused)

    async def save_run(self, run: Run) -> Run:
        """Replace a run's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, run_row(run), _etag(run.etag))
        return replace(run, etag=etag)

    async def slice(self, run: str, name: str) -> Slice | None:
        """Find one slice.

        Raises:
            UnreadableError: its row cannot be read.
        """
        row = await self._tables.get(TABLE, run, f"{SLICE}{name}")
        return None if row is None else read_slice(row)

    async def slices(
        self, run: Run, *, only_open: bool = False, refused: Refused | None = None
    ) -> list[Slice]:
        """List the slices that the run's seeding planned, in their order.

        Raises:
            UnreadableError: a slice's row cannot be read, and `refused` is not given.
        """
        return readable(await self._rows(run, "slice", only_open=only_open), read_slice, refused)

    async def save_slice(self, item: Slice) -> Slice:
        """Replace a slice's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, slice_row(item), _etag(item.etag))
        return replace(item, etag=etag)

    async def plan_days(self, tasks: Iterable[DayTask]) -> None:
        """Write the days that a run must publish.

        Raises:
            Conflict: one of them is there already.
        """
        rows = [day_row(task) for task in tasks]
        for start in range(0, len(rows), BATCH):
            await self._tables.batch(TABLE, [Insert(row) for row in rows[start : start + BATCH]])

    async def day(self, run: Run, metric: str, day: date) -> DayTask | None:
        """Find one day of a run.

        Raises:
            UnreadableError: its row cannot be read.
        """
        row = await self._tables.get(TABLE, run.id, f"{DAY}{run.seeding}|{metric}|{day.isoformat()}")
        return None if row is None else read_day(row)

    async def days(
        self, run: Run, *, only_open: bool = False, refused: Refused | None = None
    ) -> list[DayTask]:
        """List the days that the run had to publish.

        Raises:
            UnreadableError: a day's row cannot be read, and `refused` is not given.
        """
        return readable(await self._rows(run, "day", only_open=only_open), read_day, refused)

    async def save_day(self, task: DayTask) -> DayTask:
        """Replace a day's row.

        Raises:
            Conflict: somebody changed it since it was read.
        """
        etag = await self._tables.replace(TABLE, day_row(task), _etag(task.etag))
        return replace(task, etag=etag)

    async def any_open(self, run: str, seeding: str) -> bool:
        """Tell whether a slice or a day of the run is still open.

        One that cannot be read can never end, so nobody waits for it.
        """
        condition = (
            f"PartitionKey eq {quoted(run)} and state eq {quoted('open')} and seeding eq {quoted(seeding)}"
        )
        first = await self._tables.query(TABLE, condition, top=1)
        if not first or _any_readable(first):
            return bool(first)
        return _any_readable(await self._tables.query(TABLE, condition))

    async def keep_poison(self, queue: str, message: str, values: Mapping[str, Any]) -> None:
        """Keep the evidence of a message that could not be worked; writing it twice changes nothing."""
        row = Row(POISON, poison_key(queue, message), {"version": VERSION, **values})
        await self._tables.upsert(TABLE, row)

    async def poison(self, *, refused: Refused | None = None) -> list[Row]:
        """List the messages that could not be worked.

        Raises:
            UnreadableError: a record cannot be read, and `refused` is not given.
        """
        rows = await self._tables.query(TABLE, f"PartitionKey eq {quoted(POISON)}")
        return readable(rows, read_poison, refused)

    async def names(self) -> set[str]:
        """Name all runs, those that cannot be read included."""
        rows = await self._tables.query(TABLE, f"PartitionKey eq {quoted(RUNS)}", select=["version"])
        return {row.rk for row in rows}

    async def forget(self, run: Run) -> None:
        """Remove a run's slices and days, then the run.

        Names of runs sort by their start, so what lies between this run and the one before it belongs to
        seedings that died before they wrote their run's row, and goes as well.
        """
        before = max((name for name in await self.names() if name < run.id), default="")
        condition = f"PartitionKey gt {quoted(before)} and PartitionKey le {quoted(run.id)}"
        rows = await self._tables.query(TABLE, condition, select=["kind"])
        for partition, group in groupby(rows, key=lambda row: row.pk):
            if partition in {RUNS, POISON, INVOICES, COLUMNS}:
                continue
            await self._tables.remove(TABLE, partition, [row.rk for row in group])
        await self._tables.delete(TABLE, RUNS, run.id)

    async def _rows(self, run: Run, kind: str, *, only_open: bool) -> list[Row]:
        condition = (
            f"PartitionKey eq {quoted(run.id)} and RowKey ge {quoted(kind + '|')} "
            f"and RowKey lt {quoted(kind + '}')} and seeding eq {quoted(run.seeding)}"
        )
        if only_open:
            condition += f" and state eq {quoted('open')}"
        return await self._tables.query(TABLE, condition)


def poison_key(queue: str, message: str) -> str:
    """Name the record of a poisoned message of a queue."""
    return f"{queue}|{message}"


def _any_readable(rows: Iterable[Row]) -> bool:
    read: Callable[[Row], Slice | DayTask]
    for row in rows:
        read = read_slice if row.rk.startswith(SLICE) else read_day
        if readable([row], read, _unsaid):
            return True
    return False


def _unsaid(error: UnreadableError) -> None:
    """Say nothing: whoever works the row, and whoever closes the run, says it."""
    del error


def _etag(etag: str | None) -> str:
    if etag is None:
        raise ValueError("a row that was never read cannot be replaced")
    return etag
