"""The schema check of usageDetails: from an answer's records to columns of one type each, or a named refusal.

Fields are found by name, each shape's by its own (`shared.read.details_shapes`); unknown ones are named and ignored.
Numbers stay the text they were (`shared.read.schema`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, NoReturn

import msgspec

from shared.read.billing_period import BillingPeriod, told_by
from shared.read.details_shapes import COLUMNS, CURRENCY, SHAPES, SUBSCRIPTION, TAGS, Shape
from shared.read.schema import (
    JSON,
    NOT_JSON,
    NUMBER,
    SchemaDriftError,
    lenient,
    many_objects,
    named,
    number_text,
)
from shared.read.utc_days import utc_day

TELLING = 10
"""So many records of usage on a page tell that a field is lost which none of them has a value of."""

_TEXT = frozenset({str, type(None)})


@dataclass(frozen=True, slots=True)
class Details:
    """A page's records by column, numbers as text, and the link to the next page; `shapes` has each one's.

    `unknown` are fields of the records that their shape is not documented to have, `periods` the different billing
    periods that they tell.
    """

    texts: dict[str, list[str | None]]
    cost: list[str]
    quantity: list[str]
    days: list[date]
    shapes: list[Shape]
    next_link: str | None
    unknown: tuple[str, ...] = ()
    periods: set[BillingPeriod] = field(default_factory=set)

    def kinds(self, first: date, last: date) -> dict[date, tuple[str, ...]]:
        """Name the kinds of the records of each day from `first` to `last`, sorted."""
        found: dict[date, set[str]] = {}
        for day, shape in zip(self.days, self.shapes, strict=True):
            if first <= day <= last:
                found.setdefault(day, set()).add(shape.kind)
        return {day: tuple(sorted(kinds)) for day, kinds in found.items()}


def read(body: bytes, *, wide: bool) -> Details:
    """Read a page. An empty body (204) is a page without records.

    In a scope wider than a subscription each record must name its own.

    Raises:
        TornBodyError: no JSON; ask again.
        SchemaDriftError: a field is missing or of another type, a record of no known shape; names field and row.
            Or a field is lost that records of usage have: many have none and no other has a value of it.
    """
    details = Details({name: [] for name in COLUMNS}, [], [], [], [], None)
    if not body.strip():
        return details
    with many_objects():
        return _read(body, details, wide=wide)


def _read(body: bytes, details: Details, *, wide: bool) -> Details:
    try:
        answer = JSON.decode(body)
    except NOT_JSON as error:
        _read_answer(lenient(body, error), details, wide=wide)
        raise SchemaDriftError(f"the answer is no strict JSON: {error}") from error
    return _read_answer(answer, details, wide=wide)


def _read_answer(answer: object, details: Details, *, wide: bool) -> Details:
    value = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(value, list):
        raise SchemaDriftError("the answer has no list `value`")
    link = answer.get("nextLink")
    if type(link) not in _TEXT:
        raise SchemaDriftError("`nextLink` is no text")
    fields = {kind: _Fields(shape) for kind, shape in SHAPES.items()}
    for row, record in enumerate(value):
        _read_record(row, record, details, fields, wide=wide)
    for of_shape in fields.values():
        of_shape.demand_steady()
    unknown = {name for of_shape in fields.values() for name in of_shape.unknown}
    return replace(details, next_link=link or None, unknown=tuple(sorted(unknown)))


@dataclass(slots=True)
class _Fields:
    """The fields of a page's records of one shape: all names, and how the records of usage have the steady ones.

    `lacking` counts those that have no such field, `filled` names what any of them has a value of.
    """

    shape: Shape
    names: set[str] = field(default_factory=set)
    usage: int = 0
    lacking: Counter[str] = field(default_factory=Counter)
    filled: set[str] = field(default_factory=set)

    @property
    def unknown(self) -> set[str]:
        return self.names - self.shape.documented

    def note(self, properties: Mapping[str, Any], *, usage: bool) -> None:
        self.names.update(properties)
        if usage:
            self.usage += 1
            names = [self.shape.texts[column] for column in self.shape.steady]
            self.lacking.update(name for name in names if name not in properties)
            self.filled.update(name for name in names if properties.get(name))

    def demand_steady(self) -> None:
        """Make sure that no field is lost: its absence would pass for a change of every record.

        Raises:
            SchemaDriftError: one is.
        """
        lost = sorted(self.lacking.keys() - self.filled) if self.usage >= TELLING else []
        if lost:
            raise SchemaDriftError(
                f"field `{lost[0]}` is missing in {self.lacking[lost[0]]} of {self.usage} records of usage, "
                "and no other has a value of it"
            )


def _read_record(
    row: int, record: object, details: Details, fields: Mapping[str | None, _Fields], *, wide: bool
) -> None:
    properties = record.get("properties") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(properties, dict):
        raise SchemaDriftError(f"row {row} has no `properties`")
    kind = record.get("kind")
    if kind is not None and kind not in ("legacy", "modern"):
        raise SchemaDriftError(f"row {row}: `kind` is {str(kind)[:60]!r}, which is no known shape")
    shape = SHAPES[kind]
    details.shapes.append(shape)
    details.cost.append(_number(row, properties, shape.cost))
    details.quantity.append(_number(row, properties, shape.quantity))
    details.days.append(_day(row, properties, shape.day))
    details.periods.add(told_by(properties, shape))
    needed = shape.needed | {SUBSCRIPTION} if wide else shape.needed
    for column in COLUMNS:
        if column == TAGS:
            told = _tags(row, record.get("tags"))
        elif column in shape.texts:
            told = _text(row, properties, shape.texts[column], needed=column in needed)
        else:
            told = shape.fixed.get(column)
        details.texts[column].append(told)
    fields[kind].note(properties, usage=str(details.texts["ChargeType"][-1]).lower() == "usage")
    if not details.texts[CURRENCY][-1]:
        raise SchemaDriftError(f"field `{shape.texts[CURRENCY]}`, row {row}: no currency is given")


def _text(row: int, properties: Mapping[str, Any], name: str, *, needed: bool) -> str | None:
    outer, _, inner = name.rpartition(".")
    if outer:
        nested = properties.get(outer)
        if nested is not None and not isinstance(nested, dict):
            _retyped(outer, row, nested)
        properties = nested or {}
    if inner not in properties:
        if needed:
            raise SchemaDriftError(f"field `{name}` is missing in row {row}")
        return None
    value = properties[inner]
    if type(value) not in _TEXT:
        _retyped(name, row, value)
    return value  # type: ignore[no-any-return]  # its type was looked at


def _number(row: int, properties: Mapping[str, Any], name: str) -> str:
    if name not in properties:
        raise SchemaDriftError(f"field `{name}` is missing in row {row}")
    value = properties[name]
    if type(value) not in NUMBER:
        _retyped(name, row, value)
    return number_text(value)


def _day(row: int, properties: Mapping[str, Any], name: str) -> date:
    told = _text(row, properties, name, needed=True)
    day = None if told is None else utc_day(told)
    if day is None:
        raise SchemaDriftError(f"field `{name}`, row {row}: {str(told)[:60]!r} is no day")
    return day


def _tags(row: int, told: object) -> str | None:
    """Write tags as JSON with sorted keys: the order in an answer means nothing."""
    if told is None or told == {}:
        return None
    if not isinstance(told, dict):
        _retyped("tags", row, told)
    for name, value in told.items():
        if type(value) not in _TEXT:
            _retyped(f"tags.{name}", row, value)
    return msgspec.json.encode(told, order="sorted").decode()


def _retyped(name: str, row: int, value: object) -> NoReturn:
    raise SchemaDriftError(f"field `{name}`, row {row}: {named(value)} is of another type")
