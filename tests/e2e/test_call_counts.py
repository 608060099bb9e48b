"""What a page and a day cost outside this process, and that no Python runs for each of their rows."""

import sys
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import FrameType

import shared
from infra.local.simulator import Metric, Tenant, scope_truth
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES
from shared.orchestrate import orchestrate
from shared.read.fetch_page import fetch_page
from shared.worker import Worker
from tests.laptop import Laptop, laptop

HOUSE = str(Path(shared.__file__).parent)


def big_tenant(rows: int) -> Tenant:
    """One subscription with rather more rows on its only day than asked for."""
    return Tenant(8, subscriptions=1, days=1, rows_per_day=int(rows * 1.3))


@asynccontextmanager
async def page_in_hand(rows: int, **settings: str) -> AsyncIterator[tuple[Laptop, bytes]]:
    """A laptop whose first message asks for a page of exactly so many rows, the quota gate in use before."""
    tenant = big_tenant(rows)
    (scope,) = tenant.subscription_scopes
    assert sum(total.rows for total in scope_truth(tenant, scope, Metric.ACTUAL).values()) >= rows
    async with laptop(tenant, COST_PAGE_SIZE=str(rows), **settings) as bench:
        run = await bench.seed()
        await bench.engine.gate.take((await bench.slice(run)).scope_key, bench.clock())
        (body,) = await bench.take(PAGES)
        bench.edge.heal()
        yield bench, body


async def test_page_of_5000_rows_costs_six_table_calls_one_blob_write_and_one_message() -> None:
    """Table: the slice, the registry, two for the gate, the commit, the note that the successor was sent."""
    async with page_in_hand(5000) as (bench, body):
        await fetch_page(bench.engine, body)

        assert bench.edge.made("table") == [
            "table get CostRuns",
            "table query CostHashes",
            "table query CostQuota",
            "table batch CostQuota",
            "table insert CostHashes",
            "table merge CostHashes",
        ]
        assert len(bench.edge.made("blob put cost-staging/pages/")) == len(bench.edge.made("blob")) == 1
        assert bench.edge.made("queue") == ["queue send cost-pages"]
        assert len(bench.edge.made("api")) == 1


async def test_worker_adds_one_queue_call_to_a_page_the_deletion_of_its_message() -> None:
    """Receiving is shared by all messages that are there; sending the next and deleting this one are the page's."""
    tenant = Tenant(8, subscriptions=1, days=1, rows_per_day=60)
    async with laptop(tenant, COST_PAGE_SIZE="10") as bench:
        run = await bench.seed()
        bench.edge.heal()

        done = await Worker(bench.engine).work(run.id)

        assert done.summary is not None
        pages = done.summary["pages"]
        assert pages > 5
        steps = pages + 1 + 1 + 1 + 1  # its closing; the slice's end, the day, the day's end
        sent = bench.edge.made("queue send")
        assert len(sent) == steps - 1, "the first message is the seed's"
        assert len(bench.edge.made("queue delete")) == steps
        assert bench.edge.made("queue renew") == []


async def test_unchanged_day_is_not_even_asked_to_be_published() -> None:
    async with laptop(Tenant(8, subscriptions=2, days=2, rows_per_day=30)) as bench:
        await bench.run()
        bench.edge.heal()
        bench.worked.clear()

        await bench.run()

        assert bench.edge.made("queue send cost-days") == []
        assert bench.edge.made("blob put costs") == []
        assert bench.edge.made("blob get") == []
        assert not [queue for queue, _ in bench.worked if queue == DAYS]


class Counter:
    """Counts the Python functions, generators and comprehensions of the house that are entered or resumed."""

    def __init__(self) -> None:
        self.entered = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        self.entered += event == "call" and frame.f_code.co_filename.startswith(HOUSE)


@contextmanager
def counted() -> Iterator[Counter]:
    counter = Counter()
    sys.setprofile(counter)
    try:
        yield counter
    finally:
        sys.setprofile(None)


class Lines:
    """Counts the lines of the house that are executed: a loop inside one function shows here."""

    def __init__(self) -> None:
        self.executed = 0

    def __call__(self, frame: FrameType, event: str, _: object) -> "Lines | None":
        if not frame.f_code.co_filename.startswith(HOUSE):
            return None
        self.executed += event == "line"
        return self


async def lines_of(step: Awaitable[None]) -> int:
    lines = Lines()
    before = sys.gettrace()
    sys.settrace(lines)
    try:
        await step
    finally:
        sys.settrace(before)
    return lines.executed


async def work_of_a_page(rows: int) -> tuple[int, int]:
    """Count functions entered and lines executed for two pages of so many rows."""
    async with page_in_hand(rows) as (bench, body):
        with counted() as counter:
            await fetch_page(bench.engine, body)
    async with page_in_hand(rows) as (bench, body):
        return counter.entered, await lines_of(fetch_page(bench.engine, body))


async def work_of_a_day(rows: int) -> tuple[int, int]:
    """Count functions entered and lines executed for publishing a day of about so many rows, twice."""
    found = []
    for counting in (functions_of, lines_of):
        async with laptop(big_tenant(rows), COST_PAGE_SIZE="5000") as bench:
            await bench.seed()
            await bench.drain(PAGES)
            for news in await bench.take("cost-runs"):
                await orchestrate(bench.engine, news)
            (day,) = set(await bench.take(DAYS))
            found.append(await counting(publish_day(bench.engine, day)))
    return found[0], found[1]


async def functions_of(step: Awaitable[None]) -> int:
    with counted() as counter:
        await step
    return counter.entered


def grows(few: int, many: int) -> float:
    return abs(many - few) / few


async def test_no_python_runs_for_each_row_of_a_page() -> None:
    """Ten times the rows take the same calls and the same lines, within a fifth."""
    few, many = await work_of_a_page(500), await work_of_a_page(5000)

    assert grows(few[0], many[0]) < 0.2, (few, many)
    assert grows(few[1], many[1]) < 0.2, (few, many)


async def test_no_python_runs_for_each_row_of_a_published_day() -> None:
    """Ten times the rows take the same calls and the same lines, within a fifth."""
    few, many = await work_of_a_day(300), await work_of_a_day(3000)

    assert grows(few[0], many[0]) < 0.2, (few, many)
    assert grows(few[1], many[1]) < 0.2, (few, many)
