"""A mismatch whose finder died before it told of it: it is told, or forgotten once it is none."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from shared.reconcile.alerts import Alert, unfinished
from shared.reconcile.reconcile import reconcile_timer
from tests.billed import a_tenant, bench_of, bill, first_subscription, found, rereads
from tests.faults import dies
from tests.laptop import Laptop

Told = Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def one_untold() -> AsyncIterator[Laptop]:
    """A mismatch of May that was written down by a process that died over it."""
    async with bench_of(a_tenant()) as bench:
        bill(bench, off_by={first_subscription(bench.tenant)[0]: "250"})
        bench.edge.kill_on("table insert CostRuns", after=True)
        assert await dies(reconcile_timer(bench.engine))
        bench.restart()
        assert len(await unfinished(bench.engine)) == 1
        yield bench


async def timer(bench: Laptop) -> list[Alert]:
    """Let the timer come months later, and give what is still untold."""
    bench.clock.ahead += timedelta(days=150)
    await reconcile_timer(bench.engine)
    return await unfinished(bench.engine)


async def test_one_that_healed_meanwhile_is_forgotten_and_told_if_it_comes_back(told: Told) -> None:
    async with one_untold() as bench:
        scope = first_subscription(bench.tenant)[0]
        bill(bench)
        assert await timer(bench) == []
        assert told() == []
        # AND the month is looked at no more.
        asked = len(bench.edge.made("table query CostDays"))
        await timer(bench)
        assert len(bench.edge.made("table query CostDays")) - asked == 3
        bill(bench, off_by={scope: "250"})
        await found(bench)
        assert [event["first"] for event in told()] == ["2026-05-01"]


async def test_one_that_still_stands_is_told_by_the_timer_months_later(told: Told) -> None:
    """By then the month is none of those that closed lately."""
    async with one_untold() as bench:
        assert told() == []
        assert await timer(bench) == []
        assert [(event["first"], event["last"]) for event in told()] == [("2026-05-01", "2026-05-31")]
        assert len(await rereads(bench)) == 1


async def test_one_that_cannot_be_compared_stays_until_it_can(told: Told) -> None:
    async with one_untold() as bench:
        bench.fault(throttle_rate=1, throttles_in_a_row=99, hint_seconds=900)
        assert len(await timer(bench)) == 1
        bill(bench, off_by={first_subscription(bench.tenant)[0]: "250"})
        assert await timer(bench) == []
        assert len(told()) == 1


async def test_one_whose_bill_may_not_be_read_any_more_stays_as_long_as_it_may_be_asked_for(
    told: Told,
) -> None:
    async with one_untold() as bench:
        scope = first_subscription(bench.tenant)[0]
        bill(bench, off_by={scope: "250"}, forbidden=(scope,))
        assert len(await timer(bench)) == 1
        bill(bench, off_by={scope: "250"})
        assert await timer(bench) == []
        assert len(told()) == 1


async def test_one_that_the_service_has_forgotten_is_looked_at_no_more(told: Told) -> None:
    async with one_untold() as bench:
        bill(bench, forbidden=first_subscription(bench.tenant))
        bench.clock.ahead += timedelta(days=37 * 31)
        assert await timer(bench) == []
        assert told() == []


async def test_one_whose_scope_left_the_settings_is_forgotten(told: Told) -> None:
    async with one_untold() as bench:
        bench.environ = {**bench.environ, "COST_SCOPES": bench.tenant.subscription_scopes[1]}
        async with bench.other() as (engine, _):
            await reconcile_timer(engine)
            assert await unfinished(engine) == []
        assert told() == []
