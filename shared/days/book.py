"""The book of days: every read and every change of CostDays."""

from contextlib import suppress
from dataclasses import replace
from datetime import date

from shared.days.model import Attempt, Day, Pointer, Publication, Reading, moved, noted
from shared.days.rows import (
    PUBLICATION,
    TABLE,
    partition,
    place,
    pointer_row,
    publication_row,
    read_pointer,
    read_publication,
)
from shared.storage.errors import Conflict
from shared.storage.rows import quoted
from shared.storage.tables import Tables

RACES = 20


class DayBook:
    """Reads and writes the rows of CostDays."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def publication(self, metric: str, day: date) -> Publication | None:
        """Read a day's publication with its ETag."""
        row = await self._tables.get(TABLE, partition(metric, day), PUBLICATION)
        return None if row is None else read_publication(row)

    async def pointers(self, metric: str, day: date) -> list[Pointer]:
        """Read a day's pointers, in the order of their keys."""
        condition = (
            f"PartitionKey eq {quoted(partition(metric, day))} and RowKey ge 'scope|' and RowKey lt 'scope}}'"
        )
        return [read_pointer(row) for row in await self._tables.query(TABLE, condition)]

    async def days(self, metric: str, first: date, last: date) -> dict[date, Day]:
        """Read all rows of the days from `first` to `last`; a day without any is absent."""
        pointers: dict[date, list[Pointer]] = {}
        publications: dict[date, Publication] = {}
        for row in await self._tables.query(TABLE, _between(metric, first, last)):
            _, day = place(row)
            if row.rk == PUBLICATION:
                publications[day] = read_publication(row)
            else:
                pointers.setdefault(day, []).append(read_pointer(row))
        return {
            day: Day(tuple(pointers.get(day, ())), publications.get(day))
            for day in sorted(pointers.keys() | publications.keys())
        }

    async def of_scope(self, metric: str, key: str, first: date, last: date) -> dict[date, Pointer]:
        """Read one scope's pointers from `first` to `last`."""
        condition = f"{_between(metric, first, last)} and RowKey eq {quoted(f'scope|{key}')}"
        rows = map(read_pointer, await self._tables.query(TABLE, condition))
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

    async def leave_unfinished(self, metric: str, day: date) -> None:
        """Mark a day whose publisher gave up, maybe half-way: it must be published again, whatever its view."""
        publication = await self.publication(metric, day)
        if publication is not None:
            # Who published it meanwhile left it whole.
            with suppress(Conflict):
                await self.save_publication(replace(publication, unfinished=True))

    async def save_publication(self, publication: Publication) -> None:
        """Write a day's publication under the ETag that its predecessor was read with.

        Raises:
            Conflict: somebody else published the day meanwhile.
        """
        row = publication_row(publication)
        if publication.etag is None:
            await self._tables.insert(TABLE, row)
        else:
            await self._tables.replace(TABLE, row, publication.etag)

    async def _save(self, changed: Pointer, read: Pointer) -> bool:
        if changed == read:
            return True
        row = pointer_row(changed)
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
            else read_pointer(row)
        )


def _between(metric: str, first: date, last: date) -> str:
    return (
        f"PartitionKey ge {quoted(partition(metric, first))} "
        f"and PartitionKey le {quoted(partition(metric, last))}"
    )
