"""What explains a mismatch; that it takes too long, or breaks, keeps nobody from being told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from infra.local.simulator import Metric, restate
from shared.edge import Call
from shared.messages import PAGES
from shared.reconcile import alerts
from shared.reconcile.alerts import described
from shared.reconcile.compare import Finding
from shared.reconcile.reconcile import reconcile_timer
from tests.billed import (
    JUNE_20,
    MAY,
    a_tenant,
    bench_of,
    bill,
    first_subscription,
    found,
    profiles_of,
    read_all,
    rereads,
    truth,
)
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


async def test_a_mismatch_names_the_days_that_changed_after_the_invoice_and_whose_they_are(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    """GIVEN a month that was read before the invoice of the 5th of June, and two days of it restated since
    THEN these days come first, each with by how much it changed and in which subscription.
    """
    tenant = a_tenant()
    async with bench_of(tenant, read=False, COST_RECONCILE_TOLERANCE="0") as bench:
        (scope,) = first_subscription(tenant)
        bench.clock.ahead = datetime(2026, 6, 4, tzinfo=UTC) - datetime.now(UTC)
        await bench.run()
        billed = truth(tenant, scope, MAY)
        days = (date(2026, 5, 9), date(2026, 5, 17))
        change = restate(tenant, 6, days, subscription=tenant.subscriptions[0])
        bill(bench, off_by={scope: str(billed - truth(tenant, scope, MAY))})
        bench.clock.ahead = JUNE_20 - datetime.now(UTC)
        await bench.run()

        (finding,) = await found(bench)

        moved = {key.day: delta.amount for key, delta in change.deltas(Metric.ACTUAL).items()}
        named = {one.day: one for one in finding.suspects if one.reason == "changed_after_the_invoice"}
        assert named.keys() == moved.keys() == set(days)
        for day, suspect in named.items():
            assert suspect.amount is not None
            assert abs(suspect.amount - moved[day]) < Decimal("1e-12")
            assert suspect.subscriptions == ((tenant.subscriptions[0], suspect.amount),)
        assert [one.reason for one in finding.suspects[2:]] == ["largest"] * 3
        assert all(str(day) in told()[0]["explained_by"] for day in named)


@pytest.mark.parametrize("beside", ["its_subscriptions", "its_profiles", "an_enrollments_subscriptions"])
async def test_a_mismatch_is_explained_by_rows_that_others_keep_of_what_the_bill_is_about(
    beside: str,
) -> None:
    """GIVEN an account whose usage its subscriptions, or its profiles, own WHEN two days changed after the invoice
    (of an enrollment: after its costs were final) THEN these days come first, with the subscription and the scope
    whose rows the ledger keeps.
    """
    tenant = a_tenant()
    account = tenant.billing_account if beside == "an_enrollments_subscriptions" else tenant.modern_account
    owners = profiles_of(tenant, account) if beside == "its_profiles" else tenant.subscription_scopes
    days = (date(2026, 5, 9), date(2026, 5, 17))
    async with bench_of(tenant, lambda _: (*owners, account), read=False) as bench:
        moved = await restated_after_the_invoice(bench, days, tenant.subscriptions[0])
        finding = (await off_by_a_lot(bench, account))[account]

        named = [one for one in finding.suspects if one.reason == "changed_after_the_invoice"]
        assert {one.day for one in named} == moved.keys() == set(days)
        assert finding.suspects[:2] == tuple(named)
        (keeper,) = [one for one in owners if await owns(bench, one, days[0], tenant.subscriptions[0])]
        for suspect in named:
            assert suspect.amount is not None
            assert abs(suspect.amount - moved[suspect.day]) < Decimal("1e-12")
            assert suspect.subscriptions == ((tenant.subscriptions[0], suspect.amount),)
            assert suspect.kept_by == (keeper.lower(),)
            assert f"kept by {keeper.lower()})" in described(suspect)


async def test_a_mismatch_is_never_explained_by_rows_of_another_bill() -> None:
    """GIVEN two profiles whose subscriptions own all usage WHEN a subscription of each changed on another day
    THEN each profile's bill is explained by its own.
    """
    tenant = a_tenant()
    first, second = date(2026, 5, 9), date(2026, 5, 17)
    async with bench_of(
        tenant, lambda tenant: (*tenant.subscription_scopes, *tenant.billing_profiles), read=False
    ) as bench:
        await restated_after_the_invoice(bench, (first,), tenant.subscriptions[0])
        await restated_after_the_invoice(bench, (second,), tenant.subscriptions[1])
        findings = await off_by_a_lot(bench, *tenant.billing_profiles)

        for profile, day, subscription in zip(
            tenant.billing_profiles, (first, second), tenant.subscriptions, strict=True
        ):
            suspects = findings[profile].suspects
            assert [one.day for one in suspects if one.reason == "changed_after_the_invoice"] == [day]
            assert {name for one in suspects for name, _ in one.subscriptions} <= {subscription, "none"}


async def restated_after_the_invoice(
    bench: Laptop, days: Sequence[date], subscription: str
) -> dict[date, Decimal]:
    """Publish what was known on the 4th of June, and on the 20th what a subscription's days cost since."""
    if not await bench.etags():
        bench.clock.ahead = datetime(2026, 6, 4, tzinfo=UTC) - datetime.now(UTC)
        await bench.run()
        bench.clock.ahead = JUNE_20 - datetime.now(UTC)
    change = restate(bench.tenant, 6, days, subscription=subscription)
    await bench.run()
    return {key.day: delta.amount for key, delta in change.deltas(Metric.ACTUAL).items()}


