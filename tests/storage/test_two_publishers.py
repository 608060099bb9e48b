"""Two publishers of a settled day at once: the newer one lists while the other is half-way, and takes that back.

Neither may publish over what the other has replaced: a publication that names files that are no more would keep the
day from ever being published again, for its history could not be found.
"""

import asyncio
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Charge, restate
from shared.edge import Call
from shared.engine import Engine
from shared.ledger import files
from shared.ledger.publish_day import publish_day
from shared.runs import RunStatus
from shared.staging import VERSION_KEY, encode
from shared.versions import VERSION
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


class Slow:
    """A publisher that takes a row of one subscription away, and is overtaken before it writes.

    Whoever overtakes it finds that row again, so that file is left alone; it changes the other subscription's.
    """

    def __init__(self, bench: Laptop, engine: Engine) -> None:
        self.bench, self.engine = bench, engine
        (self.day,) = bench.tenant.days
        self.subscription, self.other = bench.tenant.subscriptions
        self.first = bench.tenant.charges(self.day, self.subscription)
        least = min(self.first, key=lambda charge: abs(charge.actual or Decimal(10**6)))
        self.less = [charge for charge in self.first if charge is not least]

    def at(self, hours: float) -> None:
        """Let it be so many hours after the day began."""
        moment = datetime.combine(self.day, time(), UTC) + timedelta(hours=hours)
        self.bench.clock.ahead = moment - datetime.now(UTC)

    def says(self, charges: Sequence[Charge]) -> None:
        self.bench.tenant.put(self.day, self.subscription, charges)

    async def wakes(self, *, found: float, overtaken: float) -> None:
        """Let it read at one time and write at another, when a newer one has published."""

        async def newer(_: Call) -> None:
            self.at(overtaken)
            self.says(self.first)
            restate(self.bench.tenant, 2, subscription=self.other)
            self.bench.engine, mine = self.engine, self.bench.engine
            assert (await self.bench.run()).status is RunStatus.COMPLETE
            self.bench.engine = mine

        self.at(found)
        self.says(self.less)
        body = await to_publish(self.bench)
        self.bench.edge.heal()
        self.bench.edge.meanwhile("blob put costs/ledger", newer)
        await publish_day(self.bench.engine, body)
        await self.bench.drain()

    async def demand_no_lasting_harm(self) -> None:
        assert (await self.bench.run()).status is RunStatus.COMPLETE
        assert await self.bench.totals() == truth_of(self.bench.tenant)


@pytest.mark.parametrize("came_last", [False, True])
async def test_publisher_that_found_the_day_open_and_wakes_when_it_is_settled_does_no_lasting_harm(
    *, came_last: bool
) -> None:
    """What it takes away may be all that came with the file's last publication: then it leaves an older one."""
    async with laptop(tenant_of(days=1)) as bench, bench.other() as (engine, _):
        slow = Slow(bench, engine)
        if came_last:
            slow.at(71.5)
            slow.says(slow.less)
            await bench.run()
        slow.at(71.6)
        slow.says(slow.first)
        await bench.run()

        await slow.wakes(found=71.8, overtaken=72.2)

        await slow.demand_no_lasting_harm()


async def test_publisher_that_found_the_day_open_again_by_a_longer_setting_does_no_lasting_harm() -> None:
    """By the shorter one the file was written when the day was settled."""
    async with laptop(tenant_of(days=1), COST_SETTLE_HOURS="24") as bench, bench.other() as (engine, _):
        longer = replace(bench.engine.settings, settle=timedelta(hours=72))
        slow = Slow(bench, replace(engine, settings=longer))
        slow.at(60)
        await bench.run()
        bench.engine = replace(bench.engine, settings=longer)

        await slow.wakes(found=80, overtaken=100)

        await slow.demand_no_lasting_harm()


async def test_publisher_that_is_overtaken_over_a_file_of_another_release_does_no_lasting_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same rows in other bytes: they are known by what they come to."""
    async with laptop(tenant_of(days=1)) as bench, bench.other() as (engine, _):
        slow = Slow(bench, engine)
        slow.at(100)
        with monkeypatch.context() as other_release:
            other_release.setattr(files, "encode", other_bytes)
            await bench.run()

        await slow.wakes(found=110, overtaken=120)

        await slow.demand_no_lasting_harm()


def other_bytes(frame: pl.DataFrame) -> bytes:
    """Write a frame as another release may."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=9, metadata={VERSION_KEY: str(VERSION)})
    assert buffer.getvalue() != encode(frame)
    return buffer.getvalue()
