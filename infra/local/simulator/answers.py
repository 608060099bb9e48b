"""Execute a query: all of its rows in the service's order, each cell written as JSON already."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, partial, reduce
from itertools import islice
from operator import add
from random import Random

from infra.local.simulator.charges import ZERO, Charge, Line, exact_sum, number_text
from infra.local.simulator.query import TAG, Granularity, Query
from infra.local.simulator.tenant import Tenant

Row = tuple[str, ...]

_KEPT_ROWS = 600_000  # of executed answers; a row is some hundred bytes, its texts are shared


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name and the type that the service gives it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An executed query; the first columns are its aggregations. `version` is that of the data."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    version: int


class Answers:
    """Executes queries of a tenant and keeps what they gave until the data changes."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._kept: dict[tuple[Query, int], Answer] = {}

    def get(self, query: Query, outside: int = 0) -> Answer:
        """Give the answer to a query, with up to `outside` rows of the day before and of the day after it."""
        with self._tenant.lock:
            kept = self._kept.pop((query, outside), None)
            if kept is None or kept.version != self._tenant.version:
                kept = execute(self._tenant, query, outside)
            self._kept[query, outside] = kept  # last in, last to go
            self._forget()
        return kept

    def _forget(self) -> None:
        rows = sum(len(answer.rows) for answer in self._kept.values())
        while rows > _KEPT_ROWS and len(self._kept) > 1:
            rows -= len(self._kept.pop(next(iter(self._kept))).rows)


def execute(tenant: Tenant, query: Query, outside: int = 0) -> Answer:
    """Execute a query on the tenant's data as they are now."""
    rows = list(_rows(tenant, query, query.first, query.last))
    if outside:
        for day in (query.first - timedelta(days=1), query.last + timedelta(days=1)):
            rows.extend(islice(_rows(tenant, query, day, day), outside))
    return Answer(_columns(query), tuple(rows), tenant.version)


def _columns(query: Query) -> tuple[Column, ...]:
    names = [Column(name, "Number") for name in query.aggregations]
    if query.granularity is Granularity.DAILY:
        names.append(Column("UsageDate", "Number"))
    elif query.granularity is Granularity.MONTHLY:
        names.append(Column("BillingMonth", "Datetime"))
    for name in query.grouping:
        columns = ("TagKey", "TagValue") if name.startswith(TAG) else (name,)
        names.extend(Column(column, "String") for column in columns)
    return (*names, Column("Currency", "String"))


def _rows(tenant: Tenant, query: Query, first: date, last: date) -> Iterator[Row]:
    groups: dict[tuple[Row, Row], list[Charge]] = {}
    cells_of_line = cache(partial(_cells, grouping=query.grouping))
    cells_of_day = cache(partial(_day_cells, granularity=query.granularity))
    metric, usage_alone = query.metric, query.kind == "Usage"
    for day, charge in tenant.seen(query.scope, first, last):
        line = charge.line
        if charge.cost(metric) is not None and not (usage_alone and line.dimensions["ChargeType"] != "Usage"):
            groups.setdefault((cells_of_day(day), cells_of_line(line)), []).append(charge)
    for (day_cells, cells), charges in groups.items():
        yield (*_amounts(query, charges), *day_cells, *cells)


def _day_cells(day: date, granularity: Granularity) -> Row:
    if granularity is Granularity.DAILY:
        return (f"{day:%Y%m%d}",)
    return (f'"{day:%Y-%m}-01T00:00:00"',) if granularity is Granularity.MONTHLY else ()


def _cells(line: Line, grouping: Sequence[str]) -> Row:
    cells: list[str] = []
    for name in grouping:
        if name.startswith(TAG):
            key = name.removeprefix(TAG)
            cells += [_text(key if key in line.tags else None), _text(line.tags.get(key))]
        else:
            cells.append(_text(line.dimensions[name]))
    return (*cells, _text(line.currency))


def _text(value: str | None) -> str:
    return json.dumps(value, ensure_ascii=False)


def _amounts(query: Query, charges: Sequence[Charge]) -> Iterator[str]:
    metric = query.metric
    for name in query.aggregations:
        amounts = [
            charge.quantity if name == "UsageQuantity" else charge.cost(metric) or ZERO for charge in charges
        ]
        yield number_text(exact_sum(amounts)) if query.grouping else _added_as_doubles(amounts)


def _added_as_doubles(amounts: Sequence[Decimal]) -> str:
    """Add as the service does for its totals: doubles, in whatever order they come."""
    doubles = [float(amount) for amount in amounts]
    Random(len(doubles)).shuffle(doubles)
    return repr(reduce(add, doubles, 0.0))
