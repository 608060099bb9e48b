"""Comparing bills with the ledger: pure, exact, one finding for each period and currency.

What is compared of the ledger is what the scope itself said of the period's days, shadowed rows included: a bill
knows nothing of who owns a cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum

from shared.days import Pointer, ScopeState
from shared.normalise.exact import add_by_currency, minus, plus, times
from shared.reconcile.bills import Bill, Billed
from shared.reconcile.periods import Period, stretches


class BillState(StrEnum):
    """How a period's bill and the ledger stand to each other.

    OPEN             the period is not over, or ended so lately that its costs may still change
    ESTIMATED        it is over, but there is no bill yet, or not of every profile, or a day of it never agreed with
                     its control totals
    CLOSED           bill and ledger agree
    MISMATCHED       they differ, by more than the tolerance and the floor
    OTHER_CURRENCY   the bill is in a currency that the scope's costs are not in
    MISSING          the ledger has no reading of some of the days
    UNREADABLE       this identity may not read the bills, there are none of this scope's own, or tax may be all
                     by which one is larger than the ledger
    UNKNOWN          nobody could tell: the service did not answer, or not as documented
    """

    OPEN = "open"
    ESTIMATED = "estimated"
    CLOSED = "closed"
    MISMATCHED = "mismatched"
    OTHER_CURRENCY = "other_currency"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNKNOWN = "unknown"


MOST_TAX = Decimal("0.3")
"""How much tax there may be on a bill, as a share of what it is on: above every value-added tax there is (27%)."""

GAPS = frozenset({BillState.MISMATCHED, BillState.OTHER_CURRENCY, BillState.MISSING, BillState.UNKNOWN})
"""The states that somebody has to look at."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A day that may explain a mismatch: why, how much of its cost is in question, and whose it is.

    `amount` is by how much the day changed where that is the reason, the day's cost otherwise; None where nothing
    is known of it. `subscriptions` are the largest shares of it, `kept_by` the other scopes under whose names the
    ledger keeps their rows.
    """

    day: date
    reason: str
    amount: Decimal | None
    subscriptions: tuple[tuple[str, Decimal], ...] = ()
    kept_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One scope, period and currency. Amounts are before tax; `billed` is None where there is no bill.

    `days` are those that stand in the way, each with its state in the manifest's words. `suspects` may explain a
    mismatch, and `partial` says what is missing of these; `reread` is the run that reads its days again.
    """

    scope: str
    period: Period
    state: BillState
    currency: str | None = None
    billed: Decimal | None = None
    ledger: Decimal | None = None
    documents: tuple[str, ...] = ()
    issued: date | None = None
    days: tuple[tuple[date, str], ...] = ()
    cause: str | None = None
    cure: str | None = None
    suspects: tuple[Suspect, ...] = ()
    partial: str | None = None
    reread: str | None = None

    @property
    def difference(self) -> Decimal | None:
        """The bill less the ledger, None where one of them is not known."""
        return None if self.billed is None or self.ledger is None else minus(self.billed, self.ledger)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still no mismatch: a share of the bill, and an absolute amount. A mismatch is above both."""

    tolerance: Decimal
    floor: Decimal

    def exceeded(self, billed: Decimal, ledger: Decimal) -> bool:
        """Whether bill and ledger differ by more than both bounds."""
        difference = abs(minus(billed, ledger))
        return difference > times(self.tolerance, abs(billed)) and difference > self.floor


@dataclass(frozen=True, slots=True)
class Said:
    """What the ledger holds of one scope, by day; a day without a pointer was never read."""

    scope: str
    pointers: Mapping[date, Pointer]

    def totals(self, period: Period) -> dict[str, Decimal]:
        """Add up what the scope said of a period, per currency."""
        readings = (self.pointers[day].reading for day in period.days if day in self.pointers)
        return add_by_currency(reading.totals for reading in readings if reading is not None)

    def missing(self, period: Period) -> tuple[tuple[date, str], ...]:
        """Name the days without any reading."""
        pointers = ((day, self.pointers.get(day)) for day in period.days)
        return tuple(
            (day, ScopeState.MISSING.value if pointer is None else pointer.state.value)
            for day, pointer in pointers
            if pointer is None or pointer.reading is None
        )

    def unproven(self, period: Period) -> tuple[tuple[date, str], ...]:
        """Name the days whose reading never agreed with its control totals."""
        readings = ((day, self.pointers[day].reading) for day in period.days if day in self.pointers)
        return tuple(
            (day, ScopeState.UNRECONCILED.value)
            for day, reading in readings
            if reading is not None and not reading.agreed
        )


def compare(month: Period, billed: Billed, said: Said, today: date, bounds: Bounds) -> list[Finding]:
    """Compare a scope's bills of a month with what it said.

    Every currency that was billed or that cost something has a finding, by itself. Without any bill the calendar
    month is looked at; with bills, the days of the month that are in none as well.
    """
    bills = billed.bills
    findings = [_billed(bill, bills, said, today, bounds) for bill in bills]
    for period in sorted({bill.period for bill in bills}) or [month]:
        about = [bill for bill in bills if bill.period.overlaps(period)]
        findings += _unbilled(period, about, said, today, bounds)
    if bills:
        findings += _left_over(month, billed, said, today, bounds)
    return findings


def _billed(bill: Bill, bills: Sequence[Bill], said: Said, today: date, bounds: Bounds) -> Finding:
    totals = said.totals(bill.period)
    costs = _above(totals, bounds)
    covered = {other.currency for other in bills if other.period.overlaps(bill.period)}
    # Where nothing cost anything, or all that did is on bills of its own, nothing cost nothing in this currency.
    elsewhere = bool(costs.keys() - covered) and bill.currency not in costs
    ledger = totals.get(bill.currency, Decimal(0))
    finding = Finding(
        scope=said.scope,
        period=bill.period,
        state=BillState.CLOSED,
        currency=bill.currency,
        billed=bill.amount,
        ledger=ledger,
        documents=bill.documents,
        issued=bill.issued,
    )
    early = _too_early(finding, said, today)
    if early is not None:
        return early
    if elsewhere and bounds.exceeded(bill.amount, ledger):
        return _in_another_currency(replace(finding, ledger=None), {bill.currency}, costs)
    if unproven := said.unproven(bill.period):
        cause = f"{len(unproven)} days never agreed with their control totals"
        return replace(finding, state=BillState.ESTIMATED, days=unproven, cause=cause)
    if bounds.exceeded(bill.amount, ledger):
        if bill.awaited:
            cause = f"there is no bill for it yet of {' and '.join(bill.awaited)}, which had one before"
            return replace(finding, state=BillState.ESTIMATED, cause=cause)
        if bill.with_tax and _may_be_tax(bill.amount, ledger, bounds):
            cause = "the bill says neither what it comes to before tax nor how much of it is tax"
            cure = "that may be the difference, it stands on the invoice: compare by hand"
            return replace(finding, state=BillState.UNREADABLE, cause=cause, cure=cure)
        return replace(finding, state=BillState.MISMATCHED)
    return finding


def _may_be_tax(billed: Decimal, ledger: Decimal, bounds: Bounds) -> bool:
    """Whether tax may be all by which a bill is larger than the ledger."""
    if not (0 < ledger < billed or billed < ledger < 0):
        return False
    most = plus(ledger, times(MOST_TAX, ledger))
    return abs(billed) <= abs(most) or not bounds.exceeded(billed, most)


def _unbilled(
    period: Period, bills: Sequence[Bill], said: Said, today: date, bounds: Bounds
) -> Iterator[Finding]:
    """Find what the scope said in currencies that no bill is in; nothing at all, if there is no bill at all."""
    covered = {bill.currency for bill in bills}
    charged = {bill.currency for bill in bills if bounds.exceeded(Decimal(0), bill.amount)}
    totals = said.totals(period)
    nothing: dict[str | None, Decimal] = {} if covered else {None: Decimal(0)}
    for currency, amount in ({**totals} or nothing).items():
        if currency in covered:
            continue
        finding = Finding(
            scope=said.scope, period=period, state=BillState.CLOSED, currency=currency, ledger=amount
        )
        early = _too_early(finding, said, today)
        if early is not None:
            yield early
        elif not bounds.exceeded(Decimal(0), amount):
            yield finding
        elif foreign := charged - (costs := _above(totals, bounds)).keys():
            yield _in_another_currency(finding, foreign, costs)
        else:
            yield replace(finding, state=BillState.ESTIMATED, cause="there is no bill for it yet")


def _above(totals: Mapping[str, Decimal], bounds: Bounds) -> dict[str, Decimal]:
    """Give the currencies that costs are in: a row without cost, or of next to none, makes none of them."""
    return {currency: amount for currency, amount in totals.items() if bounds.exceeded(Decimal(0), amount)}


def _left_over(month: Period, billed: Billed, said: Said, today: date, bounds: Bounds) -> Iterator[Finding]:
    """Find what the days of a month cost that are in no bill's period, per currency.

    A bill over them may be still to come, as that of a period which ends in the next month.
    """
    for currency in said.totals(month):
        own = {bill.period for bill in billed.bills if bill.currency == currency}
        others = {bill.period for bill in billed.bills if not any(map(bill.period.overlaps, own))}
        covered = own | others | billed.elsewhere.get(currency, frozenset())
        for stretch in stretches(day for day in month.days if not any(day in one for one in covered)):
            amount = said.totals(stretch).get(currency, Decimal(0))
            if bounds.exceeded(Decimal(0), amount):
                finding = Finding(
                    scope=said.scope,
                    period=stretch,
                    state=BillState.ESTIMATED,
                    currency=currency,
                    ledger=amount,
                    cause="there is no bill over these days yet",
                )
                yield (
                    replace(finding, state=BillState.OPEN, cause=None) if stretch.is_open(today) else finding
                )


def _too_early(finding: Finding, said: Said, today: date) -> Finding | None:
    """Give the finding if there is nothing to compare yet: its costs still change, or are not all there."""
    if finding.period.is_open(today):
        return replace(finding, state=BillState.OPEN)
    missing = said.missing(finding.period)
    if not missing:
        return None
    first, last = missing[0][0], missing[-1][0]
    return replace(
        finding,
        state=BillState.MISSING,
        days=missing,
        cause=f"the ledger has no reading of {len(missing)} days from {first} to {last}",
        cure=f"`backfill --from {first} --to {last} --scope {said.scope}`",
    )


def _in_another_currency(finding: Finding, billed: AbstractSet[str], costs: Mapping[str, Decimal]) -> Finding:
    return replace(
        finding,
        state=BillState.OTHER_CURRENCY,
        cause=f"billed in {', '.join(sorted(billed))}, the scope's costs are in {', '.join(sorted(costs))}",
        cure="nothing is converted: compare by the exchange rate that stands on the invoice",
    )
