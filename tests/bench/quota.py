"""Quota efficiency: how near the product comes to what the limits let through, and how often it is refused.

Time is scaled: the simulator's limits and the product's settings have the documented counts in a tenth of their
spans. Queue visibility is not, it counts in whole seconds as ever. Each worker is an engine of its own, which knows
of the others by the gates' rows alone, and takes whatever the queue gives it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from infra.local.simulator import Tenant
from shared.engine import Engine
from shared.messages import PAGES
from shared.worker import STEPS
from tests.bench.figures import Figure, at_least, at_most
from tests.laptop import Laptop, laptop

PART = "quota"
SCALE = 10
PER_TENANT = ((12, 10 / SCALE), (60, 60 / SCALE), (600, 3600 / SCALE))
PER_SCOPE = ((4, 60 / SCALE),)
OK, THROTTLED = 200, 429
AT_ONCE = 8
WORKERS = (1, 4, 16)

Limits = Sequence[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Case:
    """So many subscriptions, of each of which so many slices of one page are read."""

    subscriptions: int
    slices: int

    @property
    def requests(self) -> int:
        """How many requests are enough."""
        return self.subscriptions * self.slices

    @property
    def bound(self) -> float:
        """The seconds in which no more than the limits let through can be done."""
        return max(bound(self.requests, PER_TENANT), bound(self.slices, PER_SCOPE))


CASES = (Case(1, 24), Case(50, 8), Case(1000, 1))


def figures() -> Iterator[Figure]:
    """Read each case with few and with many workers."""
    for case in CASES:
        for workers in WORKERS:
            seconds, statuses = asyncio.run(_read(case, workers))
            name = f"{case.subscriptions} subscriptions, {workers} workers"
            throttled = 100 * statuses.count(THROTTLED) / len(statuses)
            wide = case.subscriptions > 1
            efficiency = 100 * case.bound / seconds
            yield Figure(
                PART, f"{name}: efficiency", efficiency, "% of bound", at_least(95) if wide else None
            )
            yield Figure(PART, f"{name}: answers 429", throttled, "%", at_most(1) if wide else None)


def bound(requests: int, limits: Limits) -> float:
    """Give the seconds from the first to the last of so many requests, each as early as sliding limits let it."""
    times: list[float] = []
    for number in range(requests):
        earlier = [times[number - count] + per for count, per in limits if number >= count]
        times.append(max([times[-1] if times else 0.0, *earlier]))
    return times[-1]


async def _read(case: Case, workers: int) -> tuple[float, list[int]]:
    """Give the seconds from the first to the last answer that counted, and the statuses of all."""
    tenant = Tenant(
        5, subscriptions=case.subscriptions, days=case.slices, rows_per_day=2 * case.subscriptions
    )
    settings = {
        "COST_QUOTA_TENANT": _written(PER_TENANT),
        "COST_QUOTA_SCOPE": _written(PER_SCOPE),
        "COST_WINDOW_DAYS": "1",
        "COST_PAGE_SIZE": "5000",
    }
    async with laptop(tenant, **settings) as bench, AsyncExitStack() as others:
        bench.fault(tenant_limits=PER_TENANT, scope_limits=PER_SCOPE)
        engines = [bench.engine]
        for _ in range(workers - 1):
            engine, _ = await others.enter_async_context(bench.other())
            engines.append(engine)
        await bench.seed()
        await _work(bench, engines, case.requests)
        journal = bench.running.simulator.journal.entries
    counted = [entry.time for entry in journal if entry.status == OK]
    return max(counted) - min(counted), [entry.status for entry in journal]


async def _work(bench: Laptop, engines: Sequence[Engine], requests: int) -> None:
    async def work(engine: Engine) -> None:
        queues = engine.storage.queues
        while bench.running.simulator.journal.by_status[OK] < requests:
            messages = await queues.receive(PAGES, most=AT_ONCE, hide_seconds=60)
            await asyncio.gather(
                *(STEPS[PAGES](engine, one.body) for one in messages if one.body is not None)
            )
            for message in messages:
                await queues.delete(PAGES, message)
            if not messages:
                await asyncio.sleep(0.05)

    await asyncio.gather(*map(work, engines))


def _written(limits: Limits) -> str:
    return ",".join(f"{count}/{per:g}s" for count, per in limits)
