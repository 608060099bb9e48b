"""Whoever reads the published files by a glob sees whole files and no cost twice, whenever a publisher dies."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Metric, Tenant, scope_truth
from infra.local.simulator.charges import Charge
from shared.edge import Call
from shared.engine import Engine
from shared.ledger.publish_day import publish_day
from shared.ledger.published_day import Finding
from shared.ledger.verify import verify
from shared.messages import DAYS, PAGES, RUNS
from shared.runs import RunStatus
from shared.sweep import sweep
from tests.crash.choice import POINTS
from tests.crash.published import contents, current_totals
from tests.crash.world import FIRST_DAY, World, world
from tests.faults import dies

MOVING = ("0d9a1f6e-0000-4000-8000-00000000c057", "0d9a1f6e-0000-4000-8000-00000000057c")
"""The meters of two costs that change places between two subscriptions, to and fro."""

SHARED = "0d9a1f6e-0000-4000-8000-000000005ba2"
"""The meter of a cost that both subscriptions have a part of, as a discount that is allotted anew."""

PARTS = ((Decimal(1), Decimal(10)), (Decimal(7), Decimal(4)))
"""How it is shared at one time, and at another."""

A_STALL = timedelta(hours=1)


@dataclass
class Reader:
    """Reads all there is after every write, and keeps the most that it ever saw of the moving cost."""

    place: World
    reads: int = 0

    async def look(self, call: Call) -> None:
        if not (call.operation == "put" and call.target.startswith("costs/")):
            return
        self.reads += 1
        frames = {
            name: pl.read_parquet(io.BytesIO(data))
            for name, data in (await contents(self.place.storage)).items()
            if name.endswith(".parquet")
        }
        ledger = pl.concat(frame for name, frame in frames.items() if name.startswith("ledger/"))
        current = ledger.filter(pl.col("x_ValidTo").is_null())
        for meter in MOVING:
            assert (current["x_MeterId"] == meter).sum() <= 1, "a cost is there twice"
        shared = current.filter(pl.col("x_MeterId") == SHARED)["BilledCost"].sum()
        assert shared <= sum(PARTS[0]), "a part of a cost is there twice"
        assert not current["x_RecordId"].is_duplicated().any(), "a record is there twice"
        daily = [frame for name, frame in frames.items() if name.startswith("daily/")]
        assert len(daily) <= 1


def share(tenant: Tenant) -> None:
    """Let each subscription have another part of the shared cost."""
    first = tenant.subscriptions[0]
    has = [charge.actual for charge in charges(tenant, first) if is_of(charge, SHARED)]
    parts = PARTS[1] if has == [PARTS[0][0]] else PARTS[0]
    for subscription, part in zip(tenant.subscriptions, parts, strict=True):
        others = [charge for charge in charges(tenant, subscription) if not is_of(charge, SHARED)]
        like = next(charge for charge in others if not any(is_of(charge, meter) for meter in MOVING))
        line = replace(like.line, dimensions={**like.line.dimensions, "ResourceGuid": SHARED})
        mine = like._replace(line=line, actual=part, amortized=part)
        tenant.put(tenant.days[0], subscription, [*others, mine])


def exchange(tenant: Tenant) -> None:
    """Let each of the two moving costs belong to the other subscription, and other parts of the shared one."""
    share(tenant)
    if not any(is_of(charge, MOVING[0]) for name in tenant.subscriptions for charge in charges(tenant, name)):
        move(tenant, MOVING[0])
    for meter in MOVING:
        move(tenant, meter)


def move(tenant: Tenant, meter: str) -> None:
    """Let a cost belong to the other subscription; one that is not there yet is made, in the second."""
    one, other = tenant.subscriptions
    at = other if any(is_of(charge, meter) for charge in charges(tenant, other)) else one
    to = one if at == other else other
    moving = [charge for charge in charges(tenant, at) if is_of(charge, meter)]
    charge = (moving or charges(tenant, at))[0]
    line = replace(
        charge.line,
        subscription=to,
        dimensions={**charge.line.dimensions, "SubscriptionId": to, "ResourceGuid": meter},
    )
    tenant.put(tenant.days[0], at, [known for known in charges(tenant, at) if known not in moving])
    tenant.put(tenant.days[0], to, [*charges(tenant, to), charge._replace(line=line)])


def charges(tenant: Tenant, subscription: str) -> tuple[Charge, ...]:
    return tenant.charges(tenant.days[0], subscription)


def is_of(charge: Charge, meter: str) -> bool:
    return charge.line.dimensions["ResourceGuid"] == meter


@pytest.fixture
async def place() -> AsyncIterator[World]:
    """A day of two subscriptions, read through their management group."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=8, first_day=FIRST_DAY, currencies=("USD",))
    async with world(tenant, [tenant.management_group]) as found:
        yield found


