"""How a bill and the ledger stand to each other: each state, and the edges of tolerance and floor."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.days import Attempt, Pointer, Reading, ScopeState
from shared.reconcile.bills import Bill, Billed
from shared.reconcile.compare import GAPS, BillState, Bounds, Finding, Said, compare
from shared.reconcile.periods import Period

SCOPE = "/subscriptions/92cdc4dd-8520-5ee9-8904-10bdce1cdf86"
PERIOD = Period(date(2026, 5, 1), date(2026, 5, 3))
LATER = date(2026, 6, 20)
NOW = datetime(2026, 6, 8, tzinfo=UTC)
BOUNDS = Bounds(Decimal("0.005"), Decimal("0.01"))

AMOUNTS = st.decimals(-(10**9), 10**9, places=4)
EVEN = {"USD": "10"}


def pointer(
    day: date, totals: dict[str, str] | None, *, agreed: bool = True, failed: bool = False
) -> Pointer:
    amounts = {currency: Decimal(amount) for currency, amount in (totals or {}).items()}
    reading = Reading(
        "run", "s", "g", "0", "shape", 1, amounts, amounts, amounts, "query", agreed=agreed, read_at=NOW
    )
    attempt = Attempt("run", ScopeState.FAILED, "RBACAccessDenied", NOW) if failed else None
    return Pointer("ActualCost", day, SCOPE, "key", None if totals is None else reading, NOW, attempt)


def said(*totals: dict[str, str] | None, agreed: bool = True, failed: bool = False) -> Said:
    """The days of the period in their order; a day that is not given has no pointer."""
    days = zip(PERIOD.days, totals, strict=False)
    return Said(SCOPE, {day: pointer(day, amounts, agreed=agreed, failed=failed) for day, amounts in days})


def bill(amount: str, currency: str = "USD", period: Period = PERIOD) -> Bill:
    return Bill(period, currency, Decimal(amount), ("G1",), date(2026, 6, 5))


def found(
    bills: list[Bill], scope: Said, today: date = LATER, bounds: Bounds = BOUNDS, **elsewhere: Period
) -> list[Finding]:
    others = {currency: frozenset([period]) for currency, period in elsewhere.items()}
    return compare(PERIOD, Billed(tuple(bills), others), scope, today, bounds)


def states(findings: list[Finding]) -> list[tuple[str | None, str]]:
    return [(finding.currency, finding.state.value) for finding in findings]


def test_a_bill_that_agrees_is_closed_with_both_totals() -> None:
    (finding,) = found([bill("30")], said(EVEN, EVEN, EVEN))
    assert (finding.state, finding.billed, finding.ledger) == (BillState.CLOSED, Decimal(30), Decimal(30))
    assert finding.difference == 0


def test_a_bill_that_differs_is_mismatched_by_the_exact_difference() -> None:
    cents = {"USD": "10.000000000000000001"}
    (finding,) = found([bill("31")], said(cents, cents, cents))
    assert (finding.state, finding.difference) == (BillState.MISMATCHED, Decimal("0.999999999999999997"))


@given(
    billed=AMOUNTS,
    difference=AMOUNTS,
    tolerance=st.decimals(0, 1, places=6),
    floor=st.decimals(0, 100, places=4),
)
def test_a_mismatch_is_above_both_the_tolerance_and_the_floor(
    billed: Decimal, difference: Decimal, tolerance: Decimal, floor: Decimal
) -> None:
    exceeded = Bounds(tolerance, floor).exceeded(billed, billed + difference)
    assert exceeded == (abs(difference) > abs(billed) * tolerance and abs(difference) > floor)


@given(billed=AMOUNTS, tolerance=st.decimals(0, 1, places=6), floor=st.decimals(0, 100, places=4))
def test_exactly_at_the_edge_is_no_mismatch_and_the_last_digit_beyond_it_is_one(
    billed: Decimal, tolerance: Decimal, floor: Decimal
) -> None:
    bounds = Bounds(tolerance, floor)
    edge = max(abs(billed) * tolerance, floor)
    digit = Decimal("1e-18")
    for sign in (1, -1):
        assert not bounds.exceeded(billed, billed + sign * edge)
        assert bounds.exceeded(billed, billed + sign * (edge + digit))


@pytest.mark.parametrize(
    ("today", "state"),
    [
        pytest.param(date(2026, 5, 3), BillState.OPEN, id="not_over"),
        pytest.param(date(2026, 5, 8), BillState.OPEN, id="five_days_after"),
        pytest.param(date(2026, 5, 9), BillState.MISMATCHED, id="six_days_after"),
    ],
)
def test_a_period_is_open_until_five_days_after_its_end(today: date, state: BillState) -> None:
    scope = said(EVEN, EVEN, EVEN)
    assert found([bill("99")], scope, today)[0].state is state
    assert found([], scope, date(2026, 5, 8))[0].state is BillState.OPEN


def test_without_a_bill_a_period_that_is_over_is_estimated() -> None:
    findings = found([], said({"USD": "10", "EUR": "5"}, EVEN, EVEN))
    assert states(findings) == [("EUR", "estimated"), ("USD", "estimated")]
    assert [finding.ledger for finding in findings] == [Decimal(5), Decimal(30)]
    assert findings[0].cause == "there is no bill for it yet"


def test_where_nothing_cost_anything_no_bill_is_waited_for() -> None:
    assert states(found([], said({}, {}, {}))) == [(None, "closed")]
    assert states(found([], said({"USD": "0.01"}, {}, {}))) == [("USD", "closed")]
    assert states(found([bill("0", "EUR")], said({}, {}, {}))) == [("EUR", "closed")]
    assert states(found([bill("7", "EUR")], said({}, {}, {}))) == [("EUR", "mismatched")]


def test_days_without_a_reading_are_named_with_their_state_and_nothing_is_alleged() -> None:
    scope = said(EVEN, None, failed=True)
    (finding,) = found([bill("30")], scope)
    assert finding.state is BillState.MISSING
    assert finding.days == ((date(2026, 5, 2), "failed"), (date(2026, 5, 3), "missing"))
    assert finding.cure == f"`backfill --from 2026-05-02 --to 2026-05-03 --scope {SCOPE}`"
    assert states(found([], said())) == [(None, "missing")]


def test_a_day_that_never_agreed_leaves_the_period_estimated() -> None:
    (finding,) = found([bill("99")], said(EVEN, EVEN, EVEN, agreed=False))
    assert finding.state is BillState.ESTIMATED
    assert len(finding.days) == 3


def test_a_bill_of_which_a_profile_is_awaited_is_estimated_unless_it_agrees_as_it_is() -> None:
    for amount, state in (("20", "estimated"), ("30", "closed")):
        (finding,) = found([replace(bill(amount), awaited=("/b",))], said(EVEN, EVEN, EVEN))
        assert (finding.state, finding.billed) == (state, Decimal(amount))
        assert ("/b" in (finding.cause or "")) == (state == "estimated")


@pytest.mark.parametrize(
    ("billed", "ledger", "state"),
    [
        ("119", "100", BillState.UNREADABLE),
        ("100", "119", BillState.MISMATCHED),
        ("100.01", "100", BillState.CLOSED),
        ("-119", "-100", BillState.UNREADABLE),
        ("119", "-100", BillState.MISMATCHED),
        ("119", "0", BillState.MISMATCHED),
        ("130.5", "100", BillState.UNREADABLE),
        ("140", "100", BillState.MISMATCHED),
        ("-140", "-100", BillState.MISMATCHED),
    ],
)
def test_a_bill_with_tax_is_a_mismatch_only_where_tax_cannot_be_the_difference(
    billed: str, ledger: str, state: BillState
) -> None:
    untold = replace(bill(billed), with_tax=True)

    (finding,) = found([untold], said({"USD": ledger}, {}, {}))

    assert finding.state is state
    assert (finding.cure is not None) == (state is BillState.UNREADABLE)


def test_an_older_reading_that_agreed_is_compared_though_the_last_attempt_failed() -> None:
    assert states(found([bill("99")], said(EVEN, EVEN, EVEN, failed=True))) == [("USD", "mismatched")]


def test_a_bill_in_another_currency_is_a_state_of_its_own_on_both_sides() -> None:
    findings = found([bill("30", "EUR")], said(EVEN, EVEN, EVEN))
    assert states(findings) == [("EUR", "other_currency"), ("USD", "other_currency")]
    assert findings[0].ledger is None
    assert findings[1].billed is None
    assert findings[0].cause == "billed in EUR, the scope's costs are in USD"


@pytest.mark.parametrize("crumb", ["0", "0.001", "-0.009"])
def test_a_crumb_in_the_bills_currency_does_not_make_the_costs_be_in_it(crumb: str) -> None:
    scope = said({"EUR": "10", "USD": crumb}, {"EUR": "10"}, {"EUR": "10"})
    findings = found([bill("30")], scope)
    assert states(findings) == [("USD", "other_currency"), ("EUR", "other_currency")]
    assert findings[0].cause == "billed in USD, the scope's costs are in EUR"
    assert findings[0].ledger is None
    # A bill over no more than that agrees with it, and where nothing at all is in its currency as well.
    for costs in (scope, said({"EUR": "10"}, {"EUR": "10"}, {"EUR": "10"})):
        assert states(found([bill("0.001")], costs)) == [("USD", "closed"), ("EUR", "estimated")]


def test_where_all_costs_are_on_bills_of_their_own_another_bill_has_nothing_behind_it() -> None:
    for crumb in ({}, {"USD": "0.001"}):
        findings = found([bill("30"), bill("30", "EUR")], said({"EUR": "30", **crumb}, {}, {}))
        assert states(findings) == [("USD", "mismatched"), ("EUR", "closed")]


def test_two_currencies_are_compared_each_by_itself_and_never_added() -> None:
    both = {"USD": "10", "EUR": "5"}
    findings = found([bill("30"), bill("20", "EUR")], said(both, both, both))
    assert states(findings) == [("USD", "closed"), ("EUR", "mismatched")]
    assert [finding.ledger for finding in findings] == [Decimal(30), Decimal(15)]


def test_a_second_currency_without_a_bill_of_its_own_is_estimated() -> None:
    findings = found([bill("30")], said({"USD": "10", "EUR": "5"}, EVEN, EVEN))
    assert states(findings) == [("USD", "closed"), ("EUR", "estimated")]


def test_the_days_compared_are_those_of_the_bill_and_those_that_are_left_over_are_estimated() -> None:
    first, rest = Period(PERIOD.first, date(2026, 5, 2)), Period(PERIOD.last, PERIOD.last)
    findings = found([bill("20", period=first)], said(EVEN, EVEN, EVEN))
    assert [(one.period, one.state, one.ledger) for one in findings] == [
        (first, BillState.CLOSED, Decimal(20)),
        (rest, BillState.ESTIMATED, Decimal(10)),
    ]
    assert findings[1].cause == "there is no bill over these days yet"
    # Where nothing cost anything, and where a bill of another month is over these days, nothing is awaited.
    assert len(found([bill("20", period=first)], said(EVEN, EVEN, {"USD": "0.01"}))) == 1
    after = Period(PERIOD.last, date(2026, 6, 2))
    assert len(found([bill("20", period=first)], said(EVEN, EVEN, EVEN), USD=after)) == 1
    assert len(found([bill("20", period=first)], said(EVEN, EVEN, EVEN), EUR=after)) == 2
    opened = found([bill("20", period=first)], said(EVEN, EVEN, EVEN), date(2026, 5, 8))
    assert [one.state for one in opened] == [BillState.CLOSED, BillState.OPEN]


def test_days_left_over_are_told_for_each_currency_and_each_stretch_of_them() -> None:
    both = {"USD": "10", "EUR": "5"}
    middle = Period(date(2026, 5, 2), date(2026, 5, 2))
    findings = found([bill("30"), bill("5", "EUR", middle)], said(both, both, both))
    assert [(one.currency, one.period, one.state.value) for one in findings] == [
        ("USD", PERIOD, "closed"),
        ("EUR", middle, "closed"),
        ("EUR", Period(date(2026, 5, 1), date(2026, 5, 1)), "estimated"),
        ("EUR", Period(date(2026, 5, 3), date(2026, 5, 3)), "estimated"),
    ]
    # Of a currency without any bill the days of others' bills are named with these.
    alone = found([bill("10", period=middle)], said(both, both, both))
    assert [(one.currency, one.period.first.day, one.state.value) for one in alone] == [
        ("USD", 2, "closed"),
        ("EUR", 2, "estimated"),
        ("EUR", 1, "estimated"),
        ("EUR", 3, "estimated"),
        ("USD", 1, "estimated"),
        ("USD", 3, "estimated"),
    ]


DAYS = st.integers(0, 2)


@given(
    st.lists(st.tuples(DAYS, DAYS, st.sampled_from(["USD", "EUR"])), max_size=3),
)
def test_every_day_that_cost_something_is_in_one_finding_of_its_currency(
    drawn: list[tuple[int, int, str]],
) -> None:
    periods = {(Period(*sorted((PERIOD.days[a], PERIOD.days[b]))), currency) for a, b, currency in drawn}
    apart = [
        (period, currency)
        for period, currency in periods
        if not any(
            other != period and money == currency and other.overlaps(period) for other, money in periods
        )
    ]
    both = {"USD": "10", "EUR": "5"}
    findings = found([bill("1", currency, period) for period, currency in apart], said(both, both, both))
    for currency in both:
        days = [day for one in findings if one.currency == currency for day in one.period.days]
        assert sorted(days) == list(PERIOD.days)


def test_what_somebody_must_look_at_is_told_apart() -> None:
    assert {state.value for state in GAPS} == {"mismatched", "other_currency", "missing", "unknown"}
