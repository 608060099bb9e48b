"""Bills: what the documents of a scope come to, per billing period and currency, before tax."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from shared.normalise.exact import total
from shared.reconcile.documents import Document
from shared.reconcile.periods import Period, month_before, month_of

_STILL_TO_COME = timedelta(days=45)
"""How long after a day the bill over the period around it may still come: a month, and two weeks to issue it. A
profile's bill is waited for as long after its period's end: it comes sooner, but the timer comes once a month."""


class OverlappingPeriodsError(Exception):
    """Two bills are about some of the same days, so nobody can tell which of these days' cost is in which."""


@dataclass(frozen=True, slots=True)
class Bill:
    """All that was billed for a period in one currency, before tax; `issued` is the latest document's day.

    Of a bill `with_tax`, some document does not say how much of it is tax. `awaited` are the billing profiles whose
    bill over the period is still to come.
    """

    period: Period
    currency: str
    amount: Decimal
    documents: tuple[str, ...]
    issued: date | None
    awaited: tuple[str, ...] = ()
    with_tax: bool = False


@dataclass(frozen=True, slots=True)
class Billed:
    """The bills of the periods that end in a month, in their order.

    `elsewhere` are the periods that end in other months, by currency: their bills are compared there.
    """

    bills: tuple[Bill, ...] = ()
    elsewhere: Mapping[str, frozenset[Period]] = field(default_factory=dict)


def bills(documents: Iterable[Document], month: Period, today: date) -> Billed:
    """Add up a scope's documents per currency and period, for the periods that end in a month, in their order.

    One within another's period is added to it, whichever month that ends in. What was billed on its day alone (a
    purchase) waits for the bill over the days around it as long as that may still come.

    Args:
        documents: all that the scope has, of the months around as well.
        month: the month in which the periods end.
        today: the day on which this is asked.

    Raises:
        UnclearCreditError: nobody can tell whether a credit note of these periods counts.
        OverlappingPeriodsError: one of these periods shares some days with another of its currency, and neither
            holds the other.
    """
    by_currency: dict[str, list[Document]] = {}
    for document in documents:
        by_currency.setdefault(document.currency, []).append(document)
    found = [
        _bill(period, currency, some, today)
        for currency, some in by_currency.items()
        for period in _ending_in(month, currency, some)
        if not _is_part_of_another(period, today)
    ]
    elsewhere = {
        currency: frozenset(one.period for one in some if not month.first <= one.period.last <= month.last)
        for currency, some in by_currency.items()
    }
    return Billed(tuple(sorted(found, key=lambda bill: (bill.period, bill.currency))), elsewhere)


def _ending_in(month: Period, currency: str, documents: Sequence[Document]) -> list[Period]:
    periods = {document.period for document in documents}
    widest = [one for one in periods if not any(other.contains(one) for other in periods - {one})]
    ending = [one for one in widest if month.first <= one.last <= month.last]
    for one in ending:
        for other in widest:
            if one != other and one.overlaps(other):
                first, second = sorted((one, other))
                raise OverlappingPeriodsError(f"there are bills in {currency} over {first} and over {second}")
    return ending


def _is_part_of_another(period: Period, today: date) -> bool:
    """Whether a bill over one day belongs to a period whose own bill is still to come."""
    return _is_a_day(period) and today <= period.last + _STILL_TO_COME


def _bill(period: Period, currency: str, of_currency: Sequence[Document], today: date) -> Bill:
    documents = [one for one in of_currency if period.contains(one.period)]
    for document in documents:
        if document.unclear is not None:
            raise document.unclear
    return Bill(
        period=period,
        currency=currency,
        amount=total(document.amount for document in documents),
        documents=tuple(sorted(document.name for document in documents)),
        issued=max((document.issued for document in documents if document.issued is not None), default=None),
        with_tax=any(document.with_tax for document in documents),
        awaited=_awaited(period, of_currency) if today <= period.last + _STILL_TO_COME else (),
    )


def _awaited(period: Period, documents: Sequence[Document]) -> tuple[str, ...]:
    """Name the profiles that billed the month before in this currency, and not this period.

    How far back the documents reach hangs on which other months are compared; what is awaited must not.
    """
    earlier = month_before(month_of(period.first))
    before = {one.profile for one in documents if one.period.overlaps(earlier) and not _is_a_day(one.period)}
    billed = {one.profile for one in documents if one.period == period}
    return tuple(sorted(profile for profile in before - billed if profile is not None))


def _is_a_day(period: Period) -> bool:
    return period.first == period.last
