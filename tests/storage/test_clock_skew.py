"""Workers' clocks differ by minutes: the service's own time decides what came after what."""

from datetime import timedelta
from email.utils import format_datetime
from random import Random

import pytest

from infra.local.simulator import Tenant, restate
from shared.days import ScopeState
from shared.edge import utc_now
from shared.engine import open_engine
from shared.messages import PAGES
from shared.read.fetch_page import fetch_page
from shared.runs import RunStatus, SliceState
from tests.faults import Answer, FaultyEdge, Spoil
from tests.laptop import Laptop, laptop
from tests.truth import truth_of

MINUTES = timedelta(minutes=5)


@pytest.mark.parametrize("skew", [MINUTES, -MINUTES], ids=["ahead", "behind"])
async def test_reading_after_a_failed_attempt_counts_whichever_worker_failed(skew: timedelta) -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "RBACAccessDenied"})
        failed = await bench.seed()
        (body,) = await bench.take(PAGES)
        async with open_engine(
            bench.environ, edge=FaultyEdge(), clock=lambda: utc_now() + skew, jitter=Random(0)
        ) as other:
            await fetch_page(other, body)
        assert (await bench.slice(failed)).state is SliceState.FAILED

        bench.fault()
        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        (said,) = (await bench.manifest("ActualCost", tenant.days[0]))["scopes"]
        assert said["state"] == "reconciled"


@pytest.mark.parametrize("skew", [MINUTES, -MINUTES], ids=["ahead", "behind"])
async def test_failed_attempt_after_a_reading_makes_it_stale_whichever_worker_failed(skew: timedelta) -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        await bench.run()
        bench.fault(refuse={tenant.subscription_scopes[0]: "RBACAccessDenied"})
        await bench.seed()
        (body,) = await bench.take(PAGES)
        async with open_engine(
            bench.environ,
            edge=FaultyEdge(lambda: utc_now() + timedelta(seconds=2)),
            clock=lambda: utc_now() + skew,
            jitter=Random(0),
        ) as other:
            await fetch_page(other, body)
        await bench.drain()

        (said,) = (await bench.manifest("ActualCost", tenant.days[0]))["scopes"]
        assert said["state"] == "stale"


def dated_off(bench: Laptop, by: timedelta, **status: int) -> Spoil:
    """Date every answer so far from the clock, and let it say this status."""

    def spoil(answer: Answer) -> Answer:
        said, headers, body = answer
        return (
            status.get("status", said),
            {**headers, "date": format_datetime(bench.clock() + by, usegmt=True)},
            body,
        )

    return spoil


@pytest.mark.parametrize("years", [10, -10], ids=["ahead", "back"])
async def test_refusal_that_is_dated_far_from_now_counts_as_of_now(years: int) -> None:
    """A proxy's clock: dated ahead, no reading would make up for it; dated back, it would not be told at all."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        await bench.run()
        bench.clock.ahead += timedelta(hours=1)
        bench.edge.spoil = dated_off(bench, timedelta(days=365 * years), status=403)
        failed = await bench.run()
        (refused,) = await bench.engine.days.pointers("ActualCost", tenant.days[0])
        assert (failed.status, refused.state) == (RunStatus.PARTIAL, ScopeState.STALE)

        bench.edge.spoil = None
        bench.clock.ahead += timedelta(hours=1)
        await bench.run()

        (pointer,) = await bench.engine.days.pointers("ActualCost", tenant.days[0])
        assert (pointer.state, pointer.attempt) == (ScopeState.RECONCILED, None)


async def test_wrong_date_takes_nothing_of_what_earlier_answers_told_of_the_services_clock() -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        bench.edge.clock = lambda: bench.clock() + timedelta(hours=2)
        await bench.run()
        bench.edge.spoil = dated_off(bench, timedelta(days=3650))

        await bench.run()

        told = bench.engine.api.service_now() - bench.clock()
        assert timedelta(hours=2) - timedelta(seconds=2) < told <= timedelta(hours=2)


async def test_pages_dated_long_ago_fail_by_name_and_do_not_pass_for_a_reading() -> None:
    """They would count as older than what is known, and a run that published nothing of them would say complete."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        await bench.run()
        restate(tenant, 4)
        bench.edge.spoil = dated_off(bench, -timedelta(days=365))

        run = await bench.run()

        piece = await bench.slice(run)
        assert (run.status, piece.state) == (RunStatus.PARTIAL, SliceState.FAILED)
        assert piece.cause is not None
        assert "WrongDate" in piece.cause

        bench.edge.spoil = None
        bench.clock.ahead += timedelta(minutes=1)
        await bench.run()
        assert await bench.totals() == truth_of(tenant)
