"""Read the body of a query as the service does, and refuse what it refuses, in its words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from infra.local.simulator.charges import DIMENSIONS, Metric
from infra.local.simulator.scopes import Scope

NO_DATASET = "Invalid query definition, Dataset is invalid or not supplied"
AGGREGATIONS = ("Cost", "PreTaxCost", "UsageQuantity")
MOST_AGGREGATIONS = 2
LONGEST_DAILY = timedelta(days=31)
MOST_DAYS = 37 * 31
TAG = "tag:"
"""How a grouping by tag is told from one by dimension, here and in the reader's settings."""

_TYPES = ("ActualCost", "AmortizedCost", "Usage")
_BY_LOWER = {name.lower(): name for name in DIMENSIONS}


class BadQueryError(ValueError):
    """The service would answer 400 with this message."""


class Granularity(StrEnum):
    """Into what the service divides the period."""

    DAILY = "Daily"
    MONTHLY = "Monthly"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class Query:
    """One query; equal ones are one query, whatever the order of their JSON."""

    scope: Scope
    kind: str
    granularity: Granularity
    aggregations: tuple[str, ...]
    grouping: tuple[str, ...]
    first: date
    last: date

    @property
    def metric(self) -> Metric:
        """The cost that is asked for; `Usage` is the actual cost of usage alone."""
        return Metric.AMORTIZED if self.kind == "AmortizedCost" else Metric.ACTUAL


def parse_query(body: bytes, scope: Scope, latest: date) -> Query:
    """Read a body; `latest` stands for today where the period is named and not given.

    Raises:
        BadQueryError: The service would refuse it.
    """
    try:
        said = json.loads(body) if body else {}
    except ValueError:
        raise BadQueryError(NO_DATASET) from None
    dataset = said.get("dataset") if isinstance(said, dict) else None
    if not isinstance(dataset, dict):
        raise BadQueryError(NO_DATASET)
    kind = _one_of(said.get("type"), _TYPES, "type")
    granularity = Granularity(
        _one_of(dataset.get("granularity") or "None", tuple(Granularity), "granularity")
    )
    first, last = _period(said, latest)
    if (last - first).days >= MOST_DAYS:
        raise BadQueryError("Invalid query definition: the time period is longer than 37 months")
    if granularity is Granularity.DAILY and last - first >= LONGEST_DAILY:
        first = last - LONGEST_DAILY + timedelta(days=1)  # the service cuts silently
    return Query(scope, kind, granularity, _aggregations(dataset), _grouping(dataset, scope), first, last)


def _one_of(said: object, known: tuple[str, ...], what: str) -> str:
    for name in known:
        if isinstance(said, str) and said.lower() == name.lower():
            return name
    raise BadQueryError(
        f"Invalid query definition: Invalid {what}: '{said}'; valid values: {', '.join(known)}"
    )


def _period(said: Mapping[str, object], latest: date) -> tuple[date, date]:
    month = latest.replace(day=1)
    before = (month - timedelta(days=1)).replace(day=1), month - timedelta(days=1)
    named = {
        "MonthToDate": (month, latest),
        "BillingMonthToDate": (month, latest),
        "TheLastMonth": before,
        "TheLastBillingMonth": before,
        "WeekToDate": (latest - timedelta(days=(latest.weekday() + 1) % 7), latest),
    }
    timeframe = _one_of(said.get("timeframe"), (*named, "Custom"), "timeframe")
    if timeframe in named:
        return named[timeframe]
    period = said.get("timePeriod")
    if not isinstance(period, dict):
        raise BadQueryError("Invalid query definition: Missing time period for a custom timeframe")
    first, last = _day(period.get("from")), _day(period.get("to"))
    if last < first:
        raise BadQueryError("Invalid query definition: Invalid time period: 'from' is later than 'to'")
    return first, last


def _day(text: object) -> date:
    try:
        return datetime.fromisoformat(str(text)).date()
    except ValueError:
        raise BadQueryError(
            f"Invalid query definition: Invalid time period: '{text}' is not a date"
        ) from None


def _aggregations(dataset: Mapping[str, object]) -> tuple[str, ...]:
    said = dataset.get("aggregation")
    if not isinstance(said, dict) or not 1 <= len(said) <= MOST_AGGREGATIONS:
        raise BadQueryError("Invalid query definition: Invalid dataset aggregation: one or two are allowed")
    for value in said.values():
        if (
            not isinstance(value, dict)
            or value.get("name") not in AGGREGATIONS
            or value.get("function") != "Sum"
        ):
            raise BadQueryError(f"Invalid query definition: Invalid dataset aggregation: {json.dumps(value)}")
    return tuple(dict.fromkeys(value["name"] for value in said.values()))


def _grouping(dataset: Mapping[str, object], scope: Scope) -> tuple[str, ...]:
    said = dataset.get("grouping") or []
    if not isinstance(said, list):
        raise BadQueryError("Invalid query definition: Invalid dataset grouping: not a list")
    names = tuple(_group(group, scope) for group in said)
    if len(set(names)) < len(names) or sum(name.startswith(TAG) for name in names) > 1:
        raise BadQueryError(
            "Invalid query definition: Invalid dataset grouping: one grouping stands there twice"
        )
    return names


def _group(group: object, scope: Scope) -> str:
    kind, name = (group.get("type"), group.get("name")) if isinstance(group, dict) else (None, None)
    if kind == "TagKey" and isinstance(name, str) and name:
        return TAG + name
    known = _BY_LOWER.get(str(name).lower()) if kind == "Dimension" else None
    if known is None:
        raise BadQueryError(
            f"Invalid query definition: Invalid dataset grouping: '{name}';"
            f" valid values: {', '.join(DIMENSIONS)}"
        )
    if known == "ResourceId" and scope.is_wide:
        raise BadQueryError(
            "Invalid query definition: Invalid dataset grouping: 'ResourceId' is supported at subscription"
            " and resource group scopes only"
        )
    return known
