"""A sweep that is killed at any of its calls comes to the same end at the next one."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from itertools import starmap
from typing import Any

import pytest

from infra.local.simulator import Tenant, restate
from shared.messages import DAYS, PAGES, POISON, RUNS, RunItem
from shared.runs import Run, RunStatus, SliceState
from shared.sweep import sweep
from tests.crash.choice import POINTS, sample
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.truth import truth_of

SHARES = 16 if POINTS == "all" else 2
"""The places are dealt out to so many tests, so that none takes long."""

AT_ONCE = 3

LATE = "pages/20200101T000000Z/slice/generation/000001-ab.parquet"
"""A page that a slow worker wrote after its run was forgotten."""


async def history(place: int | None = None, *, after: bool = False) -> tuple[dict[str, Any], int]:
    """Sweep all that there may be to sweep, killed at a call or not, then once more; give the end and the calls."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=6, currencies=("USD",))
    async with laptop(tenant) as bench:
        poisoned = await _laid_out(bench)
        run = await bench.seed()
        # One slice's message is poisoned, the other's is lost.
        body, _ = await bench.take(PAGES)
        poisoned = {PAGES: body, **poisoned}
        await _poison(bench, poisoned)
        bench.clock.ahead += timedelta(hours=1)
        bench.edge.heal()
        if place is not None:
            bench.edge.kill_at(place, after=after)
        killed = await dies(sweep(bench.engine))
        calls = len(bench.edge.calls)
        assert killed == (place is not None)
        bench.restart()
        # What the dead one received would come again when its lease is over, which no test can hasten.
        await _poison(bench, poisoned, left_only=True)
        bench.clock.ahead += timedelta(hours=1)
        await sweep(bench.engine)
        await bench.drain()
        return await _end(bench, run), calls


async def _poison(bench: Laptop, bodies: Mapping[str, bytes], *, left_only: bool = False) -> None:
    """Put messages into the poison queues, only those that were not taken off where that is said."""
    queues = bench.engine.storage.queues
    for name, body in bodies.items():
        if not left_only or await queues.length(name + POISON):
            await queues.send(name + POISON, body)


async def _laid_out(bench: Laptop) -> dict[str, bytes]:
    """Leave one run to forget and one to clean, blobs that nobody names, and what to poison two queues with."""
    await bench.run()
    bench.clock.ahead += timedelta(days=7, minutes=1)
    await sweep(bench.engine)
    bench.clock.ahead += timedelta(days=38)
    restate(bench.tenant, 2)
    await bench.run()
    bench.clock.ahead += timedelta(days=7, minutes=1)
    restate(bench.tenant, 2)
    aside = f"aside/ActualCost/{bench.tenant.days[0]}/0123456789ab.parquet"
    for name in (LATE, aside):
        await bench.engine.storage.blobs.put("cost-staging", name, b"late")
    return {RUNS: RunItem(run="gone").encode(), DAYS: b"nonsense"}


async def _end(bench: Laptop, run: Run) -> dict[str, Any]:
    """Say all that a sweep decides, without the names and times that are each history's own."""
    storage, runs = bench.engine.storage, bench.engine.runs
    closed = await bench.closed(run)
    staged = [blob.name for blob in await storage.blobs.list("cost-staging", "")]
    kinds = Counter(row.values["kind"] for row in await storage.tables.query("CostRuns", "kind ge ''"))
    end = {
        "status": closed.status,
        "slices": sorted((piece.scope, piece.state) for piece in await bench.slices(run)),
        "poisoned": {record.rk.partition("|")[0] for record in await runs.poison()},
        "runs": [one.cleaned for one in await runs.runs()],
        "rows": kinds,
        "hashes": len(await storage.tables.query("CostHashes", "", select=["kind"])),
        "staged": len(staged),
        "nobody's": [name for name in staged if name == LATE or name.startswith("aside/")],
        "published": await bench.totals(),
    }
    assert (await bench.run()).status is RunStatus.COMPLETE
    assert await bench.totals() == truth_of(bench.tenant)
    return end


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, Any], int]:
    """The end of a history in which no sweep dies, and the number of the first sweep's calls."""
    return asyncio.run(history())


def test_sweep_has_something_of_everything_to_do(undisturbed: tuple[dict[str, Any], int]) -> None:
    end, calls = undisturbed
    assert calls > 40
    assert end["status"] is RunStatus.PARTIAL
    assert [state for _, state in end["slices"]].count(SliceState.FAILED) == 1
    assert end["poisoned"] == {PAGES, RUNS, DAYS}
    assert end["runs"] == [True, False], "the first of three is forgotten, the second cleaned"
    assert end["staged"] == 1
    assert end["nobody's"] == []


@pytest.mark.parametrize("share", range(SHARES))
async def test_sweep_that_is_killed_at_a_call_comes_to_the_same_end_at_the_next(
    undisturbed: tuple[dict[str, Any], int], share: int
) -> None:
    wanted, calls = undisturbed
    pace = asyncio.Semaphore(AT_ONCE)

    async def differs(place: int, after: bool) -> str | None:  # noqa: FBT001 - a point, as it was drawn
        async with pace:
            try:
                end, _ = await history(place, after=after)
            except Exception as error:  # noqa: BLE001 - the place must be named, whatever happened there
                return f"{place} {after}: {error!r}"
        return None if end == wanted else f"{place} {after}: {end}"

    points = [(place, after) for place in range(calls) for after in (False, True)]
    chosen = sample(points, "sweep")[share::SHARES]

    assert [said for said in await asyncio.gather(*starmap(differs, chosen)) if said is not None] == []
