"""One day published: in an order that no crash, race or pause can turn into a wrong ledger."""

from dataclasses import replace
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Metric, Tenant, add, restate, scope_truth, withdraw
from shared.edge import Call
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, RUNS, BadMessage, DayItem
from shared.orchestrate import orchestrate
from shared.read.fetch_page import fetch_page
from shared.runs import DayTask, Run, RunStatus
from shared.storage.errors import Conflict
from tests.faults import Killed, dies, name_of
from tests.laptop import Laptop, laptop
from tests.truth import truth_of

METRIC = "ActualCost"
NEVER_SETTLED = {"COST_SETTLE_HOURS": "8760"}


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=2, days=1, rows_per_day=30)


def one_partition() -> Tenant:
    """The least that can be published: sweeps over every call go over it again and again."""
    return Tenant(6, subscriptions=1, days=1, rows_per_day=16)


async def read_only(bench: Laptop) -> tuple[Run, bytes]:
    """Read the tenant's only day, and give the message that asks for it to be published."""
    run = await bench.seed()
    while await bench.engine.storage.queues.length(PAGES):
        for body in await bench.take(PAGES):
            await fetch_page(bench.engine, body)
    for body in await bench.take(RUNS):
        await orchestrate(bench.engine, body)
    (day,) = set(await bench.take(DAYS))
    return run, day


async def asked_again(bench: Laptop, run: Run) -> bytes:
    """Ask for the tenant's only day to be published for a run of its own, changed or not."""
    again = replace(run, id=f"{run.id}-again", etag=None)
    await bench.engine.runs.open(again)
    day = bench.tenant.days[0]
    await bench.engine.runs.plan_days([DayTask(again.id, again.seeding, METRIC, day)])
    return DayItem(run=again.id, metric=METRIC, day=day).encode()


async def current(bench: Laptop) -> pl.DataFrame:
    return (await bench.ledger(METRIC, bench.tenant.days[0])).filter(pl.col("x_ValidTo").is_null())


async def history(bench: Laptop) -> pl.DataFrame:
    return (await bench.ledger(METRIC, bench.tenant.days[0])).filter(pl.col("x_ValidTo").is_not_null())


async def test_ledger_is_written_first_then_daily_then_manifest_and_the_publication_last() -> None:
    async with laptop(small_tenant()) as bench:
        _, day = await read_only(bench)
        bench.edge.heal()

        await publish_day(bench.engine, day)

        writes = [
            name.split("/metric")[0]
            for name in map(str, bench.edge.made(""))
            if name.startswith(("blob put", "table insert", "table replace"))
        ]
        assert writes == [
            *["blob put costs/ledger"] * 2,
            "blob put costs/daily",
            "blob put costs/manifests",
            "table insert CostDays",
            "table replace CostRuns",
        ]


async def test_publication_is_read_first_then_the_blobs_are_listed_and_only_then_the_pointers_are_read() -> (
    None
):
    async with laptop(small_tenant()) as bench:
        _, day = await read_only(bench)
        bench.edge.heal()

        await publish_day(bench.engine, day)

        reads = [
            name for name in bench.edge.made("") if "CostDays" in name or name.startswith("blob list costs")
        ]
        assert [name.split("/")[0] for name in reads[:5]] == [
            "table get CostDays",
            *["blob list costs"] * 3,
            "table query CostDays",
        ]


async def test_killed_at_any_outside_call_the_redelivery_publishes_the_same_bytes() -> None:
    """What lies there then is what a clean run leaves: publishing once more finds nothing to write."""
    tenant = one_partition()
    place, killed = 0, True
    async with laptop(tenant) as bench:
        await bench.run()
        while killed:
            for change in (restate, withdraw, add):
                change(tenant, 1)
            run, day = await read_only(bench)
            bench.edge.kill_at(place, after=True)
            killed = await dies(publish_day(bench.engine, day))
            bench.restart()

            await publish_day(bench.engine, day)

            assert await bench.totals() == truth_of(tenant), place
            before = await bench.etags()
            await publish_day(bench.engine, await asked_again(bench, run))
            assert await bench.etags() == before, place
            await bench.take(RUNS)
            place += 1
    assert place > 12


async def test_publishing_an_unchanged_day_again_writes_nothing_at_all() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()
        day = await asked_again(bench, run)
        bench.edge.heal()

        await publish_day(bench.engine, day)

        assert bench.edge.made("blob put") == []
        assert bench.edge.made("table replace CostDays") == []
        assert bench.edge.made("blob get") == [], "nor is a ledger read"


