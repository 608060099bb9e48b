"""The schema check: from the bytes of an answer to columns of one type each, by name, or a named refusal.

Numbers stay as they were written: msgspec hands every JSON number with a fraction or an exponent over as bytes,
which no JSON text becomes, so that no double lies between the provider's figure and ours.
"""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from typing import Any, NoReturn

import msgspec
import numpy as np

from shared.read.query import COST, DAY, QUANTITY, columns


class Constant(str):
    """NaN, Infinity or -Infinity, where a number belongs."""

    __slots__ = ()


class SchemaDriftError(Exception):
    """The answer has not the shape that was asked for; the message names column and row."""


class LostColumnError(SchemaDriftError):
    """A column that was asked for is not in the answer."""

    def __init__(self, column: str) -> None:
        super().__init__(f"column `{column}` is missing")
        self.column = column


class TornBodyError(Exception):
    """The body is no JSON at all: cut off on the way."""


@dataclass(frozen=True, slots=True)
class Table:
    """An answer's rows by column: numbers as text, days as yyyymmdd, and the link to the next page.

    `unknown` are columns that nobody asked for.
    """

    texts: dict[str, list[str | None]]
    cost: list[str]
    quantity: list[str]
    days: list[int]
    rows: int
    next_link: str | None
    unknown: tuple[str, ...] = ()


JSON = msgspec.json.Decoder(float_hook=str.encode)
"""Decodes strict JSON, its numbers with a fraction or an exponent as the bytes they were."""

NUMBER: frozenset[type] = frozenset({bytes, int})
"""The types of a JSON number that `JSON` decoded."""

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `JSON` raises where it cannot."""


def number_text(value: bytes | int) -> str:
    """Give a number that `JSON` decoded as it was written."""
    return value.decode() if type(value) is bytes else str(value)


def named(value: object) -> str:
    """Name a decoded value and its type, a long one cut."""
    kind, text = (
        ("number", value.decode()) if isinstance(value, bytes) else (type(value).__name__, str(value))
    )
    return f"{kind} {text[:60]!r}"


def _number_texts(values: list[bytes | int]) -> list[str]:
    """Do as `number_text` does, without a line of Python for each."""
    whole = np.fromiter(map(isinstance, values, repeat(int)), dtype=bool, count=len(values))
    texts = np.array(values, dtype=object)
    texts[whole] = list(map(str, texts[whole]))
    texts[~whole] = list(map(bytes.decode, texts[~whole]))
    found: list[str] = texts.tolist()
    return found


@contextmanager
def many_objects() -> Iterator[None]:
    """Put off the search for reference cycles: it walks through all of a page's values again and again.

    What is decoded from JSON has none.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read(body: bytes, grouping: Sequence[str]) -> Table:
    """Read a page of a query with this grouping.

    An empty body (204) is a page without rows. Unknown columns are ignored, order does not matter.

    Raises:
        TornBodyError: no JSON; ask again.
        SchemaDriftError: a column is missing or of another type, a row is ragged, a value is of another type.
    """
    wanted = columns(grouping)
    if not body.strip():
        return Table({name: [] for name in wanted}, [], [], [], 0, None)
    with many_objects():
        return _read(body, wanted)


def _read(body: bytes, wanted: Sequence[str]) -> Table:
    properties = _properties(_decode(body))
    names = _names(properties)
    rows = properties.get("rows")
    link = properties.get("nextLink")
    if not isinstance(rows, list):
        raise SchemaDriftError("`rows` is no list")
    if link is not None and not isinstance(link, str):
        raise SchemaDriftError("`nextLink` is no text")
    _check_declared(properties["columns"], names, wanted)
    values = _transpose(rows, len(properties["columns"]))
    positions = {name: names[name.lower()] for name in (*wanted, COST, QUANTITY, DAY)}
    texts = {name: _column(values, positions[name], name, _TEXT) for name in wanted}
    return Table(
        texts=texts,
        cost=_number_texts(_column(values, positions[COST], COST, NUMBER)),
        quantity=_number_texts(_column(values, positions[QUANTITY], QUANTITY, NUMBER)),
        days=_column(values, positions[DAY], DAY, _WHOLE),
        rows=len(rows),
        next_link=link or None,
        unknown=tuple(
            column["name"]
            for place, column in enumerate(properties["columns"])
            if place not in positions.values()
        ),
    )


