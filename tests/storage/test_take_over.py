"""Scopes whose pages are gone: what counted of them stands in the ledger, and nothing else is made up."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from random import Random

import polars as pl
import pytest

from infra.local.simulator import Tenant, restate
from shared.edge import Call
from shared.engine import open_engine
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, RUNS
from shared.purge import purge
from shared.runs import Run, RunStatus
from shared.staging import encode
from tests.faults import dies
from tests.laptop import Laptop, laptop


async def sources(bench: Laptop) -> set[str]:
    """Name the scopes from which the first day's published rows come."""
    rows = await bench.ledger("ActualCost", bench.tenant.days[0])
    return set(rows.filter(pl.col("x_ValidTo").is_null())["x_SourceScope"])


async def test_no_cost_is_lost_where_the_scope_that_takes_over_has_lost_its_pages() -> None:
    # GIVEN a subscription that shadows its usage in a billing account whose staged pages are purged
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    narrow, other = tenant.subscription_scopes
    wide = tenant.billing_account
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        assert (await bench.run()).status is RunStatus.COMPLETE
        before = await bench.totals()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)

        # WHEN it leaves the settings, and a run reads something else
        environ = {**bench.environ, "COST_SCOPES": f"{other},{wide}"}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as engine:
            bench.engine = engine
            run = await bench.run(other)

            # THEN what counts of it stands: of the account no usage is there that could replace it
            assert run.status is RunStatus.COMPLETE
            assert narrow in await sources(bench)
            assert await bench.totals() == before

            # AND what changes comes from the wide scope, as soon as that is read
            restate(tenant, 2, subscription=tenant.subscriptions[0])
            assert (await bench.run()).status is RunStatus.COMPLETE
            assert narrow not in await sources(bench)
            after = await bench.totals()
            assert {key[2] for key in after if after[key] != before[key]} == {tenant.subscriptions[0]}
            assert {key: rows for key, (_, rows) in after.items()} == {
                key: rows for key, (_, rows) in before.items()
            }


async def test_no_cost_is_lost_where_the_subscription_that_takes_a_resource_group_over_has_lost_its_pages() -> (
    None
):
    """It has usage of other groups still: that says nothing of this one, of which its pages are gone."""
    # GIVEN a resource group that shadows its usage in its subscription, whose staged pages are purged
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=60)
    wide, other = tenant.subscription_scopes
    (day,) = tenant.days
    named = [charge.line.dimensions for charge in tenant.charges(day, tenant.subscriptions[0])]
    group = min(str(said["ResourceGroupName"]) for said in named if said["ChargeType"] == "Usage")
    narrow = f"{wide}/resourceGroups/{group}"
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide},{other}") as bench:
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert narrow.lower() in await sources(bench)
        before = await bench.totals()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)

        # WHEN it leaves the settings, and a run reads something else
        environ = {**bench.environ, "COST_SCOPES": f"{wide},{other}"}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as engine:
            bench.engine = engine
            run = await bench.run(other)

            # THEN the day fails by name, and what was published stands
            assert run.status is RunStatus.PARTIAL
            causes = [str(failure["cause"]) for failure in (run.summary or {})["failures"]]
            assert any(f"Usage of the resource group {group.lower()} of " in cause for cause in causes)
            assert await bench.totals() == before

            # AND a run that reads the subscription again publishes the day, the group's cost from there
            healed = await bench.run()
            assert healed.status is RunStatus.COMPLETE
            assert await bench.totals() == before


