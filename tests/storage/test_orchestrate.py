"""A run goes from its slices to its days to its end, and waits for nothing in memory."""

from datetime import timedelta

import pytest

from infra.local.simulator import Tenant, restate
from shared.edge import Call
from shared.messages import DAYS, PAGES, RUNS, BadMessage, DayItem, RunItem
from shared.orchestrate import close_run, orchestrate
from shared.read.fetch_page import fetch_page
from shared.runs import Run, RunStatus
from shared.summary import abandoned
from tests.faults import Killed, dies
from tests.laptop import Laptop, laptop


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=2, days=2, rows_per_day=20)


async def read_all(bench: Laptop) -> tuple[Run, list[bytes]]:
    """Read every slice of a new run, and give the messages that woke the orchestrator."""
    run = await bench.seed()
    await bench.drain(PAGES)
    return run, await bench.take(RUNS)


async def days_asked(bench: Laptop) -> list[DayItem]:
    return [DayItem.decode(body) for body in await bench.take(DAYS)]


async def test_run_with_an_open_slice_is_left_to_whoever_ends_it() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        (body, _) = await bench.take(PAGES)
        await fetch_page(bench.engine, body)

        await orchestrate(bench.engine, RunItem(run=run.id).encode())

        assert await days_asked(bench) == []
        assert not await bench.engine.runs.days(run)


async def test_end_of_a_slice_wakes_the_orchestrator_only_if_it_was_the_last_open_one() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        woken: list[bytes] = []
        while await bench.engine.runs.slices(run, only_open=True):
            assert woken == []
            for body in await bench.take(PAGES):
                await fetch_page(bench.engine, body)
                if await bench.engine.runs.slices(run, only_open=True):
                    assert await bench.take(RUNS) == []
            woken += await bench.take(RUNS)
        assert [RunItem.decode(body).run for body in woken] == [run.id]


async def test_one_message_goes_out_for_each_day_that_differs_from_its_publication() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        restate(tenant, 2, days=[tenant.days[1]])
        run, (body,) = await read_all(bench)

        await orchestrate(bench.engine, body)

        assert [(item.run, item.day) for item in await days_asked(bench)] == [(run.id, tenant.days[1])]


async def test_run_in_which_nothing_changed_is_closed_at_once_and_publishes_nothing() -> None:
    async with laptop(small_tenant()) as bench:
        await bench.run()
        run, (body,) = await read_all(bench)

        await orchestrate(bench.engine, body)

        assert await days_asked(bench) == []
        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.status is RunStatus.COMPLETE
        assert [day["state"] for day in closed.summary["days"]] == ["unchanged"] * 2
        assert closed.summary["pages"] == 2


async def test_run_is_not_closed_before_every_day_is_in() -> None:
    async with laptop(small_tenant()) as bench:
        run, (body,) = await read_all(bench)
        await orchestrate(bench.engine, body)

        await orchestrate(bench.engine, body)

        found = await bench.engine.runs.run(run.id)
        assert found is not None
        assert found.status is RunStatus.OPEN
        assert len(await days_asked(bench)) == 4, "who asks again for what is open does no harm"


async def test_killed_at_any_outside_call_the_redelivery_closes_the_run_all_the_same() -> None:
    tenant = Tenant(6, subscriptions=1, days=2, rows_per_day=10)
    place, killed = 0, True
    async with laptop(tenant) as bench:
        while killed:
            restate(tenant, 2)
            run, (body,) = await read_all(bench)
            bench.edge.kill_at(place, after=True)
            killed = await dies(orchestrate(bench.engine, body))
            bench.restart()

            await orchestrate(bench.engine, body)

            await bench.drain()
            assert (await bench.closed(run)).status is RunStatus.COMPLETE
            assert not any(item.state == "open" for item in await bench.engine.runs.days(run))
            place += 1
    assert place > 6


