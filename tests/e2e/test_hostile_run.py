"""What is published is the truth to the last digit, whatever the storage does to us on the way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from datetime import timedelta

import pytest

from infra.local.simulator import Tenant, restate
from shared.cli.status import describe
from shared.engine import Engine, open_engine
from shared.plan.seed import Order, seed
from shared.registry import pages
from shared.runs import Run, RunStatus
from shared.storage import Unavailable, clients
from shared.sweep import sweep
from shared.worker import Worker
from tests.hostile import HostileStorage, Hostility, hostile
from tests.laptop import Laptop, fresh_storage, laptop
from tests.truth import truth_of

SETTINGS = {"COST_PAGE_SIZE": "20", "COST_LEASE_SECONDS": "2"}
SEVERAL = (1, 2, 3, 7)
KINDS = {
    "cut": Hostility(pages=SEVERAL),
    "empty": Hostility(empty=0.5),
    "shuffled": Hostility(shuffled=1),
    "reappearing": Hostility(reappearing=0.5),
    "refused": Hostility(refused=0.1),
    "reset": Hostility(reset=0.1),
    "lost": Hostility(lost=0.1),
    "torn": Hostility(torn=0.1),
}
ALL_AT_ONCE = Hostility(
    pages=SEVERAL, empty=0.3, shuffled=0.5, reappearing=0.2, refused=0.04, reset=0.04, lost=0.04, torn=0.02
)
AN_HOUR, A_WEEK, RETENTION = timedelta(hours=1), timedelta(days=7, hours=1), timedelta(days=46)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the blob and the queue client try again at once: what is proven here does not depend on the pause."""
    hurried = {"retry_total": 3, "initial_backoff": 0, "increment_base": 0, "random_jitter_range": 0}
    monkeypatch.setattr(clients, "_GROWING_PAUSES", hurried)


@asynccontextmanager
async def behind(tenant: Tenant, seed_of_chance: int = 0) -> AsyncIterator[tuple[Laptop, HostileStorage]]:
    """A laptop whose storage is kind as yet."""
    async with (
        hostile(fresh_storage(), seed_of_chance) as storage,
        laptop(tenant, COST_STORAGE=storage.connection_string, **SETTINGS) as bench,
    ):
        yield bench, storage


def small_tenant(number: int = 2) -> Tenant:
    return Tenant(number, subscriptions=2, days=2, rows_per_day=50)


async def work(bench: Laptop, name: str) -> Run:
    """Run as the standalone worker does; where the storage throws it out, it is started again."""
    days = bench.tenant.days
    order = Order(run=name, kind="run", first=days[0], last=days[-1])
    run = None
    for _ in range(10):
        try:
            run = run or await seed(bench.engine, order)
        except Unavailable:
            continue
        with suppress(Unavailable):
            return await Worker(bench.engine).work(run.id)
    raise AssertionError("the storage was not that hostile")


async def run_and_restate(bench: Laptop, storage: HostileStorage, hostility: Hostility) -> None:
    """Run, restate, run again, and compare with the truth each time."""
    for name in ("first", "second"):
        storage.hostility = hostility
        run = await work(bench, name)
        storage.hostility = Hostility()
        assert run.summary is not None
        assert (run.status, run.summary["failures"]) == (RunStatus.COMPLETE, [])
        assert await bench.totals() == truth_of(bench.tenant)
        assert await bench.engine.runs.poison() == []
        restate(bench.tenant, 6)


@pytest.mark.parametrize("kind", KINDS)
async def test_published_sums_are_the_truth_under_each_hostility(kind: str) -> None:
    async with behind(small_tenant()) as (bench, storage):
        await run_and_restate(bench, storage, KINDS[kind])

        assert sum(count for name, count in storage.done.items() if name.startswith(kind)) > 5, storage.done


@pytest.mark.parametrize("number", range(3))
async def test_published_sums_are_the_truth_under_all_hostilities_at_once(number: int) -> None:
    async with behind(small_tenant(number), number) as (bench, storage):
        await run_and_restate(bench, storage, ALL_AT_ONCE)

        assert sum(storage.done[name] for name in ("refused", "reset", "lost", "torn")) > 10, storage.done


async def told(bench: Laptop, engine: Engine) -> list[object]:
    """Say all that the books and the listings tell, by every query that there is."""
    found: list[object] = [await engine.storage.blobs.list("costs", "")]
    found += [await engine.storage.blobs.list("cost-staging", "pages/"), await engine.runs.poison()]
    known = await engine.days.days("ActualCost", bench.tenant.days[0], bench.tenant.days[-1])
    found += [known, [await engine.days.pointers("ActualCost", day) for day in known]]
    for run in await engine.runs.runs():
        tables, pieces = engine.storage.tables, await engine.runs.slices(run)
        found += [run, pieces, await engine.runs.days(run), await describe(engine, run)]
        found += [asdict(await pages.counts(tables, f"{run.id}|"))]
        for piece in pieces:
            found += [await pages.entries(tables, piece.partition)]
            found += [await pages.staged_pages(tables, piece.partition)]
            found += [await pages.last_written(tables, piece.partition)]
            found += [await pages.next_number(tables, piece.partition)]
            found += [await engine.days.of_scope(piece.metric, piece.scope_key, piece.first, piece.last)]
    return found


@pytest.mark.parametrize("size", SEVERAL)
async def test_pages_cut_at_any_size_hide_nothing_from_any_query(size: int) -> None:
    """The runs, what status tells of them, what sweep restarts, and what purge removes after a retention."""
    async with behind(small_tenant()) as (bench, storage):
        await run_and_restate(bench, storage, Hostility(pages=(size,), empty=0.2))
        stalled = await bench.seed()
        await bench.take("cost-pages")
        async with open_engine({**bench.environ, "COST_STORAGE": storage.upstream}) as kind:
            storage.hostility = Hostility(pages=(size,), empty=0.2)
            assert await told(bench, bench.engine) == await told(bench, kind)

            bench.clock.ahead = AN_HOUR
            await sweep(bench.engine)
            assert {piece.restarts for piece in await kind.runs.slices(stalled)} == {1}
            await bench.drain()
            assert (await bench.closed(stalled)).status is RunStatus.COMPLETE

            for ahead in (A_WEEK, RETENTION):
                bench.clock.ahead = ahead
                await sweep(bench.engine)
            assert await kind.storage.blobs.list("cost-staging", "") == []
            assert await kind.storage.tables.query("CostHashes", "") == []
            assert await kind.storage.tables.query("CostRuns", "") == []
        assert await bench.totals() == truth_of(bench.tenant)


EACH_TRANSACTION_TWICE = Hostility(lost=1, in_a_row=1, only="/$batch")
"""Every transaction is done, its answer is lost, and the SDK meets its own success at its second try."""


async def test_seeding_whose_plan_meets_itself_goes_on() -> None:
    async with behind(small_tenant()) as (bench, storage):
        storage.hostility = EACH_TRANSACTION_TWICE
        run = await bench.seed()
        storage.hostility = Hostility()

        await bench.drain()

        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_purge_that_finds_rows_gone_already_goes_on() -> None:
    """Its own second try, or another sweep beside it: either way they are where they should be."""
    async with behind(small_tenant()) as (bench, storage):
        await bench.run()
        for ahead in (A_WEEK, RETENTION):
            bench.clock.ahead = ahead
            storage.hostility = EACH_TRANSACTION_TWICE
            await sweep(bench.engine)
            storage.hostility = Hostility()

        assert await bench.engine.storage.tables.query("CostHashes", "") == []
        assert await bench.engine.storage.tables.query("CostRuns", "") == []
