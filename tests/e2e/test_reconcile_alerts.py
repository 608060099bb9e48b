"""What follows from a mismatch: it is told once for the same totals, and its days are read again once."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from infra.local.simulator import Tenant, restate
from shared.messages import PAGES
from shared.reconcile.reconcile import reconcile_timer
from tests.billed import (
    CENT,
    MAY,
    a_tenant,
    bench_of,
    bill,
    first_subscription,
    found,
    read_all,
    rereads,
    states,
    truth,
)
from tests.faults import dies
from tests.laptop import Laptop


async def test_a_mismatch_is_told_once_for_the_same_totals(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    """GIVEN an invoice that is too high WHEN it is compared three times THEN there is one event and one run."""
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, off_by={scope: "250"})
        for _ in range(3):
            (finding,) = await found(bench)
            assert finding.state == "mismatched"
            assert finding.difference is not None
            assert abs(finding.difference - 250) <= CENT

        (event,) = told()
        assert (event["scope"], event["currency"], event["first"]) == (scope, "USD", "2026-05-01")
        assert Decimal(event["billed"]) - Decimal(event["ledger"]) == Decimal(event["difference"])
        assert list(await rereads(bench)) == [event["run"]] == [finding.reread]
        run = await bench.engine.runs.run(event["run"])
        assert run is not None
        assert [(piece.scope, piece.first, piece.last) for piece in await bench.slices(run)] == [
            (scope, MAY.first, MAY.last)
        ]

        # AND the same after the re-read, which changed nothing
        await bench.drain(PAGES)
        assert states(await found(bench)) == [("USD", "mismatched")]
        assert len(told()) == 1

        # AND once more, with another re-read, after the bill was corrected to another wrong one
        bill(bench, off_by={scope: "-250"})
        await found(bench)
        await found(bench)
        assert len(told()) == 2
        assert len(await rereads(bench)) == 2


async def test_a_bill_that_goes_back_and_forth_is_told_each_time_and_read_again_once_for_each_total(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        runs = []
        for off_by in ("250", "-250", "250", "-250", "900", "250"):
            bill(bench, off_by={scope: off_by})
            (finding,) = await found(bench)
            runs.append(finding.reread)
            assert len(told()) == len(runs)

        first, second, third = dict.fromkeys(runs)
        assert runs == [first, second, first, second, third, first]
        assert set(await rereads(bench)) == {first, second, third}


async def test_mismatches_in_two_currencies_of_one_period_are_told_each_and_read_again_together(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = Tenant(4, subscriptions=3, days=31, rows_per_day=8)
    async with bench_of(tenant, lambda tenant: tenant.billing_profiles[:1]) as bench:
        bill(bench, off_by={tenant.billing_profiles[0]: "100000"})
        findings = await found(bench)
        await found(bench)

        assert states(findings) == [("EUR", "mismatched"), ("USD", "mismatched")]
        assert [event["currency"] for event in told()] == ["EUR", "USD"]
        assert [finding.reread for finding in findings] == list(await rereads(bench)) * 2


async def test_a_second_currency_is_read_again_by_the_first_ones_run_also_after_a_crash(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = Tenant(4, subscriptions=3, days=31, rows_per_day=8)
    async with bench_of(tenant, lambda tenant: tenant.billing_profiles[:1]) as bench:
        bill(bench, off_by={tenant.billing_profiles[0]: "100000"})
        bench.edge.kill_on("blob list")
        assert await dies(reconcile_timer(bench.engine))
        bench.restart()

        findings = await found(bench)

        assert [event["currency"] for event in told()] == ["EUR", "USD"]
        assert [finding.reread for finding in findings] == list(await rereads(bench)) * 2


async def test_the_reread_heals_a_month_that_the_provider_restated(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant, COST_RECONCILE_TOLERANCE="0") as bench:
        (scope,) = first_subscription(tenant)
        restate(tenant, 40, subscription=tenant.subscriptions[0])
        assert states(await found(bench)) == [("USD", "mismatched")]

        await bench.drain(PAGES)

        (finding,) = await found(bench)
        assert finding.state == "closed"
        assert finding.ledger == truth(tenant, scope, MAY)
        assert len(told()) == 1


async def test_a_changed_ledger_total_tells_again_without_another_reread(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, off_by={scope: "100000"})
        await found(bench)
        await bench.drain(PAGES)
        (first,) = told()
        # The bill stays as it is while the costs move: it is off by so much less, or more.
        before = truth(tenant, scope, MAY)
        restate(tenant, 30, subscription=tenant.subscriptions[0])
        moved = truth(tenant, scope, MAY) - before
        bill(bench, off_by={scope: str(Decimal(100000) - moved)})
        await read_all(bench)

        await found(bench)

        assert [event["billed"] for event in told()] == [first["billed"]] * 2
        assert len({event["ledger"] for event in told()}) == 2
        assert {event["run"] for event in told()} == {first["run"]}


@pytest.mark.parametrize("told_before", [False, True], ids=["first_alert", "later_alert"])
async def test_killed_at_any_call_the_next_reconcile_seeds_one_reread_and_tells_of_it(
    told: Callable[[], list[dict[str, Any]]], *, told_before: bool
) -> None:
    """GIVEN a mismatch WHEN the process dies after each call in turn THEN the next one finishes what it began."""
    async with bench_of(a_tenant()) as bench:
        (scope,) = first_subscription(bench.tenant)
        place, killed = 0, True
        while killed:
            bill(bench, off_by={scope: str(250 + place)})
            runs, events_before = await rereads(bench), len(told())
            bench.edge.kill_at(place, after=True)
            killed = await dies(work(bench))
            bench.restart()
            await found(bench)
            (finding,) = await found(bench)

            (run,) = (await rereads(bench)).items() - runs.items()
            assert run == (finding.reread, True)
            assert 1 <= len(told()) - events_before <= 2
            if not told_before:
                (row,) = await bench.engine.storage.tables.query("CostRuns", "PartitionKey eq 'invoices'")
                await bench.engine.storage.tables.delete("CostRuns", row.pk, row.rk)
            place += 1
        assert place > 10


async def work(bench: Laptop) -> None:
    await found(bench)
