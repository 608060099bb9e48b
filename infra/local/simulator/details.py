"""usageDetails: what is asked in a URL, how its records are cut into pages, and the links between them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import blake2b
from itertools import islice
from urllib.parse import quote, unquote

from infra.local.simulator.charges import Metric
from infra.local.simulator.faults import Schema
from infra.local.simulator.paging import BadTokenError, decode_token, encode_token
from infra.local.simulator.query import BadQueryError
from infra.local.simulator.records import Row, Shape, parts, row
from infra.local.simulator.scopes import Scope
from infra.local.simulator.tenant import Tenant

LARGEST_PAGE = 1000

_LINKED = re.compile(r"(?P<first>.*)&sessiontoken=0:(?P<session>[0-9a-f]+)&\$skiptoken=(?P<token>[^&]+)")
_DAY = r"'(\d{4}-\d\d-\d\d)[^']*'"
_FILTER = re.compile(rf"properties/usageStart ge {_DAY} and properties/usageEnd le {_DAY}", re.IGNORECASE)
_METRICS = {"actualcost": Metric.ACTUAL, "amortizedcost": Metric.AMORTIZED}
_SPOILT = {"cost_text": '"{cost}"', "nan": "NaN", "huge": "123456789012345678901.5"}


@dataclass(frozen=True, slots=True)
class DetailsQuery:
    """One question to usageDetails; equal ones are one question."""

    scope: Scope
    metric: Metric
    shape: Shape
    first: date
    last: date


@dataclass(frozen=True, slots=True)
class Link:
    """Where in an answer a request stands: the URL's query up to the link's own part, and the page number."""

    first_query: str
    number: int


def read_link(path: str, query: str) -> Link:
    """Read a request's URL: the first page's, or a link that was handed out and comes back as it was.

    Raises:
        BadTokenError: the link was rebuilt: something of it is not as it was handed out.
    """
    found = _LINKED.fullmatch(query)
    if found is None:
        if "token=" in query.lower():
            raise BadTokenError(query)
        return Link(query, 0)
    number = decode_token(unquote(found["token"]))
    if query != _linked(path, found["first"], number):
        raise BadTokenError(found["session"])
    return Link(found["first"], number)


def next_link(base: str, path: str, first_query: str, number: int) -> str:
    """Write an absolute nextLink: the first page's URL with a session and a page number of the service's own."""
    return f"{base}{quote(path, safe='/-_.~()%:')}?{_linked(path, first_query, number)}"


def _linked(path: str, first_query: str, number: int) -> str:
    session = blake2b(f"{path}?{first_query}#{number}".encode(), digest_size=6).hexdigest()
    token = quote(encode_token(number), safe="")
    return f"{first_query}&sessiontoken=0:{session}&$skiptoken={token}"


def parse_details(said: Mapping[str, str], scope: Scope, shape: Shape, period: str | None) -> DetailsQuery:
    """Read what a URL asks for; `period` is the billing period's name where the path has one.

    Modern agreements take `startDate` and `endDate`, the others `$filter`, each only its own.

    Raises:
        BadQueryError: The service would refuse it.
    """
    metric = _METRICS.get(said.get("metric", "actualcost").lower())
    if metric is None:
        raise BadQueryError(f"Invalid metric '{said['metric']}'.")
    dated = "startDate" in said or "endDate" in said
    if dated != (shape is Shape.MODERN):
        wanted = "startDate and endDate" if shape is Shape.MODERN else "$filter"
        raise BadQueryError(f"The agreement of this scope takes its period in {wanted}.")
    if dated:
        first, last = _day(said.get("startDate")), _day(said.get("endDate"))
    elif "$filter" in said:
        found = _FILTER.fullmatch(said["$filter"].strip())
        if found is None:
            raise BadQueryError(f"Invalid filter: {said['$filter']}")
        first, last = _day(found[1]), _day(found[2])
    elif period is not None:
        first, last = date(1, 1, 1), date(9999, 12, 31)
    else:
        raise BadQueryError("A filter on properties/usageStart and properties/usageEnd is required.")
    if period is not None:
        month = _month(period)
        first, last = max(first, month[0]), min(last, month[1])
    if last < first:
        raise BadQueryError("The end of the period is before its start.")
    return DetailsQuery(scope, metric, shape, first, last)


def _day(text: str | None) -> date:
    try:
        return datetime.fromisoformat(str(text)).date()
    except ValueError:
        raise BadQueryError(f"'{text}' is not a date.") from None


def _month(name: str) -> tuple[date, date]:
    try:
        first = datetime.strptime(f"{name[:6]}01+0000", "%Y%m%d%z").date()
    except ValueError:
        raise BadQueryError(f"There is no billing period '{name}'.") from None
    return first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def page_size(said: Mapping[str, str]) -> int:
    """Read `$top`, which is 1,000 at most.

    Raises:
        BadQueryError: It is no number from 1 to 1,000.
    """
    top = said.get("$top", str(LARGEST_PAGE))
    if not top.isdecimal() or not 1 <= int(top) <= LARGEST_PAGE:
        raise BadQueryError(f"Invalid $top: '{top}'; it goes from 1 to {LARGEST_PAGE}")
    return int(top)


def records(tenant: Tenant, query: DetailsQuery, outside: int = 0) -> tuple[Row, ...]:
    """Give all records that a question is answered with, in the service's order."""
    rows = list(_records(tenant, query, query.first, query.last))
    if outside:
        for day in (query.first - timedelta(days=1), query.last + timedelta(days=1)):
            rows.extend(islice(_records(tenant, query, day, day), outside))
    return tuple(rows)


def _records(tenant: Tenant, query: DetailsQuery, first: date, last: date) -> Iterator[Row]:
    for day, charge in tenant.seen(query.scope, first, last):
        for cost, quantity in parts(tenant.twins_seed, day, charge, query.metric):
            yield row(query.shape, day, charge.line, cost, quantity)


def details_body(rows: Sequence[Sequence[str]], link: str | None, schema: Schema | None = None) -> str:
    """Write one page; `schema` distorts its last record."""
    written = [f"{before}{cost}{after}" for cost, before, after in rows]
    if schema is not None and rows:
        cost, before, after = rows[-1]
        written[-1] = _drifted(schema, cost, before, after)
    tail = "" if link is None else f',"nextLink":{json.dumps(link)}'
    return f'{{"value":[{",".join(written)}]{tail}}}'


def _drifted(schema: Schema, cost: str, before: str, after: str) -> str:
    if schema in _SPOILT:
        return f"{before}{_SPOILT[schema].format(cost=cost)}{after}"
    if schema == "missing_column":
        return re.sub(r'"\w+": $', '"amount": ', before) + cost + after
    if schema == "day":
        return re.sub(r'("date"|"usageStart"): "[^"]*"', r'\1: "2026-05-99T00:00:00Z"', before) + cost + after
    if schema == "column_type":
        return re.sub(r'"(quantity|usageQuantity)": [^,]+', r'"\1": "many"', f"{before}{cost}{after}")
    return json.dumps([cost])
