"""A run exists once its row does: before that nothing counts, after that anybody can finish it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta

import pytest

from infra.local.simulator import Tenant
from shared.messages import PAGES
from shared.plan.seed import Order, finish_seeding, seed, seed_timer
from shared.plan.sizes import PAGES as PAGES_OF_A_WINDOW
from shared.plan.windows import Window
from shared.runs import RunStatus
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.truth import truth_of


@asynccontextmanager
async def timed(*, subscriptions: int = 2, **settings: str) -> AsyncIterator[Laptop]:
    """A laptop at noon of yesterday, whose timer looks at that day alone: one slice for each scope."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    tenant = Tenant(6, subscriptions=subscriptions, days=1, rows_per_day=20, first_day=yesterday)
    async with laptop(tenant, COST_LOOKBACK_DAYS="1", **settings) as bench:
        bench.clock.ahead = datetime.combine(yesterday, time(12, 0, 30), UTC) - datetime.now(UTC)
        yield bench


async def scopes_of(bench: Laptop, run_id: str) -> list[str]:
    run = await bench.engine.runs.run(run_id)
    assert run is not None
    return [piece.scope for piece in await bench.slices(run)]


async def test_slices_are_written_before_the_run_and_the_run_before_its_messages() -> None:
    async with laptop(Tenant(6, subscriptions=2, days=1, rows_per_day=10)) as bench:
        await bench.seed()

        assert bench.edge.made("") == [
            "table query CostDays",
            "table batch CostRuns",
            "table insert CostRuns",
            *["queue send cost-pages"] * 2,
            "table replace CostRuns",
        ]


async def test_seeding_that_dies_before_the_runs_row_leaves_nothing_that_counts() -> None:
    async with timed() as bench:
        bench.edge.kill_on("table insert CostRuns")
        assert await dies(_seed_timer(bench))
        bench.restart()
        assert await bench.engine.runs.runs() == []
        assert await bench.engine.storage.queues.length(PAGES) == 0

        run = await seed_timer(bench.engine)

        assert len(await bench.slices(run)) == run.planned == 2
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def _seed_timer(bench: Laptop) -> None:
    await seed_timer(bench.engine)


async def test_killed_at_any_outside_call_the_next_firing_of_the_tick_makes_the_run_whole() -> None:
    place, killed = 0, True
    while killed:
        async with timed() as bench:
            bench.edge.kill_at(place, after=True)
            killed = await dies(_seed_timer(bench))
            bench.restart()

            run = await seed_timer(bench.engine)

            assert run.seeded
            await bench.drain()
            assert (await bench.closed(run)).status is RunStatus.COMPLETE
            assert len(await bench.slices(run)) == 2
            assert len(await bench.engine.runs.runs()) == 1
        place += 1
    assert place > 6


async def test_finished_seeding_is_not_finished_again() -> None:
    async with timed() as bench:
        run = await seed_timer(bench.engine)
        bench.edge.heal()

        await finish_seeding(bench.engine, run)

        assert bench.edge.made("") == []


async def test_tick_that_fires_twice_is_one_run() -> None:
    async with timed() as bench:
        one = await seed_timer(bench.engine)
        bench.clock.ahead += timedelta(seconds=90)
        other = await seed_timer(bench.engine)

        assert one.id == other.id == bench.tenant.days[0].strftime("%Y%m%dT120000Z")
        assert len(await bench.slices(one)) == 2


async def test_tick_that_fires_twice_at_once_is_one_run() -> None:
    """The other host wrote its run between our look and our insert; our slices count for nothing."""
    async with timed() as bench, bench.other() as (other, _):

        async def the_other_seeds(_: object) -> None:
            await seed_timer(other)

        bench.edge.meanwhile("table insert CostRuns", the_other_seeds)
        run = await seed_timer(bench.engine)

        assert len(await bench.slices(run)) == run.planned == 2
        await bench.drain()
        assert (await bench.closed(run)).summary is not None
        assert len(await bench.engine.runs.runs()) == 1


async def test_timer_skips_a_slice_on_which_another_run_makes_progress() -> None:
    async with timed() as bench:
        busy = bench.tenant.subscription_scopes[0]
        await bench.seed(busy)

        run = await seed_timer(bench.engine)

        assert await scopes_of(bench, run.id) == [bench.tenant.subscription_scopes[1]]


async def test_timer_takes_a_slice_on_which_another_run_has_stalled() -> None:
    async with timed(COST_STALL_SECONDS="1") as bench:
        await bench.seed(bench.tenant.subscription_scopes[0])
        bench.clock.ahead += timedelta(days=1)

        run = await seed_timer(bench.engine)

        assert len(await bench.slices(run)) == 2


