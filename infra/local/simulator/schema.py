"""Answers whose schema drifted: one page that a reader must refuse by name."""

from collections.abc import Sequence

from infra.local.simulator.answers import Column, Row
from infra.local.simulator.faults import Schema

_BAD_CELLS = {"cost_text": '"{cost}"', "nan": "NaN", "huge": "123456789012345678901.5"}
_NO_SUCH_DAY = "20260599"


def drifted(
    schema: Schema | None, columns: Sequence[Column], rows: Sequence[Row]
) -> tuple[Sequence[Column], Sequence[Row]]:
    """Distort a page; the first column is the cost. A page without rows drifts in its columns alone."""
    if schema == "missing_column":
        return columns[1:], [row[1:] for row in rows]
    if schema == "column_type":
        return [Column(columns[0].name, "String"), *columns[1:]], rows
    if schema is None or not rows:
        return columns, rows
    return columns, [*rows[:-1], _bad_row(schema, columns, rows[-1])]


def _bad_row(schema: Schema, columns: Sequence[Column], row: Row) -> Row:
    if schema == "ragged":
        return row[:-1]
    if schema == "day":
        return tuple(
            _NO_SUCH_DAY if column.name == "UsageDate" else cell
            for column, cell in zip(columns, row, strict=True)
        )
    return (_BAD_CELLS[schema].format(cost=row[0]), *row[1:])
