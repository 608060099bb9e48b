"""A laptop whose scopes are billed: what it read, what the simulator bills, what was told and read again."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from infra.local.simulator import BillingFaults, Metric, Tenant, scope_truth
from shared.messages import PAGES
from shared.reconcile.alerts import Patience
from shared.reconcile.compare import Finding
from shared.reconcile.periods import Period, month_of
from shared.reconcile.reconcile import TIMER_PATIENCE, reconcile
from tests.laptop import Laptop, laptop

MAY = month_of(date(2026, 5, 1))
JUNE_20 = datetime(2026, 6, 20, 6, tzinfo=UTC)
CENT = Decimal("0.01")

Choice = Callable[[Tenant], Sequence[str]]


def first_subscription(tenant: Tenant) -> Sequence[str]:
    return tenant.subscription_scopes[:1]


def enrollment(tenant: Tenant) -> Sequence[str]:
    return (tenant.billing_account,)


def modern_account(tenant: Tenant) -> Sequence[str]:
    return (tenant.modern_account,)


def profiles(tenant: Tenant) -> Sequence[str]:
    return tenant.billing_profiles


def a_tenant(days: int = 31, first_day: date = MAY.first) -> Tenant:
    return Tenant(4, subscriptions=2, days=days, rows_per_day=8, first_day=first_day, currencies=("USD",))


@asynccontextmanager
async def bench_of(
    tenant: Tenant, choice: Choice = first_subscription, *, read: bool = True, **settings: str
) -> AsyncIterator[Laptop]:
    """A laptop on the 20th of June 2026 that has read, and not published, some scopes of a tenant."""
    scopes = json.dumps(list(choice(tenant)))
    async with laptop(tenant, **{"COST_SCOPES": scopes, **settings}) as bench:
        bench.clock.ahead = JUNE_20 - datetime.now(UTC)
        if read:
            await read_all(bench)
        yield bench


async def read_all(bench: Laptop) -> None:
    """Read every scope's days: what a scope said is known before anything of it is published."""
    await bench.seed()
    await bench.drain(PAGES)


async def found(bench: Laptop, month: Period = MAY) -> list[Finding]:
    return await reconcile(bench.engine, [month], Patience(bench.clock() + TIMER_PATIENCE))


def states(findings: Sequence[Finding]) -> list[tuple[str | None, str]]:
    return [(finding.currency, finding.state.value) for finding in findings]


def bill(bench: Laptop, **faults: Any) -> None:  # noqa: ANN401 - the fields of BillingFaults
    """Let the simulator bill so from now on."""
    bench.fault(billing=BillingFaults(**faults))


def truth(tenant: Tenant, path: str, period: Period, currency: str = "USD") -> Decimal:
    totals = scope_truth(tenant, path, Metric.ACTUAL, period=(period.first, period.last))
    return sum((total.amount for key, total in totals.items() if key.currency == currency), Decimal(0))


async def rereads(bench: Laptop) -> dict[str, bool]:
    """Give the runs that read a period again, each with whether all of its messages were sent."""
    return {run.id: run.seeded for run in await bench.engine.runs.runs() if run.kind == "reconcile"}


def profiles_of(tenant: Tenant, account: str) -> Sequence[str]:
    """Give the paths of the profiles as they lie below an account."""
    return [f"{account}/billingProfiles/{one.rsplit('/', 1)[1]}" for one in tenant.billing_profiles]
