"""Cost that is suddenly gone is not believed, unless somebody who sees the same subscription says so too."""

import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Metric, Tenant, scope_truth
from shared.days import ScopeState
from shared.edge import Call
from shared.messages import PAGES
from shared.read.fetch_page import fetch_page
from shared.runs import Run, RunStatus, SliceState
from shared.staging import encode
from tests.faults import Killed, dies
from tests.laptop import Laptop, laptop
from tests.truth import truth_of


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
async def both(tenant: Tenant, **settings: str) -> AsyncIterator[tuple[Laptop, str, str]]:
    """A laptop that reads a subscription and the management group that holds it, both read once."""
    narrow, wide = tenant.subscription_scopes[-1], tenant.management_group
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}", **settings) as bench:
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


async def test_cost_that_nobody_confirms_to_be_gone_stays_however_long_its_scope_answers_so() -> None:
    """The management group sees less too, and says something else: neither proves the other."""
    tenant = tenant_of_five()
    async with both(tenant, COST_SETTLE_HOURS="8760") as (bench, narrow, wide):
        before = {key: found for key, found in (await bench.totals()).items() if key[2] in narrow}
        take_away(tenant)
        tenant.vanish(narrow, tenant.days[0])
        for hours in (0, 12, 13, 24):
            bench.clock.ahead += timedelta(hours=hours)
            await bench.run(wide)
            run = await bench.run(narrow)
            assert await states(bench, run) == {narrow: SliceState.VANISHED}

        after = {key: found for key, found in (await bench.totals()).items() if key[2] in narrow}
        assert {key: after[key] for key in before if key[0] == tenant.days[0]} == {
            key: before[key] for key in before if key[0] == tenant.days[0]
        }


async def test_wider_scope_whose_staged_page_was_edited_confirms_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """GIVEN a page from which the cost was taken away, as many rows as before THEN it is named, and not believed."""
    tenant = tenant_of_five()
    day, name = tenant.days[0], tenant.subscriptions[-1]
    async with both(tenant) as (bench, narrow, wide):
        read = await bench.run(wide)
        tenant.vanish(narrow, day)
        storage = bench.engine.storage.blobs
        hit = (pl.col("usage_date") == day) & (pl.col("subscription_id") == name)
        for item in await storage.list("cost-staging", f"pages/{read.id}/"):
            blob = await storage.get("cost-staging", item.name)
            assert blob is not None
            frame = pl.read_parquet(io.BytesIO(blob.data))
            moved = pl.when(hit).then(pl.lit(tenant.subscriptions[0])).otherwise("subscription_id")
            dearer = pl.when(hit).then(pl.lit(Decimal(7))).otherwise("BilledCost")
            edited = frame.with_columns(
                subscription_id=moved, BilledCost=dearer.cast(frame.schema["BilledCost"])
            )
            await storage.put("cost-staging", item.name, encode(edited))
        bench.restart()

        run = await bench.run(narrow)

        assert await states(bench, run) == {narrow: SliceState.VANISHED}
        assert "was read" in caplog.text


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


async def test_a_cent_in_a_second_currency_that_is_withdrawn_holds_nothing_back() -> None:
    tenant = Tenant(6, subscriptions=1, days=3, rows_per_day=20, currencies=("USD",))
    day, owner = tenant.days[0], tenant.subscriptions[0]
    charges = tenant.charges(day, owner)
    like = charges[0]
    line = replace(like.line, currency="EUR", dimensions={**like.line.dimensions, "Meter": "cent"})
    tenant.put(day, owner, [*charges, like._replace(line=line, actual=Decimal("0.01"))])
    async with laptop(tenant) as bench:
        await bench.run()
        tenant.put(day, owner, charges)

        run = await bench.run()

        assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
        assert await bench.totals() == truth_of(tenant)


async def test_confirming_takes_one_look_at_the_days_however_many_are_gone() -> None:
    tenant = Tenant(4, subscriptions=5, days=6, rows_per_day=20, currencies=("USD",))
    async with both(tenant) as (bench, narrow, wide):
        for day in tenant.days[:5]:
            tenant.put(day, tenant.subscriptions[-1], ())
        await bench.run(wide, accept_vanished=True)
        run = await bench.seed(narrow)
        bench.edge.heal()

        await bench.drain(PAGES)

        assert await states(bench, run) == {narrow: SliceState.RECONCILED}
        assert len(bench.edge.made("table query CostDays")) == 2


