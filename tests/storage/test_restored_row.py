"""A publisher that dies after its manifest and before its row: what follows is as if it had lived.

Readers saw what it published. So what comes later is an adjustment, a new grouping reshapes, and the day is known
since then, as if its row had been saved.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from random import Random

import polars as pl
import pytest

from infra.local.simulator import Tenant, add, restate
from shared.cli.published import describe
from shared.engine import open_engine
from shared.ledger.files import PublishedFiles, daily_path, manifest_path
from shared.ledger.publish_day import publish_day
from shared.ledger.restore_row import restore_row
from shared.ledger.standing import stand
from shared.messages import DAYS
from shared.purge import purge
from shared.runs import RunStatus
from shared.worker import STEPS
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.storage.test_half_published import WRITE, half_publish, swap_costs, to_publish
from tests.then import METRIC, Cell, amounts, asked, costs, now, tenant_of
from tests.truth import truth_of

GROUPING = "ResourceGroupName,ServiceName,ChargeType,ResourceLocation,Meter"
"""Another one than the default."""


@asynccontextmanager
async def settled(tenant: Tenant, *scopes: str) -> AsyncIterator[Laptop]:
    """Begin when the tenant's day is settled long since; without `scopes`, with all of its subscriptions."""
    async with laptop(tenant, COST_SCOPES=",".join(scopes or tenant.subscription_scopes)) as bench:
        bench.clock.ahead += timedelta(days=20)
        yield bench


@asynccontextmanager
async def changed_settings(bench: Laptop, **settings: str) -> AsyncIterator[None]:
    mine, environ = bench.engine, {**bench.environ, **settings}
    async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
        yield
    bench.engine = mine


def listing(bench: Laptop, *scopes: str) -> AbstractAsyncContextManager[None]:
    return changed_settings(bench, COST_SCOPES=",".join(scopes))


async def fail_all(bench: Laptop) -> None:
    """Let a publication come of which no scope has a reading."""
    bench.fault(refuse=dict.fromkeys(bench.tenant.subscription_scopes, "AuthorizationFailed"))
    await bench.run()
    bench.fault()


async def regroup(bench: Laptop) -> None:
    async with changed_settings(bench, COST_GROUPING=GROUPING):
        await bench.run()


async def change(bench: Laptop) -> None:
    restate(bench.tenant, 8, bench.tenant.days)
    add(bench.tenant, 2, bench.tenant.days)
    await bench.run()


async def die_once_more(bench: Laptop) -> None:
    """Let the next publisher die as well, after it has put something aside."""
    swap_costs(bench.tenant)
    await half_publish(bench)
    assert await bench.engine.storage.blobs.list("cost-staging", "aside/")
    await change(bench)


FIRST = {"never": None, "failed": fail_all, "published": Laptop.run}
THEN = {"changed": change, "regrouped": regroup, "died once more": die_once_more}


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("first", FIRST)
async def test_what_follows_is_what_would_have_followed_if_the_publisher_had_lived(
    first: str, then: str
) -> None:
    died = await story(first, then, partial(half_publish, kill_on="blob put costs/manifests"))
    assert died == await story(first, then, Laptop.run)
    assert died.states == ["settled", "settled"]
    assert died.aside == []


@pytest.mark.parametrize("first", ["failed", "published"])
async def test_publication_of_a_day_that_was_given_up_afterwards_is_none_the_less_one(first: str) -> None:
    """GIVEN a publisher that died after its manifest, whose message was then poisoned."""

    async def given_up(bench: Laptop) -> None:
        await half_publish(bench, kill_on="blob put costs/manifests")
        await bench.engine.days.leave_unfinished(METRIC, bench.tenant.days[0])

    assert await story(first, "changed", given_up) == await story(first, "changed", Laptop.run)


async def test_day_that_was_only_held_so_far_is_missing_with_its_readings_pending() -> None:
    """GIVEN a first publisher that died half-way, and a second that died after it had shut the first one out."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with settled(tenant) as bench:
        await half_publish(bench)
        await half_publish(bench, kill_on="table insert CostDays")
        known = (await bench.engine.days.days(METRIC, day, day))[day]

        found = describe(METRIC, day, known, bench.engine.settings.settle)

        assert known.publication is not None
        assert (found["state"], found["pending"], found["published_at"]) == ("missing", True, None)
        await bench.run()
        assert await bench.totals() == truth_of(tenant)


@pytest.mark.parametrize("first", ["never", "published"])
async def test_publisher_that_dies_anywhere_before_a_newer_reading_either_published_or_never_began(
    first: str,
) -> None:
    never, lived = [await story(first, "changed", publishes) for publishes in (not_at_all, Laptop.run)]
    assert never != lived
    seen, place, deaths = [], 0, [True]
    while deaths[-1]:
        seen.append(await story(first, "changed", partial(die_at, place, deaths)))
        place += 1

    lives_from = seen.index(lived)
    assert seen == [never] * lives_from + [lived] * (place - lives_from)
    assert 10 < lives_from < place - 3


async def test_older_run_brings_no_older_scope_list_back_after_a_death() -> None:
    """GIVEN a scope that was added, and a publisher of the new list that died after its manifest."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    one, other = tenant.subscription_scopes
    async with settled(tenant, one) as bench:
        await bench.run()
        old = await restated(bench)
        async with listing(bench, one, other):
            new = await restated(bench)
            await die_after_the_manifest(bench, new)
            await publish_day(bench.engine, new)

            await publish_day(bench.engine, old)

            published = await bench.engine.days.publication(METRIC, day)
            assert published is not None
            assert len(published.listed) == 2


