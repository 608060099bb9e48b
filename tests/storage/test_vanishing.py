"""Cost that is suddenly gone is not believed, unless somebody who sees the same subscription says so too."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

from infra.local.simulator import Metric, Tenant, scope_truth
from shared.messages import PAGES
from shared.runs import Run, SliceState
from tests.laptop import Laptop, laptop


def tenant_of_five() -> Tenant:
    return Tenant(4, subscriptions=5, days=2, rows_per_day=60, currencies=("USD",))


async def states(bench: Laptop, run: Run) -> dict[str, SliceState]:
    return {piece.scope: piece.state for piece in await bench.slices(run)}


def take_away(tenant: Tenant, keep: int = 3) -> None:
    """Let most of the last subscription's cost of the first day be gone, for everybody who sees it."""
    day, name = tenant.days[0], tenant.subscriptions[-1]
    usage = [
        charge for charge in tenant.charges(day, name) if charge.line.dimensions["ChargeType"] == "Usage"
    ]
    tenant.put(day, name, sorted(usage, key=lambda charge: charge.actual or 0)[:keep])


@asynccontextmanager
async def both(tenant: Tenant) -> AsyncIterator[tuple[Laptop, str, str]]:
    """A laptop that reads a subscription and the management group that holds it, both read once."""
    narrow, wide = tenant.subscription_scopes[-1], tenant.management_group
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        await bench.run()
        yield bench, narrow, wide


async def test_wider_scope_that_was_read_since_confirms_what_is_gone() -> None:
    tenant = tenant_of_five()
    async with both(tenant) as (bench, narrow, wide):
        take_away(tenant)
        first = await bench.run(narrow)
        assert await states(bench, first) == {narrow: SliceState.VANISHED}
        assert await states(bench, await bench.run(wide)) == {wide: SliceState.RECONCILED}

        second = await bench.run(narrow)

        assert await states(bench, second) == {narrow: SliceState.RECONCILED}
        found = scope_truth(tenant, narrow, Metric.ACTUAL)
        assert {key: amount for key, (amount, _) in (await bench.totals()).items() if key[2] in narrow} == {
            (key.day, key.currency, key.subscription): total.amount for key, total in found.items()
        }


async def test_wider_scope_that_still_sees_the_cost_confirms_nothing() -> None:
    tenant = tenant_of_five()
    async with both(tenant) as (bench, narrow, wide):
        before = await bench.totals()
        tenant.vanish(narrow, tenant.days[0])
        await bench.run(wide)

        run = await bench.run(narrow)

        assert await states(bench, run) == {narrow: SliceState.VANISHED}
        assert await bench.totals() == before


async def test_wider_scope_that_was_read_before_the_cost_was_last_seen_confirms_nothing() -> None:
    """The cost came only after the wide scope was read: that it is not there yet says nothing."""
    tenant = tenant_of_five()
    narrow, wide = tenant.subscription_scopes[-1], tenant.management_group
    day, name = tenant.days[0], tenant.subscriptions[-1]
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        whole = tenant.charges(day, name)
        take_away(tenant)
        await bench.run(wide)
        few = tenant.charges(day, name)
        tenant.put(day, name, whole)
        await bench.run(narrow)
        tenant.put(day, name, few)

        run = await bench.run(narrow)

        assert await states(bench, run) == {narrow: SliceState.VANISHED}


async def test_wider_scope_without_a_row_of_the_subscription_confirms_nothing() -> None:
    """It may not see the subscription at all."""
    tenant = tenant_of_five()
    async with both(tenant) as (bench, narrow, wide):
        for day in tenant.days:
            tenant.put(day, tenant.subscriptions[-1], ())
        await bench.run(wide, accept_vanished=True)

        run = await bench.run(narrow)

        assert await states(bench, run) == {narrow: SliceState.VANISHED}


async def test_wider_scope_whose_rows_add_up_to_nothing_does_not_confirm_that_there_are_none() -> None:
    """A charge and its refund are no empty day."""
    tenant = tenant_of_five()
    day, name = tenant.days[0], tenant.subscriptions[-1]
    async with both(tenant) as (bench, narrow, wide):
        charge = next(one for one in tenant.charges(day, name) if one.actual)
        again = replace(charge.line, dimensions={**charge.line.dimensions, "Meter": "again"})
        refund = charge._replace(line=again, actual=-(charge.actual or Decimal(0)))
        tenant.put(day, name, [charge, refund])
        await bench.run(wide)
        tenant.vanish(narrow, day)

        run = await bench.run(narrow)

        assert await states(bench, run) == {narrow: SliceState.VANISHED}


async def test_confirming_takes_one_look_at_the_days_however_many_are_gone() -> None:
    tenant = Tenant(4, subscriptions=5, days=6, rows_per_day=20, currencies=("USD",))
    async with both(tenant) as (bench, narrow, wide):
        for day in tenant.days[:5]:
            tenant.put(day, tenant.subscriptions[-1], ())
        await bench.run(wide, accept_vanished=True)
        bench.edge.heal()

        run = await bench.seed(narrow)
        await bench.drain(PAGES)

        assert await states(bench, run) == {narrow: SliceState.RECONCILED}
        assert len(bench.edge.made("table query CostDays")) == 2