async def test_publisher_killed_half_way_finds_the_rows_of_a_scope_whose_pages_are_gone_in_the_ledger() -> (
    None
):
    """Only the subscription is read again; of the billing account no more is left than what counted of it."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    narrow, wide = tenant.subscription_scopes[0], tenant.billing_account
    place, killed = 0, True
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        await bench.run()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)
        while killed:
            before = await bench.totals()
            restate(tenant, 2, subscription=tenant.subscriptions[0])
            run = await bench.seed(narrow)
            await bench.drain(PAGES, RUNS)
            (day,) = set(await bench.take(DAYS))
            bench.edge.kill_at(place, after=True)
            killed = await dies(publish_day(bench.engine, day))
            bench.restart()

            await publish_day(bench.engine, day)

            await bench.drain(RUNS)
            summary = (await bench.closed(run)).summary
            assert summary is not None
            assert [said["state"] for said in summary["days"]] == ["published"], place
            # The billing account was not asked again, so it still says what was so before.
            assert {failure["state"] for failure in summary["failures"]} == {"disagrees"}, place
            after = await bench.totals()
            changed = {key[2] for key in after if after[key] != before[key]}
            assert changed == {tenant.subscriptions[0]}, place
            place += 1
    assert place > 12


async def aside(bench: Laptop) -> list[str]:
    return [blob.name for blob in await bench.engine.storage.blobs.list("cost-staging", "aside/")]


async def die_half_way(bench: Laptop, day: bytes) -> None:
    """Let a publisher write a day's partitions and die before its manifest."""
    bench.edge.kill_on("blob put costs/manifest")
    assert await dies(publish_day(bench.engine, day))
    bench.restart()


@asynccontextmanager
async def taking_over(tenant: Tenant, **settings: str) -> AsyncIterator[tuple[Laptop, Run, list[bytes]]]:
    """Subscriptions were read that take over from a billing account whose pages are purged; no day is worked."""
    async with laptop(tenant, COST_SCOPES=tenant.billing_account, **settings) as bench:
        await bench.run()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)
        environ = {**bench.environ, "COST_SCOPES": ",".join(tenant.subscription_scopes)}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            run = await bench.seed()
            await bench.drain(PAGES, RUNS)
            days = sorted(set(await bench.take(DAYS)))
            assert len(days) == len(tenant.days)
            yield bench, run, days


async def test_publisher_killed_anywhere_while_others_take_over_from_a_scope_without_pages_loses_nothing() -> (
    None
):
    """The rows that its first file takes away lie nowhere else; at each day it dies one call later."""
    tenant = Tenant(6, subscriptions=2, days=30, rows_per_day=8)
    killed = []
    async with taking_over(tenant) as (bench, run, days):
        before = await bench.totals()
        for place, body in enumerate(days):
            bench.edge.kill_at(place, after=True)
            killed.append(await dies(publish_day(bench.engine, body)))
            bench.restart()
            await publish_day(bench.engine, body)

        await bench.drain()

        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == before
        assert killed[:20] == [True] * 20
        assert not killed[-1]
        bench.clock.ahead += timedelta(days=8)
        await purge(bench.engine)
        assert await aside(bench) == []


async def test_what_a_publisher_put_aside_outlasts_the_purge_until_the_day_is_published() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant) as (bench, run, (day,)):
        before = await bench.totals()
        await die_half_way(bench, day)
        bench.clock.ahead += timedelta(days=8)

        await purge(bench.engine)

        assert len(await aside(bench)) == 1
        await publish_day(bench.engine, day)
        await bench.drain(RUNS)
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == before
        assert await aside(bench) == []


async def test_what_was_put_aside_and_then_edited_fails_its_day_by_name() -> None:
    """It has the right columns and as many rows, so the cost that it tells would be published as reconciled."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant) as (bench, run, (day,)):
        before, blobs = await bench.totals(), bench.engine.storage.blobs
        await die_half_way(bench, day)
        (name,) = await aside(bench)
        blob = await blobs.get("cost-staging", name)
        assert blob is not None
        frame = pl.read_parquet(io.BytesIO(blob.data))
        dearer = pl.lit(Decimal(1000)).cast(frame.schema["BilledCost"])
        await blobs.put("cost-staging", name, encode(frame.with_columns(BilledCost=dearer)))

        await publish_day(bench.engine, day)

        await bench.drain(RUNS)
        (failure,) = ((await bench.closed(run)).summary or {})["failures"]
        assert f"cost-staging/{name} is not what was put aside" in failure["cause"]
        await blobs.put("cost-staging", name, blob.data)
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == before


async def test_publisher_that_dies_after_what_another_put_aside_was_removed_loses_nothing() -> None:
    """What the day's row names is gone, so it stands for nothing: the next one puts its rows aside anew."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant, COST_SETTLE_HOURS="8760") as (bench, run, (day,)):
        before = await bench.totals()
        bench.edge.kill_on("blob put costs/ledger")
        assert await dies(publish_day(bench.engine, day))
        bench.restart()
        for name in await aside(bench):
            await bench.engine.storage.blobs.delete("cost-staging", name)
        bench.edge.kill_on("blob put costs/ledger", after=True)
        assert await dies(publish_day(bench.engine, day))
        bench.restart()
        assert len(await aside(bench)) == 1

        await publish_day(bench.engine, day)

        await bench.drain(RUNS)
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == before


