"""Workers' clocks differ by minutes: the service's own time decides what came after what."""

from datetime import timedelta
from random import Random

import pytest

from infra.local.simulator import Tenant
from shared.edge import utc_now
from shared.engine import open_engine
from shared.messages import PAGES
from shared.read.fetch_page import fetch_page
from shared.runs import RunStatus, SliceState
from tests.faults import FaultyEdge
from tests.laptop import laptop

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
