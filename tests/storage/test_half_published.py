"""A day that a publisher left half-written, and that is published next for a newer reading: its history is told true.

What nobody published was never believed, whatever a dead or paused publisher had written of it by then.
"""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from infra.local.simulator import Charge, Tenant, add, restate
from shared.edge import Call
from shared.ledger import left
from shared.ledger.files import ledger_path
from shared.messages import DAYS, PAGES, RUNS
from shared.runs import RunStatus
from shared.view import settled_at
from shared.worker import STEPS
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.then import METRIC, Cell, amounts, asked, costs, now, tenant_of
from tests.truth import truth_of

WRITE = "blob put costs/ledger"


async def to_publish(bench: Laptop) -> bytes:
    """Read what the tenant says now, and give the message to publish its day."""
    await bench.seed()
    await bench.drain(PAGES, RUNS)
    (body,) = await bench.take(DAYS)
    return body


async def half_publish(bench: Laptop, *, kill_on: str = WRITE) -> None:
    """Read what the tenant says now, and die after the first of the files is written."""
    body = await to_publish(bench)
    bench.edge.kill_on(kill_on, after=True)
    assert await dies(STEPS[DAYS](bench.engine, body))
    bench.restart()


async def publish_a_newer_one(bench: Laptop) -> None:
    """Let the provider restate the day, and publish what it says then."""
    restate(bench.tenant, 4, bench.tenant.days)
    await bench.run()


async def demand_believed(bench: Laptop, at: datetime, believed: dict[Cell, Decimal]) -> None:
    """Make sure that at a time this was believed of the day, and now what the tenant says."""
    assert amounts(await asked(bench, at)) == believed
    assert amounts(await asked(bench, now(bench))) == costs(truth_of(bench.tenant))


def six_hours_before_it_settles(bench: Laptop) -> datetime:
    """Turn the clock to when the tenant's day is open for six hours more, and give the end of these."""
    (day,) = bench.tenant.days
    settles = settled_at(day, bench.engine.settings.settle)
    bench.clock.ahead += settles - timedelta(hours=6) - bench.clock()
    return settles


def swap_costs(tenant: Tenant) -> None:
    """Let two charges change hands, one each way: both partitions lose one and gain one."""
    (day,) = tenant.days
    one, other = tenant.subscriptions
    first, second = tenant.charges(day, one), tenant.charges(day, other)
    tenant.put(day, one, (*first[1:], of(second[0], one)))
    tenant.put(day, other, (*second[1:], of(first[0], other)))


def of(charge: Charge, subscription: str) -> Charge:
    """Give a charge as that of another subscription."""
    said = {**charge.line.dimensions, "SubscriptionId": subscription}
    return charge._replace(line=replace(charge.line, subscription=subscription, dimensions=said))


@pytest.mark.parametrize("changes", ["restated", "swapped"])
async def test_reading_that_was_never_published_whole_was_never_believed(changes: str) -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        # GIVEN a settled day, of which a newer reading was written to one of two subscriptions' files
        await bench.run()
        first, believed = now(bench), costs(truth_of(tenant))
        restate(tenant, 8, [day])
        if changes == "swapped":
            swap_costs(tenant)
        await half_publish(bench)
        between = now(bench)

        # WHEN a still newer one is published
        restate(tenant, 4, [day])
        await bench.run()

        # THEN of the time between, the day is believed to be what was last published whole
        assert amounts(await asked(bench, first)) == believed
        await demand_believed(bench, between, believed)
        assert await bench.totals() == truth_of(tenant)