async def off_by_a_lot(bench: Laptop, *scopes: str) -> dict[str, Finding]:
    """Bill scopes far too high and give what is found, by scope."""
    payers = [payer for scope in scopes for payer in (scope, *profiles_of(bench.tenant, scope))]
    bill(bench, off_by=dict.fromkeys(payers, "100000"))
    findings = {one.scope: one for one in await found(bench) if one.state == "mismatched"}
    assert {finding.partial for finding in findings.values()} == {None}
    return findings


async def owns(bench: Laptop, scope: str, day: date, subscription: str) -> bool:
    rows = await bench.ledger("ActualCost", day)
    of_scope = (pl.col("x_SourceScope") == scope.lower()) & (pl.col("subscription") == subscription)
    return len(rows.filter(of_scope)) > 0


async def test_days_in_doubt_and_days_read_too_early_explain_a_mismatch_first() -> None:
    """GIVEN a month read on the 4th of June, but for five days that were read again on the 20th, and failed on
    two of the others since THEN these two come first, then the rest, the dearest first, ten in all, and the
    others are counted.
    """
    tenant = a_tenant()
    async with bench_of(tenant, read=False) as bench:
        (scope,) = first_subscription(tenant)
        bench.clock.ahead = datetime(2026, 6, 4, tzinfo=UTC) - datetime.now(UTC)
        await read_all(bench)
        bench.clock.ahead = JUNE_20 - datetime.now(UTC)
        await bench.seed(days=5)
        await bench.drain(PAGES)
        bench.fault(refuse={scope: "RBACAccessDenied"})
        await bench.seed(days=2)
        await bench.drain(PAGES)
        bill(bench, off_by={scope: "250"})

        (finding,) = await found(bench)

        assert finding.state == "mismatched"
        assert sorted(one.day for one in finding.suspects[:2]) == list(tenant.days[:2])
        assert [one.reason for one in finding.suspects] == ["stale"] * 2 + ["read_early"] * 8
        early = [abs(one.amount or Decimal(0)) for one in finding.suspects[2:]]
        assert early == sorted(early, reverse=True)
        assert not {one.day for one in finding.suspects} & set(tenant.days[2:5])
        assert str(finding.partial).startswith("18 more days are in doubt, were read early, or changed")