async def test_lost_condition_starts_the_day_over() -> None:
    """Somebody wrote over a partition between its listing and our write."""
    tenant = small_tenant()
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        restate(tenant, 4)
        _, day = await read_only(bench)

        async def somebody_writes(call: Call) -> None:
            container, name = call.target.split("/", 1)
            blob = await other.storage.blobs.get(container, name)
            assert blob is not None
            await other.storage.blobs.put(container, name, blob.data)

        bench.edge.heal()
        bench.edge.meanwhile("blob put costs/ledger", somebody_writes)
        await publish_day(bench.engine, day)

        assert len(bench.edge.made("table get CostDays")) == 2
        assert await bench.totals() == truth_of(tenant)


async def test_race_that_is_never_won_raises_so_that_the_message_comes_again() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        _, day = await read_only(bench)

        bench.edge.fail("blob put", Conflict("somebody wrote it"))
        with pytest.raises(Conflict):
            await publish_day(bench.engine, day)


async def test_paused_at_any_call_a_publisher_never_puts_an_older_reading_back() -> None:
    """Another one reads and publishes newer data during the pause, in another process, to its end."""
    tenant = one_partition()
    place, paused_at = 2, ""
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        awake = bench.engine

        async def another_publishes_newer(call: Call) -> None:
            nonlocal paused_at
            paused_at = name_of(call)
            restate(tenant, 2)
            bench.engine = other
            _, newer = await read_only(bench)
            await publish_day(other, newer)
            bench.engine = awake

        while not paused_at.startswith("queue send"):
            restate(tenant, 2)
            _, day = await read_only(bench)
            bench.edge.meanwhile_at(place, another_publishes_newer)
            await publish_day(awake, day)

            assert await bench.totals() == truth_of(tenant), paused_at
            await bench.take(RUNS)
            place += 1
        assert place > 12
        run = await bench.run()
        assert (run.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_paused_publisher_never_puts_back_what_another_run_found_unchanged_meanwhile() -> None:
    """Published is A; it holds a reading of B, and during its pause A is read again, which asks for no publishing."""
    tenant = one_partition()
    day, subscription = tenant.days[0], tenant.subscriptions[0]
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        awake, charges = bench.engine, tenant.charges(day, subscription)
        restate(tenant, 2)
        _, late = await read_only(bench)

        async def another_reads_a_again(_: Call) -> None:
            tenant.put(day, subscription, charges)
            bench.engine = other
            assert (await bench.run()).status is RunStatus.COMPLETE
            bench.engine = awake

        bench.edge.heal()
        bench.edge.meanwhile("blob put costs/ledger", another_reads_a_again)
        await publish_day(awake, late)

        assert await bench.totals() == truth_of(tenant)


async def test_overtaken_publisher_cannot_claim_to_have_published_what_is_no_longer_there() -> None:
    """It was paused before its last write, and dies right after it."""
    tenant = one_partition()
    day = tenant.days[0]
    async with laptop(tenant) as bench, bench.other() as (other, _):
        await bench.run()
        awake = bench.engine
        restate(tenant, 2)
        _, late = await read_only(bench)

        async def another_publishes_newer(_: Call) -> None:
            restate(tenant, 2)
            bench.engine = other
            assert (await bench.run()).status is RunStatus.COMPLETE
            bench.engine = awake

        bench.edge.kill_on("table replace CostDays", after=True)
        bench.edge.meanwhile("table replace CostDays", another_publishes_newer)
        assert await dies(publish_day(awake, late))

        publication = await bench.engine.days.publication(METRIC, day)
        assert publication is not None
        etags = await bench.etags()
        assert {file.path: file.etag for file in publication.files}.items() <= etags.items()
        assert await bench.totals() == truth_of(tenant)


async def test_day_before_it_is_settled_is_restated_in_place() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **NEVER_SETTLED) as bench:
        await bench.run()
        restate(tenant, 3)
        withdraw(tenant, 1)

        await bench.run()

        assert await bench.totals() == truth_of(tenant)
        assert len(await history(bench)) == 0
        assert not (await bench.manifest(METRIC, tenant.days[0]))["settled"]


async def test_settled_day_keeps_former_versions_with_the_time_of_the_change() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        before = await current(bench)
        changed = restate(tenant, 3)

        await bench.run()

        former, now = await history(bench), await current(bench)
        moved = len({id(one.line) for one in changed.charges if one.after and one.after.actual})
        assert (former["x_Ended"].to_list(), len(former)) == (["restated"] * moved, moved)
        news = now.filter(pl.col("x_Change") == "restated")
        assert set(news["x_RecordId"]) == set(former["x_RecordId"])
        assert news["x_IsAdjustment"].all()
        (at,) = set(former["x_ValidTo"]) | set(news["x_ValidFrom"])
        assert at is not None
        believed_before = pl.concat([former, now.filter(pl.col("x_ValidFrom") < at)])
        assert believed_before["BilledCost"].sum() == before["BilledCost"].sum()


