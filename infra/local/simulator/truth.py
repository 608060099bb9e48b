"""What a reader must end with, computed from the charges alone, in decimals, without pages or answers."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from infra.local.simulator.charges import (
    EXACT,
    NO_SUBSCRIPTION,
    ZERO,
    Line,
    Metric,
    exact_sum,
    number_text,
    published,
)
from infra.local.simulator.records import parts
from infra.local.simulator.scopes import Scope
from infra.local.simulator.tenant import Tenant


class TruthKey(NamedTuple):
    """What a total is of; `subscription` is lower case, or `none`."""

    day: date
    currency: str
    subscription: str


class Total(NamedTuple):
    """The sum of the emitted amounts, each rounded to 18 decimals first, and how many rows emit them."""

    amount: Decimal
    rows: int


def scope_truth(
    tenant: Tenant,
    path: str,
    metric: Metric,
    grouping: Sequence[str] | None = None,
    period: tuple[date, date] | None = None,
) -> dict[TruthKey, Total]:
    """Give the totals that a scope's rows add up to, per day, currency and subscription.

    Args:
        tenant: Whose charges.
        path: The scope, in any casing.
        metric: Which cost.
        grouping: Dimension names and `tag:NAME`; None for the default of this kind of scope. A wide scope
            that does not group by SubscriptionId cannot tell subscriptions apart: all is `none` then.
        period: First and last day, both included; None for all days of the tenant.

    Raises:
        UnknownScopeError: The tenant has no such scope.
    """
    with tenant.lock:
        scope = tenant.scope(path)
        names = scope.default_grouping if grouping is None else tuple(grouping)
        groups: dict[tuple[TruthKey, tuple[str | None, ...]], Decimal] = {}
        # A line is charged day after day, and its values are the same on each.
        values: dict[Line, tuple[str | None, ...]] = {}
        for day, charge in tenant.seen(scope, *(period or (tenant.days[0], tenant.days[-1]))):
            cost = charge.cost(metric)
            if cost is None:
                continue
            line = charge.line
            if line not in values:
                values[line] = _values(line, names)
            group = TruthKey(day, line.currency, _subscription(scope, line, names)), values[line]
            groups[group] = EXACT.add(groups.get(group, ZERO), cost)
    totals: dict[TruthKey, list[Decimal]] = {}
    for (key, _), amount in groups.items():
        totals.setdefault(key, []).append(published(number_text(amount)))
    return {key: Total(exact_sum(amounts), len(amounts)) for key, amounts in totals.items()}


def details_truth(tenant: Tenant, path: str, metric: Metric) -> dict[TruthKey, Total]:
    """Give the totals that a scope's records of usageDetails add up to, per day, currency and subscription.

    They are those of `scope_truth` up to the rounding to doubles and to 18 decimals: each record counts, twins
    included.

    Raises:
        UnknownScopeError: The tenant has no such scope.
    """
    with tenant.lock:
        totals: dict[TruthKey, Total] = {}
        for day, charge in tenant.seen(tenant.scope(path), tenant.days[0], tenant.days[-1]):
            key = TruthKey(day, charge.line.currency, charge.line.subscription)
            for cost, _ in parts(tenant.twins_seed, day, charge, metric):
                known = totals.get(key, Total(ZERO, 0))
                totals[key] = Total(EXACT.add(known.amount, published(str(cost))), known.rows + 1)
    return totals


def truth(
    tenant: Tenant, metric: Metric, grouping_by_scope: Mapping[str, Sequence[str] | None] | None = None
) -> dict[TruthKey, Decimal]:
    """Give the totals that the rows of several scopes add up to together.

    `grouping_by_scope` names scopes that do not overlap, each with its grouping (None for its default);
    without it, all subscriptions in their default grouping.

    Raises:
        UnknownScopeError: The tenant has no such scope.
    """
    if grouping_by_scope is None:
        grouping_by_scope = dict.fromkeys(tenant.subscription_scopes)
    totals: dict[TruthKey, Decimal] = {}
    for path, grouping in grouping_by_scope.items():
        for key, total in scope_truth(tenant, path, metric, grouping).items():
            totals[key] = EXACT.add(totals.get(key, ZERO), total.amount)
    return totals


def _subscription(scope: Scope, line: Line, names: Sequence[str]) -> str:
    return line.subscription if not scope.is_wide or "SubscriptionId" in names else NO_SUBSCRIPTION


def _values(line: Line, names: Sequence[str]) -> tuple[str | None, ...]:
    return tuple(
        line.tags.get(name.removeprefix("tag:")) if name.startswith("tag:") else line.dimensions[name]
        for name in names
    )
