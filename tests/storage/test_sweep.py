"""Every run ends: what stalls is restarted, then failed by name; what is poisoned is recorded."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.local.simulator import Tenant
from shared.edge import Call, utc_now
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, POISON, RUNS, DayItem, PageItem, RunItem
from shared.orchestrate import orchestrate
from shared.plan.deadlines import deadline, longest_run, patience
from shared.plan.seed import Order, seed
from shared.progress import last_page
from shared.read.fetch_page import fetch_page
from shared.registry import pages
from shared.runs import Run, RunStatus, SliceState, started
from shared.storage import Row, unpack
from shared.sweep import RESTARTS, drain, sweep
from tests.fates import Fate
from tests.faults import dies
from tests.laptop import Laptop, laptop, page_message

A_STALL = timedelta(seconds=1801)
CALLED = pytest.mark.parametrize("queue", [PAGES, RUNS, DAYS])


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=1, days=1, rows_per_day=20)


def days_tenant(days: int) -> Tenant:
    return Tenant(6, subscriptions=1, days=days, rows_per_day=5)


async def poison(bench: Laptop, queue: str, body: bytes) -> None:
    await bench.engine.storage.queues.send(queue + POISON, body)


async def test_slice_that_lost_its_message_is_restarted_where_it_stood() -> None:
    """Its first page is committed and the message of the next one is gone."""
    async with laptop(small_tenant(), COST_PAGE_SIZE="11") as bench:
        run = await bench.seed()
        (first,) = await bench.take(PAGES)
        await fetch_page(bench.engine, first)
        assert len(await bench.take(PAGES)) == 1
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        piece = await bench.slice(run)
        (item,) = map(PageItem.decode, await bench.take(PAGES))
        assert (piece.restarts, item.page, item.generation) == (1, 2, piece.generation)
        await fetch_page(bench.engine, item.encode())
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_slice_that_makes_progress_is_left_alone() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        bench.clock.ahead += A_STALL - timedelta(seconds=30)

        await sweep(bench.engine)

        assert (await bench.slice(run)).restarts == 0


async def test_waiting_for_a_place_is_progress() -> None:
    """The gate gave the slice a place after the stall's time."""
    async with laptop(small_tenant(), COST_QUOTA_SCOPE="1/h") as bench:
        run = await bench.seed()
        await bench.engine.gate.take((await bench.slice(run)).scope_key, bench.clock())
        (body,) = await bench.take(PAGES)
        await fetch_page(bench.engine, body)
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        assert (await bench.slice(run)).restarts == 0
        bench.clock.ahead += timedelta(hours=2)
        await sweep(bench.engine)
        assert (await bench.slice(run)).restarts == 1


async def test_slice_that_stalls_again_and_again_fails_by_name_and_its_run_closes() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        bench.clock.ahead += A_STALL
        for _ in range(RESTARTS + 1):
            await bench.take(PAGES)
            await sweep(bench.engine)

        piece = await bench.slice(run)
        assert (piece.state, piece.restarts) == (SliceState.FAILED, RESTARTS)
        assert piece.cause == "Stalled: no progress for 30 minutes, 3 restarts did not help"
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.PARTIAL


async def read_and_planned(bench: Laptop) -> Run:
    """Read everything and plan the days, whose messages get lost."""
    run = await bench.seed()
    await bench.drain(PAGES)
    for body in await bench.take(RUNS):
        await orchestrate(bench.engine, body)
    assert await bench.take(DAYS)
    return run


async def test_day_that_lost_its_message_is_restarted() -> None:
    async with laptop(small_tenant()) as bench:
        run = await read_and_planned(bench)
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        assert await bench.engine.storage.queues.length(DAYS) == 1
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_day_that_stalls_again_and_again_fails_by_name_and_its_run_closes_partial() -> None:
    async with laptop(small_tenant()) as bench:
        run = await read_and_planned(bench)
        bench.clock.ahead += A_STALL
        for _ in range(RESTARTS + 1):
            await bench.take(DAYS)
            await sweep(bench.engine)

        await bench.drain()

        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.status is RunStatus.PARTIAL
        (failure,) = closed.summary["failures"]
        assert (failure["scope"], failure["cause"]) == (None, "Stalled: 3 restarts did not help")


async def publish_first(bench: Laptop, line: list[bytes]) -> None:
    await publish_day(bench.engine, line.pop(0))


