"""The standalone worker sits out an outage of the storage, and gives up by name where it does not end."""

import asyncio
from datetime import timedelta

import pytest

from infra.local.simulator import Tenant
from shared.edge import Call
from shared.runs import RunStatus
from shared.storage import Busy
from shared.worker import Worker
from tests.fates import Fate
from tests.laptop import laptop


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=1, days=1, rows_per_day=20)


@pytest.mark.parametrize(
    "named", ["queue receive", "table get CostRuns", "queue delete", "table query CostHashes", "queue send"]
)
async def test_run_goes_on_after_a_call_that_the_storage_was_too_busy_for(named: str) -> None:
    """Whether the worker itself made it or one of its steps; a message that failed is back in a second."""
    async with laptop(small_tenant(), COST_LEASE_SECONDS="1") as bench:
        run = await bench.seed()
        bench.edge.befall(named, Fate.FAILS)

        closed = await Worker(bench.engine).work(run.id)

        assert closed.status is RunStatus.COMPLETE


async def test_outage_that_does_not_end_is_a_fault_by_name() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        bench.edge.fail("queue receive", Busy("cost-days", "ServerBusy"))

        async def six_minutes_pass(call: Call) -> None:
            bench.clock.ahead += timedelta(minutes=6)

        bench.edge.meanwhile_at(2, six_minutes_pass)

        with pytest.raises(Busy, match="ServerBusy"):
            await Worker(bench.engine).work(run.id)

        assert len(bench.edge.made("queue receive")) > 2, "it tried again"


async def test_outage_of_seconds_uses_up_no_messages_tries() -> None:
    """A message whose step met one is not back in a second, as after other failures: five tries would be over."""
    async with laptop(small_tenant(), COST_RETRY_DELAY="1.5") as bench:
        run = await bench.seed()
        bench.edge.fail("table query CostHashes", Busy("CostHashes", "ServerBusy"))
        tried = asyncio.Event()

        async def tell(_: Call) -> None:
            tried.set()

        bench.edge.meanwhile("queue renew", tell)
        working = asyncio.create_task(Worker(bench.engine).work(run.id))
        await tried.wait()
        # The emulator's clock has no hands: what would be tried again by now must have had the time.
        await asyncio.sleep(4)
        assert len(bench.edge.made("queue renew")) == 1
        bench.edge.heal()

        closed = await working

        assert closed.status is RunStatus.COMPLETE


async def test_worker_sweeps_when_it_begins() -> None:
    """What an earlier process left behind is taken up by a run of a few seconds, too."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    async with laptop(tenant) as bench:
        left = await bench.seed(tenant.subscription_scopes[0])
        await bench.take("cost-pages")
        bench.clock.ahead += timedelta(hours=1)
        run = await bench.seed(tenant.subscription_scopes[1])

        await Worker(bench.engine).work(run.id)

        assert (await bench.slice(left)).restarts == 1
