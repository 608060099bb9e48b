"""A publisher that dies after its manifest and before its row: what follows is as if it had lived.

Readers saw what it published. So what comes later is an adjustment, a new grouping reshapes, and the day is known
since then, as if its row had been saved.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from random import Random

import polars as pl
import pytest

from infra.local.simulator import Tenant, add, restate
from shared.engine import open_engine
from shared.ledger.files import daily_path, manifest_path
from shared.messages import DAYS, PAGES, RUNS
from shared.worker import STEPS
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.storage.test_half_published import half_publish, swap_costs
from tests.then import METRIC, Cell, amounts, asked, costs, now, tenant_of
from tests.truth import truth_of

GROUPING = "ResourceGroupName,ServiceName,ChargeType,ResourceLocation,Meter"
"""Another one than the default."""


@asynccontextmanager
async def settled(tenant: Tenant) -> AsyncIterator[Laptop]:
    """Begin when the tenant's day is settled long since."""
    async with laptop(tenant) as bench:
        bench.clock.ahead += timedelta(days=20)
        yield bench


async def fail_all(bench: Laptop) -> None:
    """Let a publication come of which no scope has a reading."""
    bench.fault(refuse=dict.fromkeys(bench.tenant.subscription_scopes, "AuthorizationFailed"))
    await bench.run()
    bench.fault()


async def regroup(bench: Laptop) -> None:
    environ = {**bench.environ, "COST_GROUPING": GROUPING}
    mine = bench.engine
    async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
        await bench.run()
    bench.engine = mine


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


async def test_manifest_that_somebody_edited_is_made_anew_and_tells_nothing() -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with settled(tenant) as bench:
        await bench.run()
        published = await bench.manifest(METRIC, day)
        edited = {**published, "known_since": "2026-05-04T00:00:00Z"}
        await bench.engine.storage.blobs.put("costs", manifest_path(METRIC, day), json.dumps(edited).encode())

        await change(bench)

        assert (await bench.manifest(METRIC, day))["known_since"] == published["known_since"]


async def not_at_all(_: Laptop) -> None:
    """Leave what the tenant says now unread."""


async def die_at(place: int, deaths: list[bool], bench: Laptop) -> None:
    """Read what the tenant says now, and let its publisher die after one of its calls, if it makes so many."""
    await bench.seed()
    await bench.drain(PAGES, RUNS)
    (body,) = await bench.take(DAYS)
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