async def days_in_line(bench: Laptop, days: int) -> tuple[Run, list[bytes]]:
    """Read and plan so many days, and take their messages."""
    run = await bench.seed()
    await bench.drain(PAGES)
    await bench.drain(RUNS)
    line = list(dict.fromkeys(await bench.take(DAYS)))
    assert len(line) == days
    return run, line


async def test_days_that_wait_in_line_are_not_taken_for_stalled_while_it_moves() -> None:
    """They were planned a stall ago, and no message is lost: a worker publishes one after the other."""
    async with laptop(days_tenant(3)) as bench:
        run, line = await days_in_line(bench, 3)
        # The service's clock is no test's to move: the rows must be of different times.
        await asyncio.sleep(3)
        (planned, *_) = await bench.engine.runs.days(run)
        await publish_first(bench, line)
        assert planned.touched_at is not None
        # The days' own rows are older than a stall, the end of the first is not.
        bench.clock.ahead = planned.touched_at + A_STALL - utc_now()

        await sweep(bench.engine)

        assert [task.restarts for task in await bench.engine.runs.days(run)] == [0, 0, 0]
        bench.clock.ahead += A_STALL
        await sweep(bench.engine)
        assert sorted(task.restarts for task in await bench.engine.runs.days(run)) == [0, 1, 1]


async def test_line_in_which_a_day_takes_longer_than_a_stall_comes_to_its_end() -> None:
    """Restarts count only while the line stands still: with each day that ends they begin anew."""
    async with laptop(days_tenant(7)) as bench:
        run, line = await days_in_line(bench, 7)
        while line:
            await publish_first(bench, line)
            bench.clock.ahead += A_STALL
            await sweep(bench.engine)
            line += [body for body in await bench.take(DAYS) if body not in line]

        await bench.drain()

        assert {task.state for task in await bench.engine.runs.days(run)} == {"published"}
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_day_that_lost_its_message_is_found_once_the_line_before_it_stands_still() -> None:
    async with laptop(days_tenant(3)) as bench:
        run, line = await days_in_line(bench, 3)
        line.pop()
        while line:
            await publish_first(bench, line)
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_run_whose_last_end_was_never_told_is_told_again() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        await bench.take(RUNS)

        await sweep(bench.engine)

        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_seeding_that_stopped_after_the_runs_row_is_finished() -> None:
    async with laptop(small_tenant()) as bench:
        bench.edge.kill_on("queue send")
        assert await dies(_seed(bench))
        bench.restart()
        (run,) = await bench.engine.runs.runs()
        assert not run.seeded
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def _seed(bench: Laptop) -> None:
    day = bench.tenant.days[0]
    await seed(bench.engine, Order(run="r", kind="run", first=day, last=day))


async def test_poisoned_page_fails_its_slice_by_name_and_the_run_closes_partial() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        (body,) = await bench.take(PAGES)
        await poison(bench, PAGES, body)

        await sweep(bench.engine)

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("PoisonMessage: a message of cost-pages")
        (record,) = await bench.engine.runs.poison()
        assert record.rk.startswith("cost-pages|")
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.PARTIAL


async def test_poisoned_page_of_an_older_generation_harms_nothing() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        piece = await bench.slice(run)
        old = PageItem(run=run.id, slice=piece.name, generation="20200101T000000000000Z-000000", page=1)
        await poison(bench, PAGES, old.encode())

        await drain(bench.engine)

        assert (await bench.slice(run)).state is SliceState.OPEN


async def test_poisoned_day_fails_by_name_and_the_run_closes_partial() -> None:
    async with laptop(small_tenant()) as bench:
        run = await read_and_planned(bench)
        day = DayItem(run=run.id, metric="ActualCost", day=bench.tenant.days[0])
        await poison(bench, DAYS, day.encode())

        await sweep(bench.engine)
        await bench.drain()

        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.status is RunStatus.PARTIAL
        assert closed.summary["failures"][0]["cause"].startswith("PoisonMessage: a message of cost-days")


async def test_poisoned_news_of_a_run_wakes_its_orchestrator_again() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        (body,) = await bench.take(RUNS)
        await poison(bench, RUNS, body)

        await drain(bench.engine)

        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


