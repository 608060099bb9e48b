"""What the simulator says that a tenant costs, in the shape in which tests add up what is published."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from infra.local.simulator import Metric, Tenant, scope_truth

Totals = Mapping[tuple[date, str, str], tuple[Decimal, int]]
"""Cost and number of rows by day, currency and subscription."""


def truth_of(tenant: Tenant, metric: Metric = Metric.ACTUAL) -> Totals:
    """Add up what the tenant's subscriptions cost, and count its rows."""
    return {
        (key.day, key.currency, key.subscription): (total.amount, total.rows)
        for path in tenant.subscription_scopes
        for key, total in scope_truth(tenant, path, metric).items()
    }