async def test_killed_at_any_outside_call_of_the_close_the_redelivery_closes_the_run() -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=10)
    place, killed = 0, True
    async with laptop(tenant) as bench:
        await bench.run()
        while killed:
            run, (body,) = await read_all(bench)
            bench.edge.kill_at(place, after=True)
            killed = await dies(orchestrate(bench.engine, body))
            bench.restart()

            await orchestrate(bench.engine, body)

            assert (await bench.closed(run)).status is RunStatus.COMPLETE
            place += 1
    assert place > 6


async def test_run_that_was_closed_while_its_days_were_planned_keeps_its_end_and_its_figures() -> None:
    """A slow orchestrator wakes when the run is closed, and the next one has published its days anew."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    async with laptop(tenant) as bench, bench.other() as (faster, _):
        run, (body,) = await read_all(bench)
        slow, before = bench.engine, []

        async def closes(_: Call) -> None:
            bench.engine = faster
            await orchestrate(faster, body)
            await bench.drain()
            before.append(await bench.closed(run))
            restate(tenant, 3)
            bench.clock.ahead += timedelta(hours=1)
            await bench.run()
            await faster.days.leave_unfinished("ActualCost", tenant.days[0])
            bench.engine = slow

        bench.edge.meanwhile("table batch CostRuns", closes)

        await orchestrate(slow, body)

        assert [await bench.closed(run)] == before


async def test_closed_run_is_closed_no_second_time() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()

        await close_run(bench.engine, run, abandoned(run, "too late"))

        assert await bench.closed(run) == run


async def test_closed_run_is_looked_at_and_left_alone() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()
        bench.edge.heal()

        await orchestrate(bench.engine, RunItem(run=run.id).encode())

        assert bench.edge.made("") == ["table get CostRuns"]


async def test_refused_scope_leaves_the_others_published_and_the_run_partial() -> None:
    tenant = small_tenant()
    refused, served = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        bench.fault(refuse={refused: "RBACAccessDenied"})

        run = await bench.run()

        assert run.summary is not None
        assert run.status is RunStatus.PARTIAL
        assert run.summary["slices"] == {"total": 2, "reconciled": 1, "failed": 1}
        (failure,) = run.summary["failures"]
        assert (failure["scope"], failure["state"]) == (refused, "failed")
        assert {day["state"] for day in run.summary["days"]} == {"incomplete"}
        assert {f"/subscriptions/{name}" for _, _, name in await bench.totals()} == {served}
        manifest = await bench.manifest("ActualCost", tenant.days[0])
        assert manifest["status"] == "incomplete"
        assert {scope["scope"]: scope["state"] for scope in manifest["scopes"]} == {
            refused: "failed",
            served: "reconciled",
        }


async def test_scope_that_fails_later_is_stale_and_keeps_what_it_said() -> None:
    tenant = small_tenant()
    refused = tenant.subscription_scopes[0]
    async with laptop(tenant) as bench:
        await bench.run()
        totals = await bench.totals()
        bench.fault(refuse={refused: "AuthorizationFailed"})

        run = await bench.run()

        assert run.status is RunStatus.PARTIAL
        assert await bench.totals() == totals
        states = {
            scope["scope"]: scope["state"]
            for scope in (await bench.manifest("ActualCost", tenant.days[0]))["scopes"]
        }
        assert states[refused] == "stale"


async def test_day_ended_by_a_publisher_that_died_before_it_said_so_is_told_by_the_redelivery() -> None:
    async with laptop(Tenant(6, subscriptions=1, days=1, rows_per_day=10)) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        for body in await bench.take(RUNS):
            await orchestrate(bench.engine, body)
        bench.edge.kill_on("queue send cost-runs")
        with pytest.raises(Killed):
            await bench.drain(DAYS)
        bench.restart()

        await bench.engine.send_day(DayItem(run=run.id, metric="ActualCost", day=bench.tenant.days[0]))
        await bench.drain()

        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_unknown_run_is_a_bad_message() -> None:
    async with laptop(small_tenant()) as bench:
        with pytest.raises(BadMessage, match="there is no run gone"):
            await orchestrate(bench.engine, RunItem(run="gone").encode())
