"""A backfill over several months: each month is a reading of its own, and one that failed is healed later."""

from datetime import UTC, date, datetime, timedelta

from infra.local.simulator import Tenant, restate
from shared.cli.status import describe
from shared.messages import DAYS, PAGES, RUNS, PageItem
from shared.plan.backfill import backfill
from shared.read import ending
from shared.read.fetch_page import fetch_page
from shared.runs import RunStatus
from shared.sweep import sweep
from tests.faults import dies
from tests.laptop import Laptop, laptop
from tests.truth import Totals, truth_of

FIRST = date(2026, 2, 25)
APRIL = date(2026, 4, 1)
JUNE = datetime(2026, 6, 20, 6, tzinfo=UTC)


def four_months() -> Tenant:
    """The end of February to the first days of May."""
    return Tenant(6, subscriptions=1, days=70, rows_per_day=4, first_day=FIRST)


def without(truth: Totals, month: int) -> Totals:
    return {key: said for key, said in truth.items() if key[0].month != month}


async def work(bench: Laptop, month: int | None = None) -> None:
    """Work what is queued until all is done; while pages of `month` are asked for, the role is gone."""
    while sum([await bench.engine.storage.queues.length(name) for name in (DAYS, RUNS, PAGES)]):
        for body in await bench.take(PAGES):
            item = PageItem.decode(body)
            run = await bench.engine.runs.run(item.run)
            assert run is not None
            piece = next(one for one in await bench.slices(run) if one.name == item.slice)
            refused = {piece.scope: "RBACAccessDenied"} if piece.first.month == month else {}
            bench.fault(refuse=refused)
            await fetch_page(bench.engine, body)
        bench.fault()
        await bench.drain(RUNS, DAYS)


async def test_month_that_failed_is_named_and_healed_by_a_later_reading() -> None:
    tenant = four_months()
    async with laptop(tenant, COST_PAGE_SIZE="5000") as bench:
        bench.clock.ahead = JUNE - datetime.now(UTC)

        # GIVEN a backfill of which April is refused THEN April is named with its cause, and the rest is published
        run = await backfill(bench.engine, tenant.days[0], tenant.days[-1])
        assert {piece.first.month for piece in await bench.slices(run)} == {2, 3, 4, 5}
        await work(bench, month=APRIL.month)
        closed = await bench.closed(run)
        assert closed.status is RunStatus.PARTIAL
        assert closed.summary is not None
        (failure,) = (one for one in closed.summary["failures"] if one["scope"] is not None)
        assert (failure["from"], failure["to"]) == ("2026-04-01", "2026-04-30")
        assert failure["cause"].startswith("RBACAccessDenied")
        assert await bench.totals() == without(truth_of(tenant), APRIL.month)
        assert (await bench.manifest("ActualCost", APRIL))["status"] == "incomplete"

        # WHEN the month is read again, while the provider has restated another THEN it is there, and no other moved
        before = await bench.etags()
        published = await bench.totals()
        restate(tenant, 10, [day for day in tenant.days if day.month == 3])
        bench.clock.ahead = JUNE - datetime.now(UTC)
        april = [day for day in tenant.days if day.month == APRIL.month]
        run = await backfill(bench.engine, april[0], april[-1])
        await work(bench)
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        truth = truth_of(tenant)
        found = await bench.totals()
        assert without(found, APRIL.month) == published
        assert {key: said for key, said in found.items() if key[0].month == APRIL.month} == {
            key: said for key, said in truth.items() if key[0].month == APRIL.month
        }
        written = {name for name, etag in (await bench.etags()).items() if before.get(name) != etag}
        assert all("2026-04-" in name for name in written)

        # WHEN all is read again THEN all is the truth
        run = await backfill(bench.engine, tenant.days[0], tenant.days[-1])
        await work(bench)
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == truth


async def test_backfill_that_dies_between_its_months_is_resumed_and_status_tells_how_far_it_is() -> None:
    first = datetime.now(UTC).date() - timedelta(days=123)
    tenant = Tenant(6, subscriptions=1, days=95, rows_per_day=4, first_day=first.replace(day=1))
    async with laptop(tenant, COST_PAGE_SIZE="5000") as bench:
        run = await backfill(bench.engine, tenant.days[0], tenant.days[-1])
        bench.clock.ahead += timedelta(minutes=1)
        messages = [ending.first_page(piece).encode() for piece in await bench.slices(run)]
        await bench.take(PAGES)

        # GIVEN two months that are read, and a worker that dies while it reads the third
        for message in messages[:2]:
            await fetch_page(bench.engine, message)
        await bench.drain(PAGES)
        said = await describe(bench.engine, run)
        assert said["slices"] == {"total": 4, "reconciled": 2, "failed": 0, "open": 2}
        assert (said["pages"], said["days_left"], said["status"]) == (2, None, "open")
        bench.edge.kill_on("table insert CostHashes")
        assert await dies(fetch_page(bench.engine, messages[2]))
        bench.restart()
        asked = len(bench.edge.made("api"))

        # WHEN its messages are lost too, and a sweep comes THEN the two months left are read, and no other
        bench.clock.ahead += timedelta(seconds=1801)
        await sweep(bench.engine)
        await work(bench)
        assert len(bench.edge.made("api")) - asked == 2
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)
