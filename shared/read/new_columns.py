"""Columns and fields that the service has begun to send: ignored, and told of once, whichever process finds one.

Who tells is said by a row of CostRuns, one for each source and column: the page that inserted it. So the message of
that page, if its worker died in between, tells once more; every other page finds the row and keeps silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from shared.engine import Engine
from shared.events import SCHEMA_NEW_COLUMN, emit
from shared.runs import Slice
from shared.runs.rows import COLUMNS, TABLE
from shared.scope_list import Source
from shared.storage.errors import Conflict
from shared.storage.rows import Row, Value
from shared.versions import VERSION, UnreadableError, converted, demand, reads, tell

CURE: Final = "remove it: the column is told of once more"
LONGEST: Final = 200
"""A longer name is known by its beginning."""


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column that a source was not known to send; `found_by` is the page that tells: its partition and number."""

    source: Source
    name: str
    found_by: str
    found_at: datetime


def column_row(column: NewColumn) -> Row:
    """Write a column as its row."""
    values: dict[str, Value] = {
        "version": VERSION,
        "name": column.name,
        "found_by": column.found_by,
        "found_at": column.found_at,
    }
    return Row(COLUMNS, _key(column.source, column.name), values)


@reads(TABLE, CURE)
def read_column(row: Row) -> NewColumn:
    """Read a column from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    source = row.rk.partition("|")[0]
    demand(source in set(Source), "RowKey", row.rk)
    column = converted(NewColumn, row.values, {"source": source})
    demand(row.rk == _key(column.source, column.name), "RowKey", row.rk)
    return column


def _key(source: Source, name: str) -> str:
    """Name a column in a key, which takes no other characters."""
    return f"{source.value}|{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


async def tell_of_new(engine: Engine, piece: Slice, page: int, columns: Sequence[str]) -> None:
    """Tell of each column that no page has told of before."""
    for full in columns:
        name = full[:LONGEST]
        known = f"{piece.source} column {name}"
        if known in engine.told:
            continue
        found_by = f"{piece.partition}|{page}"
        if await _is_ours(engine, NewColumn(Source(piece.source), name, found_by, engine.clock())):
            emit(SCHEMA_NEW_COLUMN, run=piece.run, slice=piece.name, scope=piece.scope, column=name)
        engine.told.add(known)


async def _is_ours(engine: Engine, column: NewColumn) -> bool:
    """Tell whether this page is the one to tell of a column."""
    tables, row = engine.storage.tables, column_row(column)
    try:
        await tables.insert(TABLE, row)
    except Conflict:
        standing = await tables.get(TABLE, row.pk, row.rk)
    else:
        return True
    try:
        return standing is not None and read_column(standing).found_by == column.found_by
    except UnreadableError as error:
        # Nothing depends on it but who tells: it is no reason to stop a slice.
        tell(error)
        return False