async def publish_without_what_was_put_aside(bench: Laptop, day: bytes) -> None:
    """Let a publisher die half-way, remove what it put aside, and publish the day."""
    await die_half_way(bench, day)
    for name in await aside(bench):
        await bench.engine.storage.blobs.delete("cost-staging", name)
    await publish_day(bench.engine, day)
    await bench.drain(RUNS)


async def test_open_day_whose_rows_put_aside_are_gone_fails_by_name_until_its_scope_is_read_again() -> None:
    """Of a settled day the rows that went are still there, as history; of an open one they were replaced."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant, COST_SETTLE_HOURS="8760") as (bench, run, (day,)):
        before = await bench.totals()
        await publish_without_what_was_put_aside(bench, day)

        (failure,) = ((await bench.closed(run)).summary or {})["failures"]
        assert failure["cause"].startswith("StagedPageMissingError")
        environ = {
            **bench.environ,
            "COST_SCOPES": ",".join([*tenant.subscription_scopes, tenant.billing_account]),
        }
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            assert (await bench.run()).status is RunStatus.COMPLETE
            assert await bench.totals() == before


async def test_settled_day_is_begun_again_from_its_own_history_where_what_was_put_aside_is_gone() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant) as (bench, run, (day,)):
        before = await bench.totals()
        await publish_without_what_was_put_aside(bench, day)

        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == before


async def test_publication_that_takes_nothing_from_a_scope_as_it_was_puts_nothing_aside() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    narrow, wide = tenant.subscription_scopes[0], tenant.billing_account
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        await bench.run()
        restate(tenant, 2, subscription=tenant.subscriptions[0])
        bench.edge.heal()

        await bench.run()

        assert bench.edge.made("blob put cost-staging/aside") == []
        assert len(bench.edge.made("table replace CostDays")) > 0


@pytest.mark.parametrize("ends", ["dies", "is faster"])
async def test_publisher_that_meets_anothers_half_way_finds_what_it_put_aside(ends: str) -> None:
    """The same message twice: one has read the day's publication, then the other puts rows aside and writes."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with taking_over(tenant) as (bench, run, (day,)):
        before = await bench.totals()
        bench.environ = {**bench.environ, "COST_SCOPES": ",".join(tenant.subscription_scopes)}
        async with bench.other() as (second, edge):

            async def happens(call: Call) -> None:
                if ends == "dies":
                    bench.edge.kill_on("blob put costs/manifest")
                assert await dies(publish_day(bench.engine, day)) == (ends == "dies")
                bench.restart()

            edge.meanwhile("blob list costs", happens)
            await publish_day(second, day)

        await publish_day(bench.engine, day)
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == before
        publication = await bench.engine.days.publication("ActualCost", tenant.days[0])
        assert publication is not None
        assert not publication.unfinished