async def test_withdrawn_amount_is_retracted_and_adds_no_row() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        rows = len(await current(bench))
        gone = len(withdraw(tenant, 2).charges)

        await bench.run()

        assert (await history(bench))["x_Ended"].to_list() == ["retracted"] * gone
        assert len(await current(bench)) == rows - gone
        assert await bench.totals() == truth_of(tenant)


async def test_amount_that_goes_from_a_to_b_and_back_to_a_comes_out_right_each_time() -> None:
    tenant = small_tenant()
    day, subscription = tenant.days[0], tenant.subscriptions[0]
    async with laptop(tenant) as bench:
        await bench.run()
        first, charges = await bench.totals(), tenant.charges(day, subscription)
        restate(tenant, 1, subscription=subscription)
        await bench.run()
        assert await bench.totals() == truth_of(tenant) != first
        tenant.put(day, subscription, charges)

        await bench.run()

        assert await bench.totals() == first
        assert len(await history(bench)) == 2


async def test_amounts_of_two_currencies_are_never_added() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=120)
    async with laptop(tenant) as bench:
        await bench.run()

        wanted: dict[str, Decimal] = {}
        for (_, currency, _), (amount, _) in truth_of(tenant).items():
            wanted[currency] = wanted.get(currency, Decimal(0)) + amount
        assert set(wanted) == {"USD", "EUR"}
        totals = (await bench.manifest(METRIC, tenant.days[0]))["totals"]
        assert {currency: Decimal(text) for currency, text in totals.items()} == wanted


async def test_cost_without_a_subscription_is_published_as_none() -> None:
    """A billing account sees purchases that belong to no subscription."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=60)
    async with laptop(tenant, COST_SCOPES=tenant.billing_account) as bench:
        await bench.run()

        found = scope_truth(tenant, tenant.billing_account, Metric.ACTUAL)
        assert "none" in {key.subscription for key in found}
        assert await bench.totals() == {
            (key.day, key.currency, key.subscription): (total.amount, total.rows)
            for key, total in found.items()
        }


async def test_narrow_scope_owns_its_usage_and_the_wide_one_what_it_alone_sees() -> None:
    """The subscription's usage comes from the subscription, all other charges from the billing account."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=60)
    narrow = tenant.subscription_scopes[0]
    async with laptop(tenant, COST_SCOPES=f"{narrow},{tenant.billing_account}") as bench:
        run = await bench.run()

        assert run.summary is not None
        assert run.summary["failures"] == []
        wide = scope_truth(tenant, tenant.billing_account, Metric.ACTUAL)
        totals = await bench.totals()
        assert {key: amount for key, (amount, _) in totals.items()} == pytest.approx(
            {(key.day, key.currency, key.subscription): total.amount for key, total in wide.items()},
            abs=Decimal("1e-9"),
        )
        entry = next(
            one
            for one in (await bench.manifest(METRIC, tenant.days[0]))["scopes"]
            if "billing" in one["scope"].lower()
        )
        assert entry["shadowed"]


async def test_day_of_a_run_that_does_not_exist_is_a_bad_message() -> None:
    async with laptop(small_tenant()) as bench:
        with pytest.raises(BadMessage, match="has no day"):
            await publish_day(
                bench.engine, DayItem(run="gone", metric=METRIC, day=bench.tenant.days[0]).encode()
            )


async def test_staged_page_that_is_gone_fails_the_day_by_name_and_leaves_what_was_published() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        published = await bench.etags()
        restate(tenant, 4)
        run, day = await read_only(bench)
        for blob in await bench.engine.storage.blobs.list("cost-staging", f"pages/{run.id}/"):
            await bench.engine.storage.blobs.delete("cost-staging", blob.name)

        await publish_day(bench.engine, day)
        await bench.drain()

        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.summary["status"] == "partial"
        assert "StagedPageMissingError" in closed.summary["failures"][0]["cause"]
        assert await bench.etags() == published


async def test_manifest_names_the_files_with_their_size_and_hash() -> None:
    async with laptop(small_tenant()) as bench:
        await bench.run()

        manifest = await bench.manifest(METRIC, bench.tenant.days[0])

        etags = await bench.etags()
        assert {file["path"] for file in manifest["files"]} == {
            name for name in etags if name.endswith(".parquet")
        }
        assert manifest["status"] == "reconciled"
        assert {scope["state"] for scope in manifest["scopes"]} == {"reconciled"}


async def test_killed_process_is_never_caught_by_the_product() -> None:
    """Else the faults of these tests would prove nothing."""
    async with laptop(small_tenant()) as bench:
        _, day = await read_only(bench)
        bench.edge.kill_on("blob put")
        with pytest.raises(Killed):
            await publish_day(bench.engine, day)
