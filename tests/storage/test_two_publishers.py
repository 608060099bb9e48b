"""Two publishers of a settled day at once: the newer one lists while the other is half-way, and takes that back.

Neither may publish over what the other has replaced: a publication that names files that are no more would keep the
day from ever being published again, for its history could not be found.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import restate
from shared.edge import Call
from shared.engine import Engine
from shared.ledger.publish_day import publish_day
from shared.runs import RunStatus
from tests.faults import FaultyEdge, dies
from tests.laptop import Laptop, laptop
from tests.storage.test_half_published import to_publish
from tests.then import METRIC, amounts, asked, costs, now, tenant_of
from tests.truth import truth_of

SOON = 60
"""Seconds after which a test would hang for ever."""


async def read(bench: Laptop) -> bytes:
    """Read what the tenant says now, in a second of its own, and give the message to publish it."""
    now(bench)
    return await to_publish(bench)


@dataclass
class Newer:
    """Another process, that publishes a newer reading and stops before its first ledger file, and after it."""

    bench: Laptop
    engine: Engine
    edge: FaultyEdge
    stood: asyncio.Event = field(default_factory=asyncio.Event)
    may_write: asyncio.Event = field(default_factory=asyncio.Event)
    wrote: asyncio.Event = field(default_factory=asyncio.Event)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    work: "asyncio.Task[None] | None" = None

    async def begin(self, _: Call) -> None:
        """Read a newer reading and publish it up to the first ledger file."""
        restate(self.bench.tenant, 4, self.bench.tenant.days)
        mine, self.bench.engine = self.bench.engine, self.engine
        body = await read(self.bench)
        self.bench.engine = mine
        self.edge.meanwhile("blob put costs/ledger", self._stop)
        self.work = asyncio.create_task(publish_day(self.engine, body))
        await asyncio.wait_for(self.stood.wait(), SOON)

    async def _stop(self, _: Call) -> None:
        self.stood.set()
        self.edge.meanwhile("blob put costs/ledger", self._stop_again)
        await self.may_write.wait()

    async def _stop_again(self, _: Call) -> None:
        self.wrote.set()
        await self.may_end.wait()

    async def write_one(self, _: Call | None = None) -> None:
        """Write the first of the ledger's files."""
        self.may_write.set()
        await asyncio.wait_for(self.wrote.wait(), SOON)

    async def end(self) -> None:
        self.may_write.set()
        self.may_end.set()
        assert self.work is not None
        await asyncio.wait_for(self.work, SOON)


@pytest.mark.parametrize("dies_first", [False, True])
@pytest.mark.parametrize("published_before", [False, True])
async def test_neither_publishes_over_what_the_other_has_replaced(
    *, published_before: bool, dies_first: bool
) -> None:
    """The first one ends, or dies after its manifest, when the newer one has replaced a file of its."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant) as bench, bench.other() as (engine, edge):
        newer = Newer(bench, engine, edge)
        said = []
        if published_before:
            await bench.run()
            said.append(costs(truth_of(tenant)))
            restate(tenant, 8, [day])
        body = await read(bench)
        said.append(costs(truth_of(tenant)))

        # GIVEN one that has written its ledger files when the newer one lists
        bench.edge.heal()
        bench.edge.meanwhile("blob put costs/daily", newer.begin)
        if dies_first:
            bench.edge.kill_on("blob put costs/manifests", after=True)
            assert await dies(publish_day(bench.engine, body))
            bench.restart()
            await newer.write_one()
        else:
            first = asyncio.create_task(publish_day(bench.engine, body))
            await asyncio.wait_for(newer.stood.wait(), SOON)
            bench.edge.meanwhile("table upsert CostDays", newer.write_one)
            await asyncio.wait_for(first, SOON)
        between = now(bench)
        await newer.end()
        bench.restart()
        await bench.drain()

        # THEN the day is what the newer one says, can be published again, and has a history
        assert await bench.totals() == truth_of(tenant)
        assert (await bench.run()).status is RunStatus.COMPLETE
        rows = await bench.ledger(METRIC, day)
        usage = rows.filter((pl.col("x_ChargeType") == "Usage") & pl.col("x_ValidTo").is_null())
        assert usage["x_IsAdjustment"].any() == published_before
        believed = await asked(bench, between)
        if believed[0].totals is None:
            assert not published_before
        else:
            assert amounts(believed) in [*said, costs(truth_of(tenant))]

        restate(tenant, 2, [day])
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)


@pytest.mark.parametrize("came_last", [False, True])
async def test_publisher_that_found_the_day_open_and_wakes_when_it_is_settled_does_no_lasting_harm(
    *, came_last: bool
) -> None:
    """It replaces rows in a file that the newer one left alone, for there the old cost stands again.

    What it takes away may be all that came with the file's last publication: then it leaves an older one.
    """
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    settles = datetime.combine(day, time(), UTC) + timedelta(hours=72)
    subscription, other = tenant.subscriptions
    async with laptop(tenant) as bench, bench.other() as (engine, _):

        def at(moment: datetime) -> None:
            bench.clock.ahead = moment - datetime.now(UTC)

        async def newer(_: Call) -> None:
            at(settles + timedelta(minutes=10))
            tenant.put(day, subscription, first)
            restate(tenant, 2, subscription=other)
            bench.engine, mine = engine, bench.engine
            assert (await bench.run()).status is RunStatus.COMPLETE
            bench.engine = mine

        first = tenant.charges(day, subscription)
        least = min(first, key=lambda charge: abs(charge.actual or Decimal(10**6)))
        less = [charge for charge in first if charge is not least]
        if came_last:
            at(settles - timedelta(minutes=30))
            tenant.put(day, subscription, less)
            await bench.run()
        at(settles - timedelta(minutes=20))
        tenant.put(day, subscription, first)
        await bench.run()
        tenant.put(day, subscription, less)
        at(settles - timedelta(minutes=10))
        body = await to_publish(bench)
        bench.edge.heal()
        bench.edge.meanwhile("blob put costs/ledger", newer)
        await publish_day(bench.engine, body)
        await bench.drain()

        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)
