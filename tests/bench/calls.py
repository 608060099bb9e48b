"""Calls that leave the process: of a page at any depth, of a day that changed and of one that did not, and growth."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator

from infra.local.simulator import Tenant, restate
from shared.messages import DAYS, PAGES, RUNS
from shared.worker import STEPS
from tests.bench.figures import Figure, at_most
from tests.bench.growth import slope
from tests.laptop import Laptop, laptop

PART = "calls"
ROWS_OF_A_PAGE = 20
DEPTHS = (10, 100, 400)
WIDTHS = (10, 100)
"""Subscriptions of a day."""

SPANS = (4, 31)
"""Days of a run."""

Calls = Counter[str]
"""How many calls were made, by service; `blob put` are those that write a blob, `published` a published file."""


def figures() -> Iterator[Figure]:
    """Count the calls of pages and of days."""
    yield from asyncio.run(_figures())


async def _figures() -> list[Figure]:
    return [*await _pages(), *await _widths(), *await _spans()]


async def _pages() -> list[Figure]:
    """Read a slice of very many pages by one worker, and then by another one that knows none of them."""
    tenant = Tenant(5, subscriptions=1, days=1, rows_per_day=ROWS_OF_A_PAGE * (max(DEPTHS) + 20))
    found, total, by_depth = [], 0, {}
    async with laptop(tenant, COST_PAGE_SIZE=str(ROWS_OF_A_PAGE), COST_MAX_PAGES="500") as bench:
        await bench.seed()
        for page in range(1, max(DEPTHS) + 1):
            calls = await _page(bench)
            total += _all(calls)
            if page in DEPTHS:
                by_depth[page] = total
                found.append(Figure(PART, f"page {page}: Table", calls["table"], "calls", at_most(6)))
                others = calls["blob"] + calls["queue"]
                found.append(Figure(PART, f"page {page}: Blob and Queue", others, "calls"))
        bench.restart()
        cold = await _page(bench)
        found.append(Figure(PART, f"page {max(DEPTHS) + 1}, cold worker: Table", cold["table"], "calls"))
    return [*found, Figure(PART, "by pages of a slice", slope(by_depth), "slope", at_most(1.05))]


async def _page(bench: Laptop) -> Calls:
    """Work the next page's message, its own deletion included."""
    (body,) = await bench.take(PAGES)
    return await _calls(bench, STEPS[PAGES](bench.engine, body)) + Counter(queue=1)


async def _widths() -> list[Figure]:
    """Publish a day of many subscriptions: new, and with one of them changed."""
    found, news = [], {}
    for width in WIDTHS:
        tenant = Tenant(5, subscriptions=width, days=1, rows_per_day=20 * width)
        async with laptop(tenant) as bench:
            await _read(bench)
            new = await _publish(bench)
            news[width] = _all(new)
            restate(tenant, 1, subscription=tenant.subscriptions[0])
            await _read(bench)
            changed = await _publish(bench)
        for what, calls in (("new", new), ("1 changed", changed)):
            name = f"day of {width} subscriptions, {what}"
            found.append(Figure(PART, f"{name}: Table", calls["table"], "calls"))
            found.append(Figure(PART, f"{name}: Blob writes", calls["blob put"], "calls"))
            found.append(Figure(PART, f"{name}: all", _all(calls), "calls"))
    return [*found, Figure(PART, "by subscriptions of a day", slope(news), "slope", at_most(1.05))]


async def _spans() -> list[Figure]:
    """Read and publish runs of few and of many days, and then once more, when nothing has changed."""
    news, same = {}, {}
    for span in SPANS:
        async with laptop(Tenant(5, subscriptions=1, days=span, rows_per_day=10)) as bench:
            news[span] = _all(await _calls(bench, bench.run()))
            same[span] = await _calls(bench, bench.run())
    few, many = SPANS
    more = same[many] - same[few]
    tables = more["table"] / (many - few)
    return [
        Figure(PART, "by days of a run", slope(news), "slope", at_most(1.05)),
        Figure(PART, "each unchanged day of a run: Table", tables, "calls", at_most(2)),
        Figure(
            PART, f"{many} unchanged days: Blob writes to costs", same[many]["published"], "calls", at_most(0)
        ),
    ]


async def _read(bench: Laptop) -> None:
    """Seed a run and read all of it, so that its days wait to be published."""
    await bench.seed()
    while await bench.engine.storage.queues.length(PAGES) + await bench.engine.storage.queues.length(RUNS):
        await bench.drain(PAGES, RUNS)


async def _publish(bench: Laptop) -> Calls:
    """Publish the one day that waits, and let its run come to its end."""
    (body,) = await bench.take(DAYS)
    calls = await _calls(bench, STEPS[DAYS](bench.engine, body))
    await bench.drain()
    return calls


async def _calls(bench: Laptop, step: Awaitable[object]) -> Calls:
    bench.edge.calls.clear()
    await step
    by_service = Counter(call.service for call in bench.edge.calls)
    puts = [call for call in bench.edge.calls if (call.service, call.operation) == ("blob", "put")]
    published = sum(call.target.startswith("costs/") for call in puts)
    return by_service + Counter({"blob put": len(puts), "published": published})


def _all(calls: Calls) -> int:
    return sum(calls[service] for service in ("api", "table", "blob", "queue"))
