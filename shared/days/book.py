"""The book of days: every read and every change of CostDays."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import date

from shared.days.model import Announced, Attempt, Day, Pointer, Publication, Reading, moved, noted
from shared.days.rows import (
    ANNOUNCED,
    PUBLICATION,
    SCOPE,
    TABLE,
    announced_row,
    day_of,
    partition,
    pointer_row,
    publication_row,
    read_announced,
    read_pointer,
    read_publication,
)
from shared.storage.errors import Conflict
from shared.storage.rows import Row, quoted
from shared.storage.tables import Tables
from shared.versions import UnreadableError, tell

DayRefused = Callable[[date, UnreadableError], None]
"""Is told which day is left out, and why: somebody edited one of its rows, or another version wrote it."""

RACES = 20


class DayBook:
    """Reads and writes the rows of CostDays.

    Whatever reads a row raises UnreadableError where somebody edited it or another version wrote it. What lists
    days leaves the whole day of such a row out instead where `refused` is given, and tells it.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def publication(self, metric: str, day: date) -> Publication | None:
        """Read a day's publication with its ETag.

        Raises:
            UnreadableError: its row cannot be read.
        """
        row = await self._tables.get(TABLE, partition(metric, day), PUBLICATION)
        return None if row is None else read_publication(row)

    async def pointers(self, metric: str, day: date) -> list[Pointer]:
        """Read a day's pointers, in the order of their keys.

        Raises:
            UnreadableError: one of their rows cannot be read.
        """
        condition = (
            f"PartitionKey eq {quoted(partition(metric, day))} and RowKey ge 'scope|' and RowKey lt 'scope}}'"
        )
        return [read_pointer(row) for row in await self._tables.query(TABLE, condition)]

    async def days(
        self, metric: str, first: date, last: date, *, refused: DayRefused | None = None
    ) -> dict[date, Day]:
        """Read all rows of the days from `first` to `last`; a day without any is absent.

        Raises:
            UnreadableError: a row cannot be read, and `refused` is not given.
        """
        pointers: dict[date, list[Pointer]] = {}
        publications: dict[date, Publication] = {}

        def read(day: date, row: Row) -> None:
            if row.rk == PUBLICATION:
                publications[day] = read_publication(row)
            else:
                pointers.setdefault(day, []).append(read_pointer(row))

        rows = await self._tables.query(TABLE, _between(metric, first, last))
        left_out = _each_day(rows, read, refused)
        return {
            day: Day(tuple(pointers.get(day, ())), publications.get(day))
            for day in sorted((pointers.keys() | publications.keys()) - left_out)
        }

    async def of_scope(
        self, metric: str, key: str, first: date, last: date, *, refused: DayRefused | None = None
    ) -> dict[date, Pointer]:
        """Read one scope's pointers from `first` to `last`.

        Raises:
            UnreadableError: a pointer's row cannot be read, and `refused` is not given.
        """
        pointers: dict[date, Pointer] = {}

        def read(day: date, row: Row) -> None:
            pointers[day] = read_pointer(row)

        condition = f"{_between(metric, first, last)} and RowKey eq {quoted(f'{SCOPE}{key}')}"
        _each_day(await self._tables.query(TABLE, condition), read, refused)
        return pointers

    async def move(self, pointer: Pointer, reading: Reading, gives_way: Callable[[Pointer], bool]) -> bool:
        """Point a scope's day at `reading`, unless a later reading stands there.

        The caller has judged `pointer` as it was read. Where another stands there by now, `gives_way` is asked of
        that one: False means that it does not, and that nothing was written.
        """
        for _ in range(RACES):
            if await self._save(moved(pointer, reading), pointer):
                return True
            pointer = await self._again(pointer)
            if not gives_way(pointer):
                return False
        raise Conflict(f"{TABLE} {partition(pointer.metric, pointer.day)} {SCOPE}{pointer.key}")

    async def note(self, pointer: Pointer, attempt: Attempt, stands: Callable[[Pointer], bool]) -> None:
        """Note an attempt that gave no reading, unless a later reading or attempt stands there.

        `stands` is asked of the pointer as it was read last: True means that the attempt says nothing against it.
        """
        for _ in range(RACES):
            if stands(pointer) or await self._save(noted(pointer, attempt), pointer):
                return
            pointer = await self._again(pointer)
        raise Conflict(f"{TABLE} {partition(pointer.metric, pointer.day)} {SCOPE}{pointer.key}")

    async def leave_unfinished(self, metric: str, day: date) -> None:
        """Mark a day whose publisher gave up, maybe half-way: it must be published again, whatever its view.

        A publication that cannot be read stays as it is: nobody publishes over it.
        """
        try:
            publication = await self.publication(metric, day)
        except UnreadableError as error:
            tell(error)
            return
        if publication is not None:
            # Who published it meanwhile left it whole.
            with suppress(Conflict):
                await self.save_publication(replace(publication, unfinished=True))

    async def save_publication(self, publication: Publication) -> str:
        """Write a day's publication under the ETag that its predecessor was read with, and give the new one.

        Raises:
            Conflict: somebody else published the day meanwhile.
        """
        row = publication_row(publication)
        if publication.etag is None:
            return await self._tables.insert(TABLE, row)
        return await self._tables.replace(TABLE, row, publication.etag)

    async def announce(self, announced: Announced) -> None:
        """Write what the publication's row will say, before its manifest is written.

        Of two publishers the later one's stands: the other's manifest is then one that nobody announced.
        """
        await self._tables.upsert(TABLE, announced_row(announced))

    async def announced(self, metric: str, day: date) -> Announced | None:
        """Read what was announced last, published or not.

        Raises:
            UnreadableError: its row cannot be read.
        """
        row = await self._tables.get(TABLE, f"{ANNOUNCED}{partition(metric, day)}", PUBLICATION)
        return None if row is None else read_announced(row)

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
        row = await self._tables.get(TABLE, partition(pointer.metric, pointer.day), f"{SCOPE}{pointer.key}")
        return (
            replace(pointer, reading=None, attempt=None, changed_at=None, etag=None)
            if row is None
            else read_pointer(row)
        )


def _each_day(
    rows: Iterable[Row], read: Callable[[date, Row], None], refused: DayRefused | None
) -> set[date]:
    """Read rows with their days, and name the days that were left out."""
    left_out: set[date] = set()
    for row in rows:
        try:
            day = day_of(row)
        except UnreadableError as error:
            if refused is None:
                raise
            # It is a row of no day, so none is left out for it.
            tell(error)
            continue
        try:
            read(day, row)
        except UnreadableError as error:
            if refused is None:
                raise
            refused(day, error)
            left_out.add(day)
    return left_out


def _between(metric: str, first: date, last: date) -> str:
    return (
        f"PartitionKey ge {quoted(partition(metric, first))} "
        f"and PartitionKey le {quoted(partition(metric, last))}"
    )