async def test_scope_that_left_the_settings_owns_nothing_again_after_a_death() -> None:
    tenant = tenant_of(days=1)
    narrow, wide = tenant.subscription_scopes[0], tenant.billing_account
    async with settled(tenant, narrow, wide) as bench:
        await bench.run()
        old = await restated(bench)
        async with listing(bench, wide):
            await publish_day(bench.engine, await restated(bench))
            await die_after_the_manifest(bench, await restated(bench))
            said = await bench.totals()

            await publish_day(bench.engine, old)

            assert await bench.totals() == said


@pytest.mark.parametrize("purged", [True, False])
@pytest.mark.parametrize("put_back", ["edited", "older"])
async def test_manifest_that_no_publisher_left_tells_nothing_and_is_made_anew(
    put_back: str, *, purged: bool
) -> None:
    """GIVEN one whose times were changed and that lacks a file, or that of the publication before."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with settled(tenant, *tenant.subscription_scopes) as bench:
        await bench.run()
        older = await bench.manifest(METRIC, day)
        now(bench)
        restate(tenant, 8, [day])
        await bench.run()
        published, ledger = await bench.manifest(METRIC, day), await bench.ledger(METRIC, day)
        if purged:
            bench.clock.ahead += timedelta(days=8)
            await purge(bench.engine)
            bench.restart()
        edited = {**published, "known_since": "2026-05-04T00:00:00Z", "files": published["files"][1:]}
        data = json.dumps(edited if put_back == "edited" else older).encode()
        await bench.engine.storage.blobs.put("costs", manifest_path(METRIC, day), data)

        run = await bench.run(tenant.subscription_scopes[1])

        assert run.status is RunStatus.COMPLETE
        assert (await bench.ledger(METRIC, day)).equals(ledger)
        told = await bench.manifest(METRIC, day)
        assert (told["known_since"], told["files"]) == (published["known_since"], published["files"])


@pytest.mark.parametrize("dies_after", [WRITE, "table upsert CostDays"])
async def test_rows_own_manifest_that_somebody_wrote_again_makes_nobody_forget_what_was_put_aside(
    dies_after: str,
) -> None:
    """GIVEN a publisher that died after it had put partitions aside, before it wrote its manifest."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with settled(tenant) as bench:
        await bench.run()
        now(bench)
        swap_costs(tenant)
        await half_publish(bench, kill_on=dies_after)
        manifest = await bench.engine.storage.blobs.get("costs", manifest_path(METRIC, day))
        assert manifest is not None
        await bench.engine.storage.blobs.put("costs", manifest_path(METRIC, day), manifest.data)

        files = PublishedFiles(bench.engine.storage.blobs, "costs")
        standing = await stand(bench.engine, files, await bench.seed(), METRIC, day)
        assert not await restore_row(bench.engine, files, standing)

        published = await bench.engine.days.publication(METRIC, day)
        assert published is not None
        assert published.aside


async def restated(bench: Laptop) -> bytes:
    """Let the provider restate the day, read it, and give the message to publish it."""
    restate(bench.tenant, 4, bench.tenant.days)
    now(bench)
    return await to_publish(bench)


async def die_after_the_manifest(bench: Laptop, body: bytes) -> None:
    bench.edge.kill_on("blob put costs/manifests", after=True)
    assert await dies(publish_day(bench.engine, body))
    bench.restart()


async def not_at_all(_: Laptop) -> None:
    """Leave what the tenant says now unread."""


async def die_at(place: int, deaths: list[bool], bench: Laptop) -> None:
    """Read what the tenant says now, and let its publisher die after one of its calls, if it makes so many."""
    body = await to_publish(bench)
    bench.edge.kill_at(place, after=True)
    deaths.append(await dies(STEPS[DAYS](bench.engine, body)))
    bench.restart()


@dataclass(frozen=True)
class Told:
    """How a day stands in the end: its rows without their times, and what as-of says of the time in between.

    `aside` are blobs put aside that lie there still.
    """

    rows: list[tuple[object, ...]]
    daily: bytes
    states: list[str]
    between: dict[Cell, Decimal]
    aside: list[str] = field(compare=False)


async def story(first: str, then: str, publishes: Callable[[Laptop], Awaitable[object]]) -> Told:
    """Publish a settled day as far as `publishes` does, then what follows."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with settled(tenant) as bench:
        if begin := FIRST[first]:
            await begin(bench)
            now(bench)
            # Both partitions lose and gain a cost, so that they are put aside while they are written.
            swap_costs(tenant)
        await publishes(bench)
        between = now(bench)

        await THEN[then](bench)

        at = [await asked(bench, time) for time in (between, now(bench))]
        assert amounts(at[1]) == costs(truth_of(tenant))
        aside = await bench.engine.storage.blobs.list("cost-staging", "aside/")
        rows = (await bench.ledger(METRIC, day)).drop("x_ValidFrom", "x_ValidTo")
        return Told(
            rows=rows.sort(pl.all()).rows(),
            daily=await daily(bench, day),
            states=[one.state for days in at for one in days],
            between={} if at[0][0].totals is None else amounts(at[0]),
            aside=[blob.name for blob in aside],
        )


async def daily(bench: Laptop, day: date) -> bytes:
    blob = await bench.engine.storage.blobs.get("costs", daily_path(METRIC, day))
    assert blob is not None
    return blob.data