@pytest.mark.parametrize("skew", [timedelta(minutes=-10), timedelta(minutes=10)], ids=["behind", "ahead"])
async def test_news_of_a_run_that_is_poisoned_again_closes_it_whatever_the_workers_clock_says(
    skew: timedelta,
) -> None:
    """Copies of a message that fail in one outage are one failure; what fails a stall after that is another."""
    async with laptop(small_tenant(), COST_STALL_SECONDS="1") as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        (body,) = await bench.take(RUNS)
        bench.clock.ahead += skew
        for _ in range(2):
            await poison(bench, RUNS, body)

        await drain(bench.engine)

        assert [one.id for one in await bench.engine.runs.runs(only_open=True)] == [run.id]
        await bench.take(RUNS)
        # The storage's clock has no hands; a queue tells times in whole seconds.
        await asyncio.sleep(2.1)
        await poison(bench, RUNS, body)
        await drain(bench.engine)
        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.summary["failures"][0]["cause"].startswith("PoisonMessage: a message of cost-runs")


async def test_copies_of_a_runs_news_that_are_drained_one_by_one_in_one_outage_do_not_abandon_it() -> None:
    """The standalone worker drains what it poisons at once: the second copy comes after the record of the first."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        (body,) = await bench.take(RUNS)
        for _ in range(2):
            await poison(bench, RUNS, body)
            await drain(bench.engine)
            # The storage's clock has no hands; a queue tells times in whole seconds.
            await asyncio.sleep(1.1)

        assert [one.id for one in await bench.engine.runs.runs(only_open=True)] == [run.id]
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


@CALLED
@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b'{"version":2,"run":"r"}',
        b"\xff\xfe",
        b"",
        b'{"version":1,"run":"r","surprise":1}',
        RunItem(run="gone").encode(),
        PageItem(run="gone", slice="s", generation="g", page=1).encode(),
    ],
    ids=["no json", "unknown version", "no utf-8", "empty", "unknown field", "unknown run", "unknown slice"],
)
async def test_message_that_names_nothing_is_recorded_and_harms_nothing(queue: str, body: bytes) -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await poison(bench, queue, body)

        assert await drain(bench.engine) == 1

        assert len(await bench.engine.runs.poison()) == 1
        assert await bench.engine.storage.queues.length(queue + POISON) == 0
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_drain_that_dies_after_the_record_drains_the_message_again_to_the_same_end() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await poison(bench, PAGES, page_message(await bench.slice(run)))
        bench.edge.kill_on("table upsert CostRuns", after=True)
        assert await dies(_drain(bench))
        bench.restart()
        (record,) = await bench.engine.runs.poison()
        await poison(bench, PAGES, page_message(await bench.slice(run)))

        await drain(bench.engine)

        assert (await bench.slice(run)).state is SliceState.FAILED
        assert record.rk in {one.rk for one in await bench.engine.runs.poison()}


async def _drain(bench: Laptop) -> None:
    await drain(bench.engine)


async def throttled_for_ever(bench: Laptop, ahead: timedelta) -> None:
    """Let the time pass in steps in which every request is throttled and waits for its next place."""
    end = bench.clock.ahead + ahead
    while bench.clock.ahead < end:
        for body in await bench.take(PAGES):
            await fetch_page(bench.engine, body)
        await sweep(bench.engine)
        bench.clock.ahead += timedelta(minutes=20)


async def test_slice_that_is_throttled_for_ever_fails_by_name_after_a_day() -> None:
    """Waiting for the quota is progress, but not without end."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        bench.fault(throttle_rate=1.0, throttles_in_a_row=10_000, hint_seconds=0)
        await throttled_for_ever(bench, timedelta(hours=23))
        assert (await bench.slice(run)).state is SliceState.OPEN

        await throttled_for_ever(bench, timedelta(hours=2))

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert piece.cause == "DeadlineExceeded: the service gave no page for 24 hours"
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.PARTIAL


