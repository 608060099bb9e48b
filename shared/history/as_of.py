"""The ledger as of a time: each day's totals as they were believed then."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from shared.history.beliefs import OPEN, SETTLED, Amounts, beliefs
from shared.ledger.published_day import Finding
from shared.normalise.exact import add_by_currency
from shared.storage.blobs import Blobs
from shared.view import settled_at

Totals = Mapping[str, Decimal]
"""Amounts by currency, exact: two currencies are never added."""


@dataclass(frozen=True, slots=True)
class DayAsOf:
    """One day as it was believed.

    `state` is `settled`, `open`, `unread` or `unreadable`; only a settled day has totals, which are empty where it
    cost nothing. `subscriptions` adds up to `totals`.
    """

    metric: str
    day: date
    state: str
    subscriptions: Mapping[str, Totals] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def totals(self) -> Totals | None:
        """The day's total, None where nothing can be said of it."""
        return add_by_currency(self.subscriptions.values()) if self.state == SETTLED else None


async def as_of(
    place: tuple[Blobs, str], metric: str, days: tuple[date, date], at: datetime, settle: timedelta
) -> AsyncIterator[DayAsOf]:
    """Answer for every day of a metric, in order, what was believed of it at a time.

    Args:
        place: the storage's blobs and the container of the published files.
        metric: ActualCost or AmortizedCost.
        days: the first and the last day, both included.
        at: the time. A day that was not settled then is `open` and costs no call, one of which nothing was known
            is `unread`, and one whose files are not what their manifest says is `unreadable`, with findings.
        settle: how long after its end a day settles.

    Raises:
        StorageError: the storage cannot be read.
    """
    asked = [date.fromordinal(number) for number in range(days[0].toordinal(), days[1].toordinal() + 1)]
    settled = [day for day in asked if settled_at(day, settle) <= at]
    if settled:
        async for believed in beliefs(place, metric, (settled[0], settled[-1]), (at,)):
            state = believed.state(at, settle)
            said = by_subscription(believed.amounts[0]) if state == SETTLED and believed.amounts else {}
            yield DayAsOf(metric, believed.day, state, said, believed.findings)
    for day in asked[len(settled) :]:
        yield DayAsOf(metric, day, OPEN)


def by_subscription(amounts: Amounts) -> dict[str, Totals]:
    """Add up what each subscription was charged, in the order of their ids."""
    parts: dict[str, list[Totals]] = {}
    for charged, amount in amounts.items():
        parts.setdefault(charged.subscription, []).append({charged.currency: amount})
    return {subscription: add_by_currency(parts[subscription]) for subscription in sorted(parts)}


def over_days(days: Iterable[DayAsOf]) -> dict[str, Totals]:
    """Add up what each subscription was charged on the days that were settled."""
    parts: dict[str, list[Totals]] = {}
    for day in days:
        for subscription, totals in day.subscriptions.items():
            parts.setdefault(subscription, []).append(totals)
    return {subscription: add_by_currency(parts[subscription]) for subscription in sorted(parts)}
