"""Staged pages and hashes go when nothing names them any more, and never before."""

from datetime import timedelta

import pytest

from infra.local.simulator import Metric, Tenant, restate, scope_truth
from shared.messages import PAGES, RUNS
from shared.purge import purge
from shared.runs import Run, RunStatus
from shared.storage import Row
from shared.storage.errors import Refused
from tests.faults import Killed
from tests.laptop import Laptop, laptop

A_WEEK = timedelta(days=7, minutes=1)
POISON_TIMES = ("inserted_on", "drained_at")
RETENTION = timedelta(days=45, minutes=1)


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=1, days=2, rows_per_day=12)


async def staged(bench: Laptop, run: Run) -> int:
    return len(await bench.engine.storage.blobs.list("cost-staging", f"pages/{run.id}/"))


async def hashes(bench: Laptop) -> int:
    return len(await bench.engine.storage.tables.query("CostHashes", "", select=["kind"]))


async def test_staged_pages_of_a_published_run_go_after_seven_days() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()
        await purge(bench.engine)
        assert await staged(bench, run) == 1

        bench.clock.ahead += A_WEEK
        await purge(bench.engine)

        assert await staged(bench, run) == 0


async def test_staged_pages_of_an_open_run_stay() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        await bench.take(RUNS)
        bench.clock.ahead += RETENTION

        await purge(bench.engine)

        assert await staged(bench, run) == 1


async def test_staged_page_that_a_day_still_waits_to_be_published_from_stays() -> None:
    """Its day failed, so the pointer names a reading that no publication stands for."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        (body,) = await bench.take(RUNS)
        blobs = bench.engine.storage.blobs
        (page,) = await blobs.list("cost-staging", f"pages/{run.id}/")
        kept = await blobs.get("cost-staging", page.name)
        assert kept is not None
        await blobs.delete("cost-staging", page.name)
        await bench.engine.storage.queues.send(RUNS, body)
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.PARTIAL
        await blobs.put("cost-staging", page.name, kept.data)
        bench.clock.ahead += RETENTION

        await purge(bench.engine)

        assert await staged(bench, run) == 1


async def test_staged_page_of_a_day_whose_files_are_not_those_that_were_published_stays() -> None:
    """A publisher that was paused wrote one of them, as its publication did not leave it, and died."""
    async with laptop(small_tenant(), COST_SETTLE_HOURS="8760") as bench:
        run = await bench.run()
        await written_over(bench)
        bench.clock.ahead += A_WEEK

        await purge(bench.engine)

        assert await staged(bench, run) == 1
        assert (await bench.run()).status is RunStatus.COMPLETE
        await purge(bench.engine)
        assert await staged(bench, run) == 0


async def test_run_that_a_pointer_still_needs_is_not_forgotten() -> None:
    async with laptop(small_tenant(), COST_SETTLE_HOURS="8760") as bench:
        run = await bench.run()
        bench.clock.ahead += A_WEEK
        await purge(bench.engine)
        await written_over(bench)
        bench.clock.ahead += RETENTION

        await purge(bench.engine)

        assert await bench.engine.runs.run(run.id) is not None
        assert await hashes(bench) > 0
        await bench.run()
        await purge(bench.engine)
        assert await bench.engine.runs.run(run.id) is None


async def test_run_that_a_pointer_still_needs_is_forgotten_after_twice_the_retention() -> None:
    """What nobody has published anew by then, a restored or moved file, keeps no registry for ever."""
    async with laptop(small_tenant(), COST_SETTLE_HOURS="8760") as bench:
        run = await bench.run()
        bench.clock.ahead += A_WEEK
        await purge(bench.engine)
        await written_over(bench)
        bench.clock.ahead += 2 * RETENTION

        await purge(bench.engine)

        assert await bench.engine.runs.run(run.id) is None
        assert await hashes(bench) == 0


async def written_over(bench: Laptop) -> None:
    """Put a ledger file once more: its ETag is another than the publication's."""
    (path, *_) = await bench.etags("ledger/")
    blob = await bench.engine.storage.blobs.get("costs", path)
    assert blob is not None
    await bench.engine.storage.blobs.put("costs", path, blob.data)


