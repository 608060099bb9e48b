"""What the simulator says that a tenant costs, in the shape in which tests add up what is published."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from infra.local.simulator import Metric, Tenant, Total, TruthKey, details_truth, scope_truth

Totals = Mapping[tuple[date, str, str], tuple[Decimal, int]]
"""Cost and number of rows by day, currency and subscription."""


def truth_of(tenant: Tenant, metric: Metric = Metric.ACTUAL) -> Totals:
    """Add up what the tenant's subscriptions cost, and count its rows."""
    return _totals(scope_truth(tenant, path, metric) for path in tenant.subscription_scopes)


def details_truth_of(tenant: Tenant, metric: Metric = Metric.ACTUAL, *scopes: str) -> Totals:
    """Add up what the records of some scopes (all subscriptions) cost in usageDetails, and count them."""
    return _totals(details_truth(tenant, path, metric) for path in scopes or tenant.subscription_scopes)


def _totals(told: Iterable[Mapping[TruthKey, Total]]) -> Totals:
    return {
        (key.day, key.currency, key.subscription): (total.amount, total.rows)
        for scope in told
        for key, total in scope.items()
    }
