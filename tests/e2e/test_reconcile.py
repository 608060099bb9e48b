"""Bills against the ledger, on the real emulator and real HTTP: each state, and when the timer compares."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from infra.local.simulator import BillingFaults, Tenant
from shared.messages import PAGES
from shared.reconcile.alerts import Patience
from shared.reconcile.compare import BillState
from shared.reconcile.periods import Period, lately_closed, month_of
from shared.reconcile.reconcile import TIMER_PATIENCE, reconcile, reconcile_timer
from tests.billed import (
    CENT,
    MAY,
    Choice,
    a_tenant,
    bench_of,
    bill,
    enrollment,
    first_subscription,
    found,
    modern_account,
    profiles,
    profiles_of,
    read_all,
    rereads,
    states,
    truth,
)
from tests.fates import Fate
from tests.faults import Answer
from tests.laptop import Laptop

READER = "Billing Reader fa23ad8b-c56e-40d8-ac0c-ce449e1d2c64"


@pytest.mark.parametrize("choice", [first_subscription, enrollment, modern_account, profiles])
async def test_a_month_that_was_billed_as_it_was_read_is_closed(choice: Choice) -> None:
    """To the cent, whichever API has the bill: of a subscription, an enrollment, an account, two profiles."""
    tenant = a_tenant()
    async with bench_of(tenant, choice) as bench:
        findings = await found(bench)

        assert [finding.scope for finding in findings] == list(choice(tenant))
        for finding in findings:
            assert (finding.state, finding.period, finding.currency) == ("closed", MAY, "USD")
            assert finding.ledger == truth(tenant, finding.scope, MAY)
            assert finding.difference is not None
            assert abs(finding.difference) <= CENT


async def test_two_currencies_of_one_scope_are_two_bills() -> None:
    tenant = Tenant(4, subscriptions=3, days=31, rows_per_day=8)
    async with bench_of(tenant, lambda tenant: tenant.billing_profiles[:1]) as bench:
        findings = await found(bench)

        assert states(findings) == [("EUR", "closed"), ("USD", "closed")]
        (scope,) = {finding.scope for finding in findings}
        assert [finding.ledger for finding in findings] == [
            truth(tenant, scope, MAY, currency) for currency in ("EUR", "USD")
        ]


async def test_a_period_that_is_no_calendar_month_is_compared_over_its_own_days() -> None:
    tenant = a_tenant(days=40, first_day=date(2026, 4, 12))
    async with bench_of(tenant) as bench:
        bill(bench, anniversary=12)
        (finding,) = await found(bench)

        own = Period(date(2026, 4, 12), date(2026, 5, 11))
        assert (finding.period, finding.state) == (own, "closed")
        assert finding.ledger == truth(tenant, finding.scope, own)


async def test_a_purchase_billed_on_its_day_is_added_to_the_period_that_holds_it_when_that_is_billed(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    """GIVEN periods from the 12th and an invoice of the 20th of May alone
    WHEN the timer comes before and after the period around it was billed
    THEN it is no bill of May's, and both periods are closed.
    """
    tenant = a_tenant(days=61, first_day=date(2026, 4, 12))
    async with bench_of(tenant) as bench:
        bought = {first_subscription(tenant)[0]: "2026-05-20"}
        first, second = (
            Period(date(2026, 4, 12), date(2026, 5, 11)),
            Period(date(2026, 5, 12), date(2026, 6, 11)),
        )

        bench.clock.ahead = datetime(2026, 6, 6, 6, tzinfo=UTC) - datetime.now(UTC)
        bill(bench, anniversary=12, bought=bought, today="2026-06-06")
        await reconcile_timer(bench.engine)
        rest = Period(date(2026, 5, 12), date(2026, 5, 31))
        assert [(one.period, one.state) for one in await found(bench)] == [
            (first, "closed"),
            (rest, "estimated"),
        ]

        bench.clock.ahead = datetime(2026, 7, 6, 6, tzinfo=UTC) - datetime.now(UTC)
        bill(bench, anniversary=12, bought=bought, today="2026-07-06")
        await reconcile_timer(bench.engine)
        assert [(one.period, one.state) for one in await found(bench)] == [(first, "closed")]
        (june,) = await found(bench, month_of(date(2026, 6, 1)))
        assert (june.period, june.state, len(june.documents)) == (second, "closed", 2)

        assert told() == []
        assert await rereads(bench) == {}


async def test_credit_notes_voided_invoices_and_support_come_out_right_over_many_pages() -> None:
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, credited={scope: "700"}, voided=(scope,), supported=(scope,), page_size=1)
        (finding,) = await found(bench)

        assert finding.state == "closed"
        assert len(finding.documents) == 2
        assert len(bench.edge.made("api get")) == 6


async def test_a_document_that_comes_on_two_pages_counts_once() -> None:
    """GIVEN a list in which the first document moves to the second page while it is read."""
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, credited={scope: "700"}, page_size=1)
        first = await pages_of(bench)

        bench.edge.spoil = lambda answer: with_documents(answer, first[0]["value"])
        (finding,) = await found(bench)
        assert (finding.state, len(finding.documents)) == ("closed", 2)


@pytest.mark.parametrize(("moving", "state"), [({2}, "closed"), ({2, 4}, "unknown")], ids=["once", "again"])
async def test_a_list_that_moves_is_read_once_more_and_is_unknown_if_it_moves_again(
    moving: set[int], state: str
) -> None:
    """GIVEN a document whose second listing has other content, in the first reading or in both."""
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, credited={scope: "700"}, page_size=1)
        ((other,), *_) = [page["value"] for page in await pages_of(bench)]
        other["properties"]["status"] = "Void"
        answers = 0

        def spoil(answer: Answer) -> Answer:
            nonlocal answers
            answers += 1
            return with_documents(answer, [other]) if answers in moving else answer

        bench.edge.spoil = spoil
        (finding,) = await found(bench)
        assert (finding.state, len(bench.edge.made("api get"))) == (state, 4)
        if state == "unknown":
            assert finding.cause == f"ListMoved: {other['name']} was listed twice, with other content"


async def pages_of(bench: Laptop) -> list[dict[str, Any]]:
    """Give the pages of the invoices that are asked for just now."""
    pages: list[dict[str, Any]] = []

    def keep(answer: Answer) -> Answer:
        pages.append(json.loads(answer[2]))
        return answer

    bench.edge.spoil = keep
    await found(bench)
    bench.edge.heal()
    return pages


def with_documents(answer: Answer, documents: Sequence[object]) -> Answer:
    """Put documents on top of those of a page, and those of the page once more."""
    status, headers, body = answer
    page = json.loads(body)
    page["value"] = [*documents, *page["value"]]
    return status, headers, json.dumps(page).encode()


@pytest.mark.parametrize(
    ("today", "state"),
    [
        pytest.param(datetime(2026, 6, 5, 23, tzinfo=UTC), "open", id="the_fifth_day"),
        pytest.param(datetime(2026, 6, 6, 0, tzinfo=UTC), "estimated", id="the_sixth"),
    ],
)
async def test_without_an_invoice_a_month_is_open_until_it_may_change_no_more_then_estimated(
    today: datetime, state: str
) -> None:
    tenant = a_tenant(days=2, first_day=date(2026, 5, 30))
    async with bench_of(tenant, read=False) as bench:
        bench.clock.ahead = today - datetime.now(UTC)
        bill(bench, unissued=first_subscription(tenant))
        await read_all(bench)
        findings = await found(bench, Period(date(2026, 5, 30), date(2026, 5, 31)))
        assert states(findings) == [("USD", state)]


async def test_an_account_waits_for_the_profile_whose_invoice_is_still_to_come(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    """GIVEN two profiles that billed April WHEN one of them has billed May THEN nothing is alleged, until the other
    has had 45 days.
    """
    tenant = a_tenant(days=61, first_day=date(2026, 4, 1))
    async with bench_of(tenant, modern_account) as bench:
        assert states(await found(bench)) == [("USD", "closed")]

        late = profiles_of(tenant, tenant.modern_account)[1]
        bill(bench, unissued=(late,), unissued_from="2026-05-01")
        await reconcile_timer(bench.engine)
        (finding,) = await found(bench)
        assert (finding.state, finding.reread) == ("estimated", None)
        assert late.lower() in (finding.cause or "")
        assert told() == []

        bench.clock.ahead = datetime(2026, 7, 16, tzinfo=UTC) - datetime.now(UTC)
        assert states(await found(bench)) == [("USD", "mismatched")]


async def test_a_bill_in_another_currency_is_named_and_nothing_is_converted(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bill(bench, billed_in={scope: "CHF"})
        findings = await found(bench)
        assert states(findings) == [("CHF", "other_currency"), ("USD", "other_currency")]
        assert findings[0].cause == "billed in CHF, the scope's costs are in USD"
        assert told() == []


async def test_days_that_the_ledger_lacks_are_named_with_what_reads_them() -> None:
    tenant = a_tenant()
    async with bench_of(tenant, read=False) as bench:
        await bench.seed(days=20)
        await bench.drain(PAGES)
        (finding,) = await found(bench)
        assert finding.state == "missing"
        assert [day for day, _ in finding.days] == list(tenant.days[20:])
        assert finding.cure == f"`backfill --from 2026-05-21 --to 2026-05-31 --scope {finding.scope}`"


@pytest.mark.parametrize("choice", [first_subscription, enrollment, profiles])
async def test_a_missing_permission_is_said_plainly_with_role_and_scope(choice: Choice) -> None:
    tenant = a_tenant(days=1)
    async with bench_of(tenant, choice, read=False) as bench:
        bill(bench, forbidden=choice(tenant))
        for finding in await found(bench):
            assert (finding.state, finding.cause) == ("unreadable", "AuthorizationFailed")
            assert f"grant {READER} on {finding.scope}" in (finding.cure or "")


async def test_a_subscription_without_invoices_of_its_own_says_who_has_them() -> None:
    tenant = a_tenant(days=1)
    async with bench_of(tenant, read=False) as bench:
        bench.fault(refuse={first_subscription(tenant)[0]: "SubscriptionNotFound"})
        (finding,) = await found(bench)
        assert finding.state == "unreadable"
        assert "only a pay-as-you-go subscription has invoices of its own" in (finding.cure or "")


@pytest.mark.parametrize("listed", ["alone", "beside_its_profile", "beside_its_account"])
async def test_a_subscription_that_is_billed_to_a_profile_is_not_compared_with_that_profiles_invoice(
    told: Callable[[], list[dict[str, Any]]], listed: str
) -> None:
    tenant = a_tenant()
    (scope,), profile = first_subscription(tenant), tenant.billing_profiles[0]
    beside = {
        "beside_its_profile": (profile,),
        "beside_its_account": (profile.split("/billingProfiles/")[0],),
    }
    async with bench_of(tenant, lambda _: (scope, *beside.get(listed, ()))) as bench:
        bill(bench, billed_to={scope: profile})
        finding = {one.scope: one for one in await found(bench)}[scope]
        assert (finding.state, finding.cause) == ("unreadable", f"billed to profile {profile.lower()}")
        assert finding.cure == {
            "alone": "to have it compared, add it to COST_SCOPES",
            "beside_its_profile": "none: that profile's bill is compared",
            "beside_its_account": "none: the bill of that profile's account is compared",
        }.get(listed)
        assert told() == []


async def test_scopes_that_are_not_billed_are_passed_over_without_a_request() -> None:
    tenant = a_tenant(days=1)
    async with bench_of(tenant, lambda tenant: (tenant.management_group,), read=False) as bench:
        assert await found(bench) == []
        assert bench.edge.made("api") == []


async def test_a_scope_whose_actual_cost_is_not_read_is_named() -> None:
    tenant = a_tenant(days=1)
    async with bench_of(tenant, read=False, COST_METRICS="AmortizedCost") as bench:
        (finding,) = await found(bench)
        assert finding.state == "missing"
        assert "reads no ActualCost" in (finding.cause or "")


async def test_a_link_to_another_host_gets_no_token_and_the_scope_is_unknown() -> None:
    tenant = a_tenant()
    async with bench_of(tenant, read=False) as bench:
        (scope,) = first_subscription(tenant)
        bench.fault(foreign_next_link=(scope,), billing=BillingFaults(page_size=1, credited={scope: "1"}))
        (finding,) = await found(bench)
        assert finding.state == "unknown"
        assert finding.cause == ("ForeignNextLink: the link leads to collector.invalid, not to 127.0.0.1")
        assert len(bench.edge.made("api")) == 1


async def test_the_timer_reconciles_the_last_closed_month(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant) as bench:
        bill(bench, off_by={first_subscription(tenant)[0]: "250"})
        await reconcile_timer(bench.engine)
        assert [(event["first"], event["last"]) for event in told()] == [("2026-05-01", "2026-05-31")]


@pytest.mark.parametrize(
    ("before", "state"),
    [
        pytest.param(lambda bench: bill(bench, today="2026-06-04"), "estimated", id="estimated"),
        pytest.param(
            lambda bench: bench.fault(throttle_rate=1, throttles_in_a_row=99, hint_seconds=900),
            "unknown",
            id="unknown",
        ),
        pytest.param(
            lambda bench: bill(bench, billed_in={first_subscription(bench.tenant)[0]: "CHF"}),
            "other_currency",
            id="other_currency",
        ),
    ],
)
async def test_a_month_that_could_not_be_compared_is_compared_when_the_timer_comes_again(
    told: Callable[[], list[dict[str, Any]]], before: Callable[[Laptop], None], state: str
) -> None:
    """GIVEN a May that had no bill on the 6th of June, or one that could not be compared
    WHEN the bill is there, and wrong, on the 6th of July
    THEN it is told and read again then, and on the 6th of August not once more.
    """
    tenant = a_tenant(days=61)
    async with bench_of(tenant) as bench:
        (scope,) = first_subscription(tenant)
        bench.clock.ahead = datetime(2026, 6, 6, 6, tzinfo=UTC) - datetime.now(UTC)
        before(bench)
        await reconcile_timer(bench.engine)
        assert told() == []
        assert {finding.state for finding in await found(bench)} == {state}

        bench.clock.ahead = datetime(2026, 7, 6, 6, tzinfo=UTC) - datetime.now(UTC)
        bill(bench, off_by={scope: "250"}, today="2026-07-06")
        asked = len(bench.edge.made("api get"))
        await reconcile_timer(bench.engine)
        assert [event["first"] for event in told()] == ["2026-05-01", "2026-06-01"]
        assert all(event["explained_by"] for event in told())
        assert len(bench.edge.made("api get")) - asked == 1

        bench.clock.ahead = datetime(2026, 8, 6, 6, tzinfo=UTC) - datetime.now(UTC)
        read = len(bench.edge.made("table query CostDays"))
        await reconcile_timer(bench.engine)
        assert len(told()) == len(await rereads(bench)) == 2
        # What was told is not explained again: that reads all scopes' days.
        assert len(bench.edge.made("table query CostDays")) - read == 3


async def test_days_that_were_missing_are_compared_when_the_timer_comes_again(
    told: Callable[[], list[dict[str, Any]]],
) -> None:
    tenant = a_tenant()
    async with bench_of(tenant, read=False) as bench:
        bill(bench, off_by={first_subscription(tenant)[0]: "250"})
        await bench.seed(days=20)
        await bench.drain(PAGES)
        await reconcile_timer(bench.engine)
        assert told() == []

        await read_all(bench)
        bench.clock.ahead += timedelta(days=31)
        await reconcile_timer(bench.engine)

        assert [event["first"] for event in told()] == ["2026-05-01"]


async def test_an_enrollments_balances_are_asked_for_month_by_month_and_one_keeps_no_other_back() -> None:
    """GIVEN a service that fails on one of three balances THEN the others are compared."""
    tenant = a_tenant(days=61)
    async with bench_of(tenant, enrollment, COST_MAX_ATTEMPTS="1") as bench:
        bench.clock.ahead = datetime(2026, 7, 20, tzinfo=UTC) - datetime.now(UTC)
        bench.edge.befall("api get", Fate.FAILS)
        months = lately_closed(date(2026, 7, 20))
        findings = await reconcile(bench.engine, months, Patience(bench.clock() + TIMER_PATIENCE))
        assert [(one.period, one.state) for one in findings] == [
            (months[0], "unknown"),
            (months[1], "closed"),
            (months[2], "closed"),
        ]


async def test_a_scope_of_which_a_row_cannot_be_read_keeps_no_other_from_being_compared() -> None:
    async with bench_of(a_tenant(), lambda tenant: tenant.subscription_scopes) as bench:
        bench.edge.befall("table query CostDays", Fate.FAILS)

        findings = {finding.state: finding for finding in await found(bench)}

        assert findings.keys() == {BillState.UNKNOWN, BillState.CLOSED}
        assert str(findings[BillState.UNKNOWN].cause).startswith("Busy")