async def test_workers_that_were_away_for_a_day_leave_no_slice_to_fail() -> None:
    """They are back, and others of its scope are at work already: the service was asked for nothing."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.take(PAGES)
        bench.clock.ahead += timedelta(hours=25)
        await bench.engine.gate.take((await bench.slice(run)).scope_key, bench.clock())

        await sweep(bench.engine)

        piece = await bench.slice(run)
        assert (piece.state, piece.restarts) == (SliceState.OPEN, 1)
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_slice_that_was_restarted_has_its_day_anew() -> None:
    async with laptop(small_tenant()) as bench:
        bench.clock.ahead = -timedelta(hours=25)
        run = await bench.seed()
        piece = await bench.slice(run)
        await bench.engine.runs.save_slice(replace(piece, restarts=1, waiting_for=f"{piece.generation}/1"))
        bench.clock.ahead = A_STALL
        await bench.engine.gate.take(piece.scope_key, bench.clock())

        await sweep(bench.engine)

        assert (await bench.slice(run)).state is SliceState.OPEN


async def test_slice_that_gets_a_page_now_and_then_has_its_day_anew() -> None:
    async with laptop(small_tenant(), COST_PAGE_SIZE="11") as bench:
        bench.clock.ahead = -timedelta(hours=20)
        run = await bench.seed()
        (first,) = await bench.take(PAGES)
        bench.clock.ahead = timedelta()
        await fetch_page(bench.engine, first)

        piece = await bench.slice(run)
        assert await last_page(bench.engine, piece) > started(piece.generation) + timedelta(hours=19)


@pytest.mark.parametrize(
    ("scope", "source", "background", "cleared"),
    [
        ("4/m", {}, False, timedelta(hours=10)),
        # Of 4 a minute 3 are spare, of 600 an hour 450.
        ("4/m", {}, True, timedelta(hours=1200 * 2 / 180)),
        ("1000/h", {}, False, timedelta(hours=4)),
        ("1000/h", {"COST_QUOTA_DETAILS": "1/h"}, False, timedelta(hours=4)),
        ("1/h", {}, False, timedelta(hours=2400)),
        ("1000/h", {"COST_SOURCE": "usage_details"}, False, timedelta(hours=4)),
        (
            "1000/h",
            {"COST_SOURCE": "usage_details", "COST_QUOTA_DETAILS": "60/h"},
            False,
            timedelta(hours=40),
        ),
    ],
)
async def test_patience_and_deadline_grow_with_what_the_quota_must_clear(
    scope: str, source: dict[str, str], *, background: bool, cleared: timedelta
) -> None:
    """The slowest limit tells: all slices may be of one scope."""
    limits = {"COST_QUOTA_TENANT": "60/m,600/h", "COST_QUOTA_SCOPE": scope}
    async with laptop(small_tenant(), **limits, **source) as bench:
        run = await bench.seed()
        settings = bench.engine.settings
        larger = replace(run, planned=1200, kind="backfill" if background else "run")

        if not background:
            assert patience(settings, 1200) == timedelta(hours=24) + cleared
        assert deadline(settings, larger) == timedelta(days=7) + cleared
        assert longest_run(settings, larger) == timedelta(days=90) + cleared


async def test_what_is_not_read_after_a_week_is_failed_and_what_is_read_is_published() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        run = await bench.seed()
        (body, _) = await bench.take(PAGES)
        await fetch_page(bench.engine, body)
        await bench.drain(PAGES)
        bench.clock.ahead += timedelta(days=7, minutes=2)

        for _ in range(3):
            await sweep(bench.engine)
            await sweep(bench.engine)
            await bench.drain()

        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.status is RunStatus.PARTIAL
        (failure,) = closed.summary["failures"]
        assert failure["cause"] == "DeadlineExceeded: the run is not done after 7 days"
        assert len(await bench.totals()) > 0


async def two_slices_one_page_each(bench: Laptop, begun: timedelta) -> Run:
    """Seed a run of two slices that began so long ago, and read the first page of one just now."""
    bench.clock.ahead = -begun
    run = await bench.seed()
    (body, _) = await bench.take(PAGES)
    bench.clock.ahead = timedelta()
    await fetch_page(bench.engine, body)
    await bench.take(PAGES)
    return run


async def states(bench: Laptop, run: Run) -> list[tuple[SliceState, str | None]]:
    return [(piece.state, piece.cause) for piece in await bench.slices(run)]


@pytest.mark.parametrize("begun", [timedelta(days=10), timedelta(days=80)], ids=str)
async def test_run_that_goes_on_has_its_week_anew_with_each_page(begun: timedelta) -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    async with laptop(tenant, COST_PAGE_SIZE="11") as bench:
        run = await two_slices_one_page_each(bench, begun)

        await sweep(bench.engine)

        assert await states(bench, run) == [(SliceState.OPEN, None)] * 2
        bench.clock.ahead = timedelta(days=7, minutes=2)
        await sweep(bench.engine)
        cause = f"DeadlineExceeded: the run is not done after {begun.days + 7} days"
        assert await states(bench, run) == [(SliceState.FAILED, cause)] * 2


async def test_run_that_goes_on_for_three_months_is_ended_all_the_same_and_closed_a_day_later() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    async with laptop(tenant, COST_PAGE_SIZE="11") as bench:
        run = await two_slices_one_page_each(bench, timedelta(days=90, minutes=2))

        await sweep(bench.engine)

        cause = "DeadlineExceeded: the run is not done after 90 days"
        assert await states(bench, run) == [(SliceState.FAILED, cause)] * 2
        bench.clock.ahead = timedelta(days=1)
        await sweep(bench.engine)
        closed = await bench.closed(run)
        assert closed.summary is not None
        (failure,) = closed.summary["failures"]
        assert failure["cause"] == "DeadlineExceeded: it could not be closed within 91 days"


async def test_run_is_not_closed_over_its_deadline_as_long_as_its_days_are_published() -> None:
    async with laptop(days_tenant(3)) as bench:
        bench.clock.ahead = -timedelta(days=9)
        run, line = await days_in_line(bench, 3)
        await publish_first(bench, line)
        bench.clock.ahead = timedelta()
        await pages.purge(bench.engine.storage.tables, f"{run.id}|")

        await sweep(bench.engine)

        assert [one.id for one in await bench.engine.runs.runs(only_open=True)] == [run.id]
        bench.clock.ahead = timedelta(days=8, minutes=2)
        await sweep(bench.engine)
        assert (await bench.closed(run)).status is RunStatus.PARTIAL


async def test_run_that_nothing_can_close_is_closed_as_it_is_after_a_week_and_a_day() -> None:
    """Its slice cannot be read, so it can neither be worked nor ended; no other run suffers."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        piece = await bench.slice(run)
        edited = Row(run.id, f"slice|{piece.name}", {"first": "no day"})
        await bench.engine.storage.tables.merge("CostRuns", edited)
        bench.edge.fail("table query CostDays", RuntimeError("whatever keeps it from its end"))
        bench.clock.ahead += timedelta(days=8, minutes=2)

        await sweep(bench.engine)

        closed = await bench.closed(run)
        assert closed.summary is not None
        assert (
            closed.summary["failures"][0]["cause"] == "DeadlineExceeded: it could not be closed within 8 days"
        )