async def test_reading_whose_manifest_was_written_was_believed_though_its_publisher_died_then() -> None:
    """Readers could see it, and its files were whole."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await bench.run()
        now(bench)
        restate(tenant, 8, [day])
        believed = costs(truth_of(tenant))
        await half_publish(bench, kill_on="blob put costs/manifests")
        between = now(bench)

        await publish_a_newer_one(bench)
        await demand_believed(bench, between, believed)


async def test_first_reading_that_was_never_published_whole_leaves_no_trace() -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await half_publish(bench)
        between = now(bench)

        restate(tenant, 8, [day])
        await bench.run()

        assert {one.state for one in await asked(bench, between)} == {"unread"}
        assert amounts(await asked(bench, now(bench))) == costs(truth_of(tenant))
        assert (await bench.ledger(METRIC, day))["x_ValidTo"].null_count() == len(
            await bench.ledger(METRIC, day)
        )


async def test_paused_publisher_that_another_overtakes_leaves_no_trace() -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        believed, between = costs(truth_of(tenant)), []

        async def another_publishes_newer(_: Call) -> None:
            between.append(now(bench))
            restate(tenant, 4, [day])
            bench.engine, awake = other, bench.engine
            await bench.run()
            bench.engine = awake

        # GIVEN a publisher that is paused between two files, while another publishes a newer reading
        now(bench)
        restate(tenant, 8, [day])
        body = await to_publish(bench)
        second = ledger_path(METRIC, day, max(tenant.subscriptions))
        bench.edge.meanwhile(f"blob put costs/{second}", another_publishes_newer)
        await STEPS[DAYS](bench.engine, body)

        # THEN the answer of the time between is what had been published
        await demand_believed(bench, between[0], believed)


async def test_overtaken_publisher_that_wakes_and_dies_leaves_no_trace() -> None:
    """It writes what the publication that overtook it left alone, under an earlier time than that one's."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    small, large = sorted(tenant.subscriptions, key=lambda one: len(tenant.charges(day, one)))
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        charges, between, believed = tenant.charges(day, small), [], {}

        async def another_publishes_newer(_: Call) -> None:
            now(bench)
            tenant.put(day, small, charges)
            restate(tenant, 4, [day], large)
            believed.update(costs(truth_of(tenant)))
            bench.engine, asleep = other, bench.engine
            await bench.run()
            bench.engine = asleep
            between.append(now(bench))
            bench.edge.kill_on("blob get costs/daily")

        # GIVEN a reading that changes one file alone, whose publisher sleeps before it writes that
        now(bench)
        restate(tenant, 4, [day], small)
        body = await to_publish(bench)
        bench.edge.meanwhile(f"blob put costs/{ledger_path(METRIC, day, small)}", another_publishes_newer)
        assert await dies(STEPS[DAYS](bench.engine, body))
        bench.restart()

        # WHEN a still newer reading is published
        restate(tenant, 4, [day])
        await bench.run()

        # THEN the day was never believed to be what it wrote
        await demand_believed(bench, between[0], believed)


async def test_reading_whose_manifest_was_written_was_believed_though_the_next_publisher_dies_as_well() -> (
    None
):
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await half_publish(bench, kill_on="blob put costs/manifests")
        believed, between = costs(truth_of(tenant)), [now(bench)]
        restate(tenant, 8, [day])
        await half_publish(bench)
        between.append(now(bench))

        restate(tenant, 4, [day])
        await bench.run()

        for at in between:
            assert amounts(await asked(bench, at)) == believed
        assert amounts(await asked(bench, now(bench))) == costs(truth_of(tenant))


