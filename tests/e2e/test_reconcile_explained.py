"""What explains a mismatch; that it takes too long, or breaks, keeps nobody from being told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from infra.local.simulator import restate
from shared.edge import Call
from shared.messages import PAGES
from shared.reconcile import alerts
from shared.reconcile.reconcile import reconcile_timer
from tests.billed import JUNE_20, a_tenant, bench_of, bill, first_subscription, found, rereads
from tests.fates import Fate
from tests.faults import dies
from tests.laptop import Laptop

LEDGER = "blob get costs/ledger"
SOON = timedelta(seconds=2)
Told = Callable[[], list[dict[str, Any]]]


@asynccontextmanager
async def published_and_billed_wrongly() -> AsyncIterator[Laptop]:
    async with bench_of(a_tenant(), read=False) as bench:
        await bench.run()
        bill(bench, off_by={first_subscription(bench.tenant)[0]: "100000"})
        yield bench


async def test_an_explanation_that_does_not_end_in_time_is_told_as_far_as_it_came(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a file of the ledger that never comes THEN the other days are looked at and the mismatch is told."""
    monkeypatch.setattr(alerts, "EXPLAINED_FOR", SOON)
    monkeypatch.setattr(alerts, "_SHARE", 10**6)

    async def hang(call: Call) -> None:
        await asyncio.Event().wait()

    async with published_and_billed_wrongly() as bench:
        bench.edge.meanwhile(LEDGER, hang)

        (finding,) = await found(bench)

        (event,) = told()
        assert event["explained_in_part"] == finding.partial == "TimeoutError: after 2 seconds"
        assert len(bench.edge.made(LEDGER)) == 31
        named = [one for one in finding.suspects if one.subscriptions]
        assert len(named) == len(finding.suspects) - 1 == 2
        assert event["explained_by"].count("largest") == 3
        assert event["run"] == finding.reread
        assert await rereads(bench) == {event["run"]: True}


@pytest.mark.parametrize("broken", ["table query CostDays", "blob list", LEDGER])
async def test_an_explanation_that_breaks_is_told_as_far_as_it_came(told: Told, broken: str) -> None:
    async with published_and_billed_wrongly() as bench:
        (finding,) = await found(bench)
        whole = finding.suspects
        assert finding.partial is None
        bill(bench, off_by={finding.scope: "200000"})

        async def breaks(call: Call) -> None:
            bench.edge.befall(broken, Fate.FAILS)

        # The message of the re-read is the last thing that is sent before the explanation.
        bench.edge.meanwhile("queue send", breaks)

        (finding,) = await found(bench)

        assert len(told()) == 2
        assert (finding.partial or "").startswith("Busy")
        assert told()[1]["explained_in_part"] == finding.partial
        named = {one.day for one in finding.suspects}
        assert named == ({one.day for one in whole} if "table" not in broken else set())


async def test_the_files_of_a_period_are_read_side_by_side(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GIVEN a file that comes only once another is asked for THEN all of the period is looked at."""
    monkeypatch.setattr(alerts, "EXPLAINED_FOR", 3 * SOON)
    monkeypatch.setattr(alerts, "_SHARE", 10**6)
    async with published_and_billed_wrongly() as bench:
        asked = asyncio.Event()

        async def waits(call: Call) -> None:
            bench.edge.meanwhile(LEDGER, comes)
            await asked.wait()

        async def comes(call: Call) -> None:
            asked.set()

        bench.edge.meanwhile(LEDGER, waits)
        (finding,) = await found(bench)
        assert finding.partial is None


async def test_a_reread_whose_finder_died_over_the_explanation_is_not_seeded_once_more_when_it_is_forgotten(
    told: Told,
) -> None:
    async with published_and_billed_wrongly() as bench:
        bench.edge.kill_on(LEDGER, after=True)
        assert await dies(reconcile_timer(bench.engine))
        bench.restart()
        ((name, _),) = (await rereads(bench)).items()
        run = await bench.engine.runs.run(name)
        assert run is not None
        await bench.engine.runs.forget(run)
        assert told() == []

        await reconcile_timer(bench.engine)

        assert [event["run"] for event in told()] == [name]
        assert await rereads(bench) == {}


async def test_a_mismatch_that_outlived_its_finder_is_told_before_it_is_explained_again(told: Told) -> None:
    """What is too large to be explained kills each process that tries, and is told all the same."""
    async with published_and_billed_wrongly() as bench:
        bench.edge.kill_on(LEDGER, after=True)
        assert await dies(reconcile_timer(bench.engine))
        bench.restart()
        assert told() == []
        bench.clock.ahead += timedelta(hours=1)

        await reconcile_timer(bench.engine)

        assert bench.edge.made(LEDGER) == []
        (event,) = told()
        assert event["explained_in_part"] == alerts.UNEXPLAINED
        assert await rereads(bench) == {event["run"]: True}

        (finding,) = await found(bench)

        assert (finding.partial, len(told())) == (None, 1)


async def test_days_that_changed_come_first_also_where_every_day_is_in_doubt() -> None:
    """GIVEN a month read before the invoice, restated on two days and read again, whose scope fails since."""
    tenant = a_tenant()
    days = {date(2026, 5, 9), date(2026, 5, 17)}
    async with bench_of(tenant, read=False, COST_RECONCILE_TOLERANCE="0") as bench:
        (scope,) = first_subscription(tenant)
        bench.clock.ahead = datetime(2026, 6, 4, tzinfo=UTC) - datetime.now(UTC)
        await bench.run()
        restate(tenant, 12, sorted(days), subscription=tenant.subscriptions[0])
        bench.clock.ahead = JUNE_20 - datetime.now(UTC)
        await bench.run()
        bench.fault(refuse={scope: "RBACAccessDenied"})
        await bench.seed()
        await bench.drain(PAGES)
        bill(bench, off_by={scope: "250"})

        (finding,) = await found(bench)

        assert {one.day for one in finding.suspects[:2]} == days
        assert {one.reason for one in finding.suspects} == {"stale"}
        assert str(finding.partial).startswith("21 more days are in doubt")