async def test_ordered_run_skips_nothing() -> None:
    async with timed() as bench:
        await bench.seed()
        assert len(await bench.slices(await bench.seed())) == 2


async def test_timer_that_finds_everything_under_way_makes_a_run_that_closes() -> None:
    async with timed() as bench:
        await bench.run()
        first = await bench.seed()
        run = await seed_timer(bench.engine)
        assert await bench.slices(run) == []

        await bench.drain()

        # Complete if the day it found under way was published first, partial if not; open for ever never.
        assert (await bench.closed(run)).status is not RunStatus.OPEN
        assert (await bench.closed(first)).status is RunStatus.COMPLETE


async def test_timer_that_cannot_clear_all_takes_what_was_read_longest_ago() -> None:
    """Three whole hours of one request an hour clear one slice: a page and its control."""
    async with timed(subscriptions=4) as bench:
        first, longest_ago, *others = bench.tenant.subscription_scopes
        for path in (first, *others):
            await bench.run(path)
        bench.environ = {**bench.environ, "COST_QUOTA_TENANT": "1/h"}
        async with bench.other() as (engine, _):
            run = await seed_timer(engine)

        assert await scopes_of(bench, run.id) == [longest_ago]


async def test_partial_run_has_fewer_slices_and_the_whole_scope_list() -> None:
    """A partial run never removes a scope from what a manifest must account for."""
    async with laptop(Tenant(6, subscriptions=2, days=1, rows_per_day=10)) as bench:
        only = bench.tenant.subscription_scopes[0]

        run = await bench.run(only)

        assert (await scopes_of(bench, run.id), run.full) == ([only], False)
        assert [scope.path for scope in run.scopes] == list(bench.tenant.subscription_scopes)
        manifest = await bench.manifest("ActualCost", bench.tenant.days[0])
        assert manifest["status"] == "incomplete"
        assert {scope["state"] for scope in manifest["scopes"]} == {"reconciled", "missing"}


async def test_slice_freezes_what_its_reading_needs() -> None:
    async with laptop(Tenant(6, subscriptions=1, days=1, rows_per_day=10), COST_PAGE_SIZE="77") as bench:
        run = await bench.seed()

        piece = await bench.slice(run)

        assert (piece.page_size, piece.source, piece.metric) == (77, "query", "ActualCost")
        assert "ServiceName" in piece.grouping


async def test_first_messages_are_spread_as_the_quota_lets_them_through() -> None:
    """With one request in two seconds the second slice waits from the start."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=10)
    async with laptop(tenant, COST_QUOTA_TENANT="1/2s") as bench:
        await bench.seed()

        assert len(await bench.take(PAGES)) == 1
        assert await bench.engine.storage.queues.length(PAGES) == 1


async def test_order_is_planned_per_metric_scope_and_window() -> None:
    tenant = Tenant(6, subscriptions=2, days=3, rows_per_day=10)
    async with laptop(tenant, COST_METRICS="ActualCost,AmortizedCost", COST_WINDOW_DAYS="2") as bench:
        order = Order(run="r", kind="run", first=tenant.days[0], last=tenant.days[-1])

        run = await seed(bench.engine, order)

        planned = {(one.metric, one.scope, one.first, one.last) for one in await bench.slices(run)}
        assert len(planned) == 2 * 2 * 2


@pytest.mark.parametrize(("rows", "size", "windows"), [(60, 1, 4), (60, 2, 4), (60, 3, 2), (60, 50, 1)])
async def test_very_large_scope_is_read_in_shorter_windows_once_its_size_is_known(
    rows: int, size: int, windows: int
) -> None:
    """GIVEN a window of too many pages WHEN it is read again THEN each has at most so many, or is one day."""
    first = date(2026, 5, 10)
    tenant = Tenant(6, subscriptions=1, days=4, rows_per_day=rows, first_day=first)
    async with laptop(tenant, COST_PAGE_SIZE=str(size)) as bench:
        bench.clock.ahead = datetime(2026, 5, 14, 12, tzinfo=UTC) - datetime.now(UTC)
        assert len(await bench.slices(await bench.run())) == 1

        run = await bench.run()

        pieces = sorted(await bench.slices(run), key=lambda piece: piece.first)
        assert len(pieces) == windows
        days = [day for piece in pieces for day in Window(piece.first, piece.last).days]
        assert days == list(tenant.days)
        largest = max(len(tenant.charges(day, tenant.subscriptions[0])) for day in tenant.days)
        assert all(
            piece.first == piece.last
            or ((piece.last - piece.first).days + 1) * largest <= PAGES_OF_A_WINDOW * size
            for piece in pieces
        )
        assert run.status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)