@pytest.mark.parametrize("settles_first", [False, True])
async def test_late_rows_that_were_half_written_over_an_open_days_publication_are_no_history(
    settles_first: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """They replaced nothing, so what was believed when the day settled is known."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        settles = six_hours_before_it_settles(bench)
        await bench.run()
        believed = costs(truth_of(tenant))
        now(bench)
        for subscription in tenant.subscriptions:
            add(tenant, 3, [day], subscription)
        for hours in (12, 0) if settles_first else (0, 12):
            if hours:
                bench.clock.ahead += timedelta(hours=hours)
            else:
                await half_publish(bench)

        between = max(now(bench), settles)
        for subscription in tenant.subscriptions:
            add(tenant, 3, [day], subscription)
        await bench.run()

        await demand_believed(bench, between, believed)


async def test_late_rows_are_taken_back_also_where_a_new_release_writes_the_same_rows_in_other_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        six_hours_before_it_settles(bench)
        await bench.run()
        believed = costs(truth_of(tenant))
        bench.clock.ahead += timedelta(hours=12)
        for subscription in tenant.subscriptions:
            add(tenant, 3, [day], subscription)
        await half_publish(bench)
        between = now(bench)
        monkeypatch.setattr(left, "encode", lambda frame: b"other bytes")

        add(tenant, 3, [day])
        await bench.run()

        await demand_believed(bench, between, believed)


async def test_open_day_that_two_publishers_left_half_written_without_a_row_is_unknown_until_it_is_published() -> (
    None
):
    """Its only manifest is of files that were replaced in place since."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        settles = six_hours_before_it_settles(bench)
        await half_publish(bench, kill_on="blob put costs/manifests")
        now(bench)
        restate(tenant, 8, [day])
        await half_publish(bench)

        bench.clock.ahead += timedelta(hours=12)
        restate(tenant, 4, [day])
        await bench.run()

        assert {one.state for one in await asked(bench, settles + timedelta(hours=1))} == {"unread"}
        assert amounts(await asked(bench, now(bench))) == costs(truth_of(tenant))


async def test_what_a_publication_of_its_manifest_alone_left_is_found_though_another_put_some_of_it_aside() -> (
    None
):
    """GIVEN a publisher that died after its manifest, and one after it that died once it had put something aside."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await bench.run()
        now(bench)
        restate(tenant, 8, [day])
        await half_publish(bench, kill_on="blob put costs/manifests")
        believed, between = costs(truth_of(tenant)), now(bench)
        swap_costs(tenant)
        await half_publish(bench)
        assert len(await bench.engine.storage.blobs.list("cost-staging", "aside/")) == 1

        await publish_a_newer_one(bench)
        await demand_believed(bench, between, believed)


async def test_what_was_put_aside_is_written_again_though_it_lies_there_unchanged() -> None:
    """Who put it aside may be about to write it still: under another ETag it cannot."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await bench.run()
        listed, charges = (
            await bench.etags("ledger/"),
            {one: tenant.charges(day, one) for one in tenant.subscriptions},
        )
        now(bench)
        swap_costs(tenant)
        await half_publish(bench, kill_on="table replace CostDays")
        published = await bench.engine.days.publication(METRIC, day)
        assert published is not None
        assert set(published.aside_of) == set(tenant.subscriptions)
        assert await bench.etags("ledger/") == listed

        for subscription, said in charges.items():
            tenant.put(day, subscription, said)
        now(bench)
        await bench.run()

        assert set(listed.values()).isdisjoint((await bench.etags("ledger/")).values())
        assert await bench.totals() == truth_of(tenant)


async def test_manifest_of_a_publisher_whose_clock_is_behind_is_believed_as_any_other() -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        await bench.run()
        now(bench)
        restate(tenant, 8, [day])
        believed = costs(truth_of(tenant))
        body = await to_publish(bench)
        bench.clock.ahead -= timedelta(minutes=5)
        bench.edge.kill_on("blob put costs/manifests", after=True)
        assert await dies(STEPS[DAYS](bench.engine, body))
        bench.restart()
        bench.clock.ahead += timedelta(minutes=5)
        between = now(bench)

        restate(tenant, 4, [day])
        await bench.run()

        assert amounts(await asked(bench, between)) == believed


@pytest.mark.parametrize("dies_again", [False, True])
async def test_day_that_was_left_half_written_while_it_was_open_is_unknown_until_it_is_published_again(
    *, dies_again: bool
) -> None:
    """Its rows were replaced in place: what it was when it settled nobody can say, so nobody is told a mixture."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench:
        settles = six_hours_before_it_settles(bench)
        await bench.run()
        now(bench)
        restate(tenant, 8, [day])
        await half_publish(bench)

        # WHEN it is published the next time, it is settled
        before = await bench.ledger(METRIC, day)
        bench.clock.ahead += timedelta(hours=12)
        if dies_again:
            for subscription in tenant.subscriptions:
                restate(tenant, 4, [day], subscription)
            await half_publish(bench)
            now(bench)
        restate(tenant, 4, [day])
        await bench.run()

        assert {one.state for one in await asked(bench, settles + timedelta(hours=1))} == {"unread"}
        assert amounts(await asked(bench, now(bench))) == costs(truth_of(tenant))
        rows = await bench.ledger(METRIC, day)
        assert rows["x_ValidTo"].null_count() == len(rows)
        assert rows["x_IsAdjustment"].sum() > before["x_IsAdjustment"].sum()

        # AND from then on its history is kept
        at, believed = now(bench), costs(truth_of(tenant))
        restate(tenant, 4, [day])
        await bench.run()
        assert amounts(await asked(bench, at)) == believed
        assert {one.state for one in await asked(bench, settles + timedelta(hours=1))} == {"unread"}


async def test_day_that_was_left_half_written_while_it_was_open_is_no_days_loss_where_days_settle_sooner_then() -> (
    None
):
    """Rows were replaced in place by the longer setting; by the shorter one the day was settled already."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant, COST_SETTLE_HOURS="96") as bench:

        def at(hours: int) -> None:
            moment = datetime.combine(day, time(), UTC) + timedelta(hours=hours)
            bench.clock.ahead = moment - datetime.now(UTC)

        at(80)
        await bench.run()
        at(82)
        restate(tenant, 8, [day])
        await half_publish(bench)
        sooner = replace(bench.engine.settings, settle=timedelta(hours=48))
        bench.engine = replace(bench.engine, settings=sooner)
        at(84)

        assert (await bench.run()).status is RunStatus.COMPLETE

        assert await bench.totals() == truth_of(tenant)