async def test_resource_group_that_is_listed_with_a_grouping_that_shows_groups_makes_no_adjustments() -> None:
    """The rows that stood for its usage told no group, so they stood for every group."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=40)
    (day,), (owner,), (scope,) = tenant.days, tenant.subscriptions, tenant.subscription_scopes
    charges = tenant.charges(day, owner)
    used = [charge for charge in charges if charge.line.dimensions["ChargeType"] == "Usage"]
    group = min(str(charge.line.dimensions["ResourceGroupName"]).lower() for charge in used)
    listed = [
        [{"scope": scope, "grouping": ["ServiceName", "ChargeType", "Meter"]}],
        [
            {"scope": scope, "grouping": ["ServiceName", "ChargeType", "Meter", "ResourceGroupName"]},
            f"{scope}/resourceGroups/{group}",
        ],
    ]
    first, second = (json.dumps(scopes) for scopes in listed)
    async with laptop(tenant, COST_SCOPES=first) as bench:
        await bench.run()
        environ = {**bench.environ, "COST_SCOPES": second}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            assert (await bench.run()).status is RunStatus.COMPLETE

            assert {f"{scope}/resourcegroups/{group}".lower(), scope.lower()} == await sources(bench)
            rows = (await bench.ledger("ActualCost", day)).filter(pl.col("x_ChargeType") == "Usage")
            current, former = (rows.filter(pl.col("x_ValidTo").is_null() == now) for now in (True, False))
            assert set(current["x_Change"]) == set(former["x_Ended"]) == {"reshaped"}
            assert not current["x_IsAdjustment"].any()

            # AND from then on a change is one
            restate(tenant, 3)
            await bench.run()
            rows = await bench.ledger("ActualCost", day)
            came = rows.filter(pl.col("x_ValidTo").is_null() & pl.col("x_Change").is_in(["new", "restated"]))
            assert len(came) > 0
            assert came["x_IsAdjustment"].all()


async def publish_each_day_twice(bench: Laptop) -> list[bool]:
    """Read the tenant, and publish each day after a publisher that died one call later than the day before's."""
    await bench.seed()
    await bench.drain(PAGES, RUNS)
    killed = []
    for place, body in enumerate(sorted(set(await bench.take(DAYS)))):
        bench.edge.kill_at(place, after=True)
        killed.append(await dies(publish_day(bench.engine, body)))
        bench.restart()
        await publish_day(bench.engine, body)
    return killed


async def test_publisher_killed_anywhere_in_a_new_grouping_calls_nothing_an_adjustment() -> None:
    """Partitions that are written twice are, in between, less than they were; at each day it dies one call later."""
    tenant = Tenant(6, subscriptions=2, days=30, rows_per_day=8)
    grouping = "SubscriptionId,ResourceGroupName,ServiceName,ChargeType,Meter,ResourceGuid"
    async with laptop(tenant, COST_SCOPES=tenant.billing_account) as bench:
        bench.clock.ahead = timedelta(days=40)
        await bench.run()
        environ = {**bench.environ, "COST_GROUPING": grouping}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            killed = await publish_each_day_twice(bench)
            for day in tenant.days:
                rows = (await bench.ledger("ActualCost", day)).filter(pl.col("x_ChargeType") == "Usage")
                current, former = (rows.filter(pl.col("x_ValidTo").is_null() == now) for now in (True, False))
                assert set(current["x_Change"]) == set(former["x_Ended"]) == {"reshaped"}, day
                assert not current["x_IsAdjustment"].any(), day
        assert len(killed) == 30
        assert killed[:20] == [True] * 20
        assert not killed[-1]


async def test_publisher_killed_anywhere_while_subscriptions_take_over_restates_what_changed_and_no_more() -> (
    None
):
    """Rows that stay bear another scope's name from then on: of these no time tells how they were."""
    tenant = Tenant(6, subscriptions=2, days=30, rows_per_day=8)
    grouping = "SubscriptionId,ResourceGroupName,ServiceName,ChargeType,Meter,ResourceGuid"
    async with laptop(tenant, COST_SCOPES=tenant.management_group, COST_GROUPING=grouping) as bench:
        bench.clock.ahead = timedelta(days=40)
        await bench.run()
        for day in tenant.days:
            for subscription in tenant.subscriptions:
                restate(tenant, 1, [day], subscription)
        scopes = ",".join([tenant.management_group, *tenant.subscription_scopes])
        environ = {**bench.environ, "COST_SCOPES": scopes}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            killed = await publish_each_day_twice(bench)
            for day in tenant.days:
                rows = await bench.ledger("ActualCost", day)
                current, former = (rows.filter(pl.col("x_ValidTo").is_null() == now) for now in (True, False))
                came = current.filter(pl.col("x_Change") != "new")
                assert (set(came["x_Change"]), set(former["x_Ended"])) == ({"restated"}, {"restated"}), day
                assert len(came) == len(former) == 2, day
                assert came["x_IsAdjustment"].all(), day
        assert len(killed) == 30
        assert killed[:15] == [True] * 15
        assert not killed[-1]