async def test_day_that_did_not_change_needs_no_staged_page() -> None:
    """The ledger's current rows stand for the reading that a manifest names."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        bench.clock.ahead += A_WEEK
        await purge(bench.engine)
        restate(tenant, 1, days=[tenant.days[0]])

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        found = scope_truth(tenant, tenant.subscription_scopes[0], Metric.ACTUAL)
        assert {key[0]: total for key, (total, _) in (await bench.totals()).items()} == {
            key.day: total.amount for key, total in found.items()
        }


async def test_registry_and_rows_of_a_run_go_after_the_retention_and_the_ledger_stays() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()
        published = await bench.etags()
        for ahead in (A_WEEK, RETENTION):
            bench.clock.ahead = ahead
            assert await hashes(bench) > 0
            await purge(bench.engine)

        assert await hashes(bench) == 0
        assert await bench.engine.runs.run(run.id) is None
        assert await bench.etags() == published


async def test_page_that_a_slow_worker_wrote_after_its_run_was_forgotten_goes_too() -> None:
    async with laptop(small_tenant()) as bench:
        blobs, name = bench.engine.storage.blobs, "pages/20200101T000000Z/slice/generation/000001-ab.parquet"
        kept = f"quarantine{name[5:]}"
        for blob in (name, kept):
            await blobs.put("cost-staging", blob, b"late")
        await purge(bench.engine)
        assert [item.name for item in await blobs.list("cost-staging", "")] == [name, kept]

        for ahead, left in ((A_WEEK, [kept]), (RETENTION, [])):
            bench.clock.ahead = ahead
            await purge(bench.engine)
            assert [item.name for item in await blobs.list("cost-staging", "")] == left


async def test_slices_of_a_seeding_that_died_before_its_run_go_with_the_next_run_that_is_forgotten() -> None:
    async with laptop(small_tenant()) as bench:
        bench.edge.kill_on("table insert CostRuns")
        with pytest.raises(Killed):
            await bench.seed()
        run = await bench.run()
        await bench.engine.runs.keep_poison(
            PAGES, "1", {"raw": "x", **dict.fromkeys(POISON_TIMES, bench.clock())}
        )
        assert len(await bench.engine.storage.tables.query("CostRuns", "kind eq 'slice'")) == 2

        for ahead in (A_WEEK, RETENTION):
            bench.clock.ahead = ahead
            await purge(bench.engine)

        assert await bench.engine.runs.run(run.id) is None
        assert await bench.engine.storage.tables.query("CostRuns", "kind eq 'slice'") == []
        assert len(await bench.engine.runs.poison()) == 1, "the evidence stays"


async def test_run_whose_row_cannot_be_read_loses_no_page() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.run()
        await bench.engine.storage.tables.merge("CostRuns", Row("runs", run.id, {"version": 7}))
        bench.clock.ahead += RETENTION

        await purge(bench.engine)

        assert await staged(bench, run) == 1


async def test_page_that_may_not_be_removed_keeps_no_other_run_from_being_purged() -> None:
    async with laptop(small_tenant()) as bench:
        first, second = await bench.run(), await bench.run()
        bench.edge.fail(
            f"blob delete cost-staging/pages/{first.id}", Refused("cost-staging", "BlobImmutable")
        )
        bench.clock.ahead += A_WEEK

        await purge(bench.engine)

        assert [await staged(bench, run) for run in (first, second)] == [1, 0]
        bench.edge.heal()
        await purge(bench.engine)
        assert await staged(bench, first) == 0


async def test_stray_blob_among_what_was_put_aside_is_passed_over_and_keeps_no_other() -> None:
    async with laptop(small_tenant()) as bench:
        await bench.run()
        blobs = bench.engine.storage.blobs
        day = bench.tenant.days[0].isoformat()
        forgotten = f"aside/ActualCost/{day}/0123456789ab.parquet"
        for name in ("aside/notes.parquet", "aside/ActualCost/no-day/x.parquet", forgotten):
            await blobs.put("cost-staging", name, b"")
        bench.clock.ahead += A_WEEK

        await purge(bench.engine)

        left = [blob.name for blob in await blobs.list("cost-staging", "aside/")]
        assert left == ["aside/ActualCost/no-day/x.parquet", "aside/notes.parquet"]