async def read_up_to_closing(
    bench: Laptop, *, days: int | None = None, accept_vanished: bool = False
) -> tuple[Run, bytes]:
    """Let a run read all its pages; what is in hand then is the message that closes its only slice."""
    run = await bench.seed(days=days, accept_vanished=accept_vanished)
    (page,) = await bench.take(PAGES)
    await fetch_page(bench.engine, page)
    (closing,) = await bench.take(PAGES)
    return run, closing


def elsewhere(bench: Laptop, closing: bytes) -> Callable[[Call], Awaitable[None]]:
    """Let another process close a slice."""

    async def happens(call: Call) -> None:
        async with bench.other() as (engine, _):
            await fetch_page(engine, closing)

    return happens


@pytest.mark.parametrize("smaller", [False, True], ids=["nothing was known", "a smaller cost was known"])
async def test_later_reading_takes_nothing_away_that_came_while_it_was_closing(*, smaller: bool) -> None:
    """The check is made on the pointer that is replaced, not on the one that was read before."""
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=20)
    (day,), (scope,) = tenant.days, tenant.subscription_scopes
    async with laptop(tenant) as bench:
        if smaller:
            whole = tenant.charges(day, tenant.subscriptions[0])
            # A charge that costs nothing: the day is not empty, and little is lost with it.
            free = replace(whole[0].line, dimensions={**whole[0].line.dimensions, "Meter": "free"})
            nothing = whole[0]._replace(line=free, actual=Decimal(0))
            tenant.put(day, tenant.subscriptions[0], [nothing])
            await bench.run()
            tenant.put(day, tenant.subscriptions[0], [nothing, *whole])
        slow, closing_slow = await read_up_to_closing(bench)
        before = {key: told.amount for key, told in scope_truth(tenant, scope, Metric.ACTUAL).items()}
        tenant.put(day, tenant.subscriptions[0], [nothing] if smaller else ())
        late, closing_late = await read_up_to_closing(bench)

        moving = "table replace CostDays" if smaller else "table insert CostDays"
        bench.edge.meanwhile(moving, elsewhere(bench, closing_slow))
        await fetch_page(bench.engine, closing_late)
        await bench.drain()

        assert (await bench.closed(slow)).status is RunStatus.COMPLETE
        assert (await bench.closed(late)).status is RunStatus.PARTIAL
        assert (await bench.slice(late)).state is SliceState.VANISHED
        assert [amount for amount, _ in (await bench.totals()).values()] == list(before.values())


@pytest.mark.parametrize("killed", [False, True], ids=["decides anew", "dies and is delivered again"])
async def test_day_that_moved_before_the_cost_turned_up_keeps_the_reading_and_the_lost_one_does_not(
    *, killed: bool
) -> None:
    """Each day ends as if the two had closed one after the other, whether a worker dies in between or not."""
    tenant = Tenant(4, subscriptions=1, days=2, rows_per_day=20)
    lost, moved = tenant.days
    async with laptop(tenant) as bench:
        slow, closing_slow = await read_up_to_closing(bench, days=1)
        tenant.vanish(tenant.subscription_scopes[0], lost)
        late, closing_late = await read_up_to_closing(bench)
        bench.clock.ahead += timedelta(minutes=1)
        closes = elsewhere(bench, closing_slow)

        async def happens(call: Call) -> None:
            await closes(call)
            if killed:
                raise Killed

        bench.edge.meanwhile("table insert CostDays", happens)
        assert await dies(fetch_page(bench.engine, closing_late)) is killed
        if killed:
            bench.restart()
            await fetch_page(bench.engine, closing_late)
        await bench.drain()

        piece = await bench.slice(late)
        assert (piece.state, piece.cause) == (
            SliceState.VANISHED,
            f"Vanished: more than half of the cost is gone from 1 reconciled days ({lost})",
        )
        known = await bench.engine.days.of_scope(piece.metric, piece.scope_key, lost, moved)
        assert {
            day: (pointer.state, pointer.reading and pointer.reading.run) for day, pointer in known.items()
        } == {lost: (ScopeState.VANISHED, slow.id), moved: (ScopeState.RECONCILED, late.id)}


async def test_cost_that_came_while_it_was_closing_is_taken_away_where_a_person_accepts_it() -> None:
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        _, closing_slow = await read_up_to_closing(bench)
        tenant.vanish(tenant.subscription_scopes[0], tenant.days[0])
        late, closing_late = await read_up_to_closing(bench, accept_vanished=True)

        bench.edge.meanwhile("table insert CostDays", elsewhere(bench, closing_slow))
        await fetch_page(bench.engine, closing_late)
        await bench.drain()

        assert (await bench.closed(late)).status is RunStatus.COMPLETE
        assert await bench.totals() == {}