_TEXT: frozenset[type] = frozenset({str, type(None)})
_WHOLE: frozenset[type] = frozenset({int})


def _decode(body: bytes) -> object:
    try:
        return JSON.decode(body)
    except NOT_JSON as error:
        _explain(body, error)


def _explain(body: bytes, error: Exception) -> NoReturn:
    value = lenient(body, error)
    properties = _properties(value)
    _names(properties)
    names = [column["name"] for column in properties["columns"]]
    rows = properties.get("rows")
    for number, row in enumerate(rows if isinstance(rows, list) else ()):
        for name, item in zip(names, row if isinstance(row, list) else (), strict=False):
            if isinstance(item, Constant):
                raise SchemaDriftError(f"column `{name}`, row {number}: {item} is no number") from error
    raise SchemaDriftError(f"the answer is no strict JSON: {error}") from error


def lenient(body: bytes, error: Exception) -> object:
    """Tell a cut-off body from one that says NaN or Infinity, which is JSON to some writers and no number to us.

    Gives the answer with each such word as a `Constant`, of no type that is allowed anywhere.

    Raises:
        TornBodyError: it is no JSON to anybody; ask again.
    """
    try:
        value: object = json.loads(body, parse_constant=Constant, parse_float=str.encode)
    except (ValueError, RecursionError):
        raise TornBodyError(str(error)) from error
    return value


def _properties(answer: object) -> dict[str, Any]:
    properties = answer.get("properties") if isinstance(answer, dict) else None
    if not isinstance(properties, dict) or not isinstance(properties.get("columns"), list):
        raise SchemaDriftError("the answer has no `properties.columns`")
    return properties


def _names(properties: dict[str, Any]) -> dict[str, int]:
    names: dict[str, int] = {}
    for position, column in enumerate(properties["columns"]):
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            raise SchemaDriftError(f"column {position} has no name")
        name = column["name"].lower()
        if name in names:
            raise SchemaDriftError(f"column `{column['name']}` stands in the answer twice")
        names[name] = position
    return names


def _check_declared(declared: list[dict[str, Any]], names: dict[str, int], wanted: Sequence[str]) -> None:
    for name in (*wanted, COST, QUANTITY, DAY):
        if name.lower() not in names:
            raise LostColumnError(name)
        kind = declared[names[name.lower()]].get("type")
        expected = "Number" if name in {COST, QUANTITY, DAY} else "String"
        if kind != expected:
            raise SchemaDriftError(f"column `{name}` is of type {kind!r}, {expected!r} was expected")


def _transpose(rows: list[Any], width: int) -> list[tuple[Any, ...]]:
    kinds = set(map(type, rows))
    if kinds - {list}:
        number = next(i for i, row in enumerate(rows) if type(row) is not list)
        raise SchemaDriftError(f"row {number} is no list")
    widths = set(map(len, rows))
    if widths - {width}:
        number = next(i for i, row in enumerate(rows) if len(row) != width)
        raise SchemaDriftError(f"row {number} has {len(rows[number])} values for {width} columns")
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _column(values: list[tuple[Any, ...]], position: int, name: str, allowed: frozenset[type]) -> list[Any]:
    column = values[position]
    if set(map(type, column)) - allowed:
        number = next(i for i, value in enumerate(column) if type(value) not in allowed)
        raise SchemaDriftError(f"column `{name}`, row {number}: {named(column[number])} is of another type")
    return list(column)