async def read_only(place: World, engine: Engine, name: str) -> bytes:
    """Read the day in a run of this name, and give the message that asks for it to be published."""
    await place.seed(engine, name)
    while await place.work_once(engine, PAGES):
        pass
    await place.work_once(engine, RUNS)
    return await place.take(DAYS)


async def publish_and_watch(place: World) -> Reader:
    """Publish the day, and let somebody read after every write from then on."""
    async with place.process() as engine:
        await place.seed(engine, "before")
        await place.work(engine)
    reader = Reader(place)
    place.edge.onlooker = reader.look
    return reader


async def findings(place: World) -> list[Finding]:
    day = place.tenant.days[0]
    return [
        finding
        async for checked in verify(place.storage.blobs, "costs", day, day)
        for finding in checked.findings
    ]


async def demand_the_truth(place: World) -> None:
    truth = scope_truth(place.tenant, place.tenant.management_group, Metric.ACTUAL)
    assert await current_totals(place.storage) == {
        (key.day, key.subscription): (total.amount, total.rows) for key, total in truth.items()
    }
    assert await findings(place) == []


@pytest.mark.parametrize("first_way", [0, 1])
async def test_a_reader_sees_no_part_of_a_cost_twice_when_it_moves(place: World, first_way: int) -> None:
    """Both subscriptions have a row of it before and after: nothing comes or goes, two rows are restated."""
    for _ in range(1 + first_way):
        share(place.tenant)
    reader = await publish_and_watch(place)
    share(place.tenant)
    async with place.process() as engine:
        await place.seed(engine, "after")
        await place.work(engine)
    assert reader.reads == 4, "two partitions, the totals and the manifest"
    await demand_the_truth(place)


@pytest.mark.parametrize("first_writes", ["blob put costs/ledger", "blob put costs/daily"])
async def test_day_that_two_dead_publishers_left_half_written_is_published(
    place: World, first_writes: str
) -> None:
    """The second takes back what the first wrote: its first file has less than both, and the rest lies put aside."""
    exchange(place.tenant)
    await publish_and_watch(place)
    for name, dies_at in (("first", first_writes), ("second", "blob put costs/ledger")):
        exchange(place.tenant)
        async with place.process() as engine:
            body = await read_only(place, engine, name)
            place.edge.faults.kill_on(dies_at, after=True)
            assert await dies(publish_day(engine, body))
        place.edge.faults.heal()

    async with place.process() as engine:
        await place.seed(engine, "next")
        await place.work(engine)
        assert {run.status for run in await engine.runs.runs() if run.id == "next"} == {RunStatus.COMPLETE}
    await demand_the_truth(place)


async def test_a_reader_sees_no_cost_twice_and_the_next_run_repairs_what_a_dead_publisher_left(
    place: World,
) -> None:
    """The publisher dies at every call in turn, its message is lost, and often the cost has moved back since.

    Where the cost is back where the last publication has it, nothing but the files themselves tells that a
    publisher was there.
    """
    exchange(place.tenant)
    reader = await publish_and_watch(place)
    at, killed, half_published = 0, True, 0
    while killed:
        for moves_back in (True, False) if POINTS == "all" else (at % 2 == 0,):
            exchange(place.tenant)
            async with place.process() as engine:
                body = await read_only(place, engine, f"killed-{at}-{moves_back}")
                place.edge.faults.kill_at(at, after=True)
                killed = await dies(publish_day(engine, body))
            place.edge.faults.heal()
            half_published += bool(await findings(place))
            if moves_back:
                exchange(place.tenant)
            async with place.process() as engine:
                await place.seed(engine, f"next-{at}-{moves_back}")
                await place.work(engine)
                await demand_the_truth(place)
        at += 1
    assert at > 12
    assert half_published >= 4, "verify finds a day that is published half-way"
    assert reader.reads > 30

    async with place.process() as engine:
        for _ in range(3):
            place.time.pass_by(A_STALL)
            await sweep(engine)
            await place.work(engine)
        assert {run.status for run in await engine.runs.runs()} == {RunStatus.COMPLETE}
    await demand_the_truth(place)
