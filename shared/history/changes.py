"""What changed between two times: on days that were settled and believed at the first of them."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from shared.history.beliefs import OPEN, SETTLED, Amounts, Charged, beliefs
from shared.ledger.files import days_lying
from shared.ledger.published_day import Finding
from shared.normalise.exact import minus, total
from shared.storage.blobs import Blobs
from shared.view import settled_at

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Moved:
    """An amount at both times, in one currency.

    `gross` adds up its parts' movements, whichever their sign: what moved up in one part and down in another comes
    to no change and is no nothing.
    """

    before: Decimal
    after: Decimal
    gross: Decimal

    @property
    def change(self) -> Decimal:
        """By how much it moved."""
        return minus(self.after, self.before)

    @classmethod
    def between(cls, before: Decimal, after: Decimal) -> "Moved":
        """Give an amount that has no parts."""
        return cls(before, after, minus(after, before).copy_abs())

    @classmethod
    def of(cls, parts: Collection["Moved"]) -> "Moved":
        """Add up parts."""
        return cls(
            total(one.before for one in parts),
            total(one.after for one in parts),
            total(one.gross for one in parts),
        )


@dataclass(frozen=True, slots=True)
class MovedCharge:
    """What a subscription was charged for one service on the `days` (so many) on which that moved: its parts."""

    metric: str
    charged: Charged
    days: int
    amount: Moved


@dataclass(frozen=True, slots=True)
class MovedDay:
    """What a whole day cost in one currency; the parts of that are its charges."""

    metric: str
    day: date
    currency: str
    amount: Moved


@dataclass(slots=True)
class Changes:
    """All that moved, the largest first, equal ones in a fixed order, and how many days could be compared.

    Of those without a change, or with the same, the one comes first of which more moved.
    `states` counts the published days by how they stood at the earlier time; only those `settled` were compared.
    `findings` are of days whose files are not what their manifest says: of these nothing is known.
    """

    charges: list[MovedCharge] = field(default_factory=list)
    days: list[MovedDay] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, date, Finding]] = field(default_factory=list)


async def changes(
    place: tuple[Blobs, str], metrics: Iterable[str], times: tuple[datetime, datetime], settle: timedelta
) -> Changes:
    """Compare every published day as it was believed at two times.

    Amounts are exact and never added across currencies or metrics. What moved on one day and back on another, or
    from one charge to another, is among them with a change of 0. Rows that a new grouping reshaped are a change
    where their amounts are.

    A day whose manifest was published a day or more before the earlier time costs one call: `data_as_of` would not
    do, for it is the earliest of the readings, and one scope's may have brought a change that another's did not.

    Args:
        place: the storage's blobs and the container of the published files.
        metrics: ActualCost, AmortizedCost or both.
        times: the earlier and the later time.
        settle: how long after its end a day settles.

    Raises:
        StorageError: the storage cannot be read.
    """
    found = Changes()
    for metric in metrics:
        lying = await days_lying(*place, metric)
        settled = [day for day in lying if settled_at(day, settle) <= times[0]]
        found.states[OPEN] += len(lying) - len(settled)
        if settled:
            await _compare(place, metric, settled, times, settle, found)
    found.charges.sort(key=_largest_charge)
    found.days.sort(key=_largest_day)
    return found


async def _compare(
    place: tuple[Blobs, str],
    metric: str,
    lying: list[date],
    times: tuple[datetime, datetime],
    settle: timedelta,
    found: Changes,
) -> None:
    moved = MovedCharges(metric)
    there = set(lying)
    async for believed in beliefs(place, metric, (lying[0], lying[-1]), times, changed_since=times[0]):
        if believed.day not in there:
            continue
        state = believed.state(times[0], settle)
        found.states[state] += 1
        found.findings += [(metric, believed.day, finding) for finding in believed.findings]
        if state == SETTLED and believed.amounts is not None:
            before, after = believed.amounts
            found.days += moved.on(believed.day, before, after)
    found.charges += moved.charges()


class MovedCharges:
    """The charges of one metric that moved, put together day by day."""

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._moved: dict[Charged, list[Moved]] = {}

    def on(self, day: date, before: Amounts, after: Amounts) -> list[MovedDay]:
        """Compare a day's amounts, and give what the day cost in each currency in which anything moved."""
        pairs = {
            charged: Moved.between(before.get(charged, NOTHING), after.get(charged, NOTHING))
            for charged in before.keys() | after.keys()
        }
        for charged, amount in pairs.items():
            if amount.change:
                self._moved.setdefault(charged, []).append(amount)
        currencies: dict[str, list[Moved]] = {}
        for charged, amount in pairs.items():
            currencies.setdefault(charged.currency, []).append(amount)
        days = {currency: Moved.of(parts) for currency, parts in currencies.items()}
        return [
            MovedDay(self._metric, day, currency, amount) for currency, amount in days.items() if amount.gross
        ]

    def charges(self) -> list[MovedCharge]:
        """Give each charge that moved, over all its days."""
        return [
            MovedCharge(self._metric, charged, len(parts), Moved.of(parts))
            for charged, parts in self._moved.items()
        ]


def _largest_charge(moved: MovedCharge) -> tuple[Decimal, Decimal, str, str, str, bool, str]:
    charged = moved.charged
    named = charged.service is not None, charged.service or ""
    return (
        *_largest(moved.amount),
        moved.metric,
        charged.currency,
        charged.subscription,
        *named,
    )


def _largest_day(moved: MovedDay) -> tuple[Decimal, Decimal, str, date, str]:
    return *_largest(moved.amount), moved.metric, moved.day, moved.currency


def _largest(amount: Moved) -> tuple[Decimal, Decimal]:
    return amount.change.copy_abs().copy_negate(), amount.gross.copy_negate()