async def test_run_that_resists_the_sweep_keeps_no_other_from_its_end() -> None:
    async with laptop(small_tenant()) as bench:
        first, second = await bench.seed(), await bench.seed()
        await bench.take(PAGES)
        bench.clock.ahead += A_STALL
        bench.edge.befall("table query CostHashes", Fate.FAILS)

        await sweep(bench.engine)

        restarts = [(await bench.slice(run)).restarts for run in (first, second)]
        assert sorted(restarts) == [0, 1]


@pytest.mark.parametrize("planned", [9 * 10**18, -(10**9)])
async def test_run_whose_row_was_edited_keeps_no_other_from_the_sweep(planned: int) -> None:
    """How long a slice may wait goes by the slices of all open runs."""
    async with laptop(small_tenant()) as bench:
        edited, other = await bench.seed(), await bench.seed()
        await bench.engine.storage.tables.merge("CostRuns", Row("runs", edited.id, {"planned": planned}))
        await bench.take(PAGES)
        bench.clock.ahead += A_STALL

        await sweep(bench.engine)

        piece = await bench.slice(other)
        assert (piece.state, piece.restarts) == (SliceState.OPEN, 1)


async def test_slice_that_resists_the_sweep_keeps_no_other_of_its_run_from_it() -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        run = await bench.seed()
        await bench.take(PAGES)
        bench.clock.ahead += A_STALL
        bench.edge.meanwhile("table query CostHashes", _resist)

        await sweep(bench.engine)

        assert [piece.restarts for piece in await bench.slices(run)] == [0, 1]


async def _resist(_: Call) -> None:
    raise RuntimeError("whatever it is")


async def test_all_of_a_poisoned_message_is_kept_however_long_it_is() -> None:
    async with laptop(small_tenant()) as bench:
        body = bytes(range(256)) * 190
        await poison(bench, PAGES, body)

        await drain(bench.engine)

        (record,) = await bench.engine.runs.poison()
        kept = str(record.values["raw"]) + unpack("rest", record.values).decode()
        assert base64.b64decode(kept) == body
