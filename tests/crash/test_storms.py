"""Storms: whatever happens at once and in whatever order, every run ends and what is published is the truth."""

from datetime import timedelta

import pytest

from infra.local.simulator import Faults, Metric, restate, scope_truth
from shared.days import DayBook
from shared.ledger.verify import verify
from shared.runs import RunStatus
from shared.sweep import sweep
from tests.crash.choice import SEED, STORMS
from tests.crash.published import current_totals, published
from tests.crash.storm import Storm, storm
from tests.crash.watch import METRIC

SEEDS = range(SEED * 1000, SEED * 1000 + STORMS)
"""Each seed is a test of its own name: to see one again, run that test."""

A_WEEK_LATER = timedelta(days=8)


@pytest.mark.parametrize("seed", SEEDS)
async def test_every_run_ends_and_the_truth_is_published(seed: int) -> None:
    async with storm(seed) as raised:
        try:
            await raised.rage()
            await raised.settle()
            raised.world.running.simulator.faults = Faults()
            last = await raised.run_to_the_end("last")

            assert last.status is RunStatus.COMPLETE
            await demand_the_truth(raised)
            if seed % 4 == 0:
                await demand_that_a_week_later_nothing_is_lost(raised)
        except BaseException as failed:
            failed.add_note("\n".join([f"storm {seed}", *raised.trace]))
            raise


async def demand_the_truth(raised: Storm) -> None:
    """The files are the provider's charges, each once; the publications name them, the manifests agree."""
    tenant, storage = raised.world.tenant, raised.world.storage
    truth = {
        (key.day, key.subscription): (total.amount, total.rows)
        for path, mine in zip(raised.watch.scopes, tenant.subscriptions, strict=True)
        for key, total in scope_truth(tenant, path, Metric.ACTUAL).items()
        if key.subscription == mine
    }
    assert await current_totals(storage) == truth
    findings = [
        finding
        async for checked in verify(storage.blobs, "costs", tenant.days[0], tenant.days[-1])
        for finding in checked.findings
    ]
    assert findings == []
    files = await published(storage)
    states = {said["state"] for name in files if name.startswith("m") for said in files[name]["scopes"]}
    assert states == {"reconciled"}
    for known in (await DayBook(storage.tables).days(METRIC, tenant.days[0], tenant.days[-1])).values():
        assert known.publication is not None
        etags = {file.path: file.etag for file in known.publication.files}
        lying = {item.name: item.etag for item in await storage.blobs.list("costs", "")}
        assert etags.items() <= lying.items()


async def demand_that_a_week_later_nothing_is_lost(raised: Storm) -> None:
    """The staged pages are purged, and a restatement of one scope finds the other's rows in the ledger."""
    raised.world.time.pass_by(A_WEEK_LATER)
    await raised.do("sweep", sweep)
    assert await raised.world.storage.blobs.list("cost-staging", "pages/") == []
    restate(raised.world.tenant, 1, [raised.world.tenant.days[0]])
    raised.watch.remember()
    assert (await raised.run_to_the_end("a-week-later")).status is RunStatus.COMPLETE
    await demand_the_truth(raised)


async def test_storm_replays_exactly() -> None:
    """The same seed makes the same choices: a failure can be looked at again."""
    traces = []
    for _ in range(2):
        async with storm(SEEDS[0]) as raised:
            await raised.rage()
            await raised.settle()
            traces.append(raised.trace)

    assert traces[0] == traces[1]
    assert len(traces[0]) > 250
