"""What changed between two times: on days that were settled and believed at the first of them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from shared.history.beliefs import OPEN, SETTLED, Amounts, Charged, beliefs
from shared.ledger.files import days_lying
from shared.ledger.published_day import Finding
from shared.normalise.exact import add_by_currency, minus, total
from shared.storage.blobs import Blobs
from shared.view import settled_at

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Moved:
    """An amount at both times, in one currency."""

    before: Decimal
    after: Decimal

    @property
    def change(self) -> Decimal:
        """By how much it moved."""
        return minus(self.after, self.before)


@dataclass(frozen=True, slots=True)
class MovedCharge:
    """What a subscription was charged for one service on the `days` (so many) on which that moved."""

    metric: str
    charged: Charged
    days: int
    amount: Moved


@dataclass(frozen=True, slots=True)
class MovedDay:
    """What a whole day cost in one currency."""

    metric: str
    day: date
    currency: str
    amount: Moved


@dataclass(slots=True)
class Changes:
    """All that moved, largest first, equal ones in a fixed order, and how many days could be compared.

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

    Amounts are exact and never added across currencies or metrics. A charge that moved on one day and moved back
    on another comes to nothing over its days, so it is only among `days`. Rows that a new grouping reshaped are a
    change where their amounts are.

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
    moved: dict[Charged, list[Moved]] = {}
    there = set(lying)
    async for believed in beliefs(place, metric, (lying[0], lying[-1]), times, changed_since=times[0]):
        if believed.day not in there:
            continue
        state = believed.state(times[0], settle)
        found.states[state] += 1
        found.findings += [(metric, believed.day, finding) for finding in believed.findings]
        if state == SETTLED and believed.amounts is not None:
            before, after = believed.amounts
            for charged, amount in _moved(before, after).items():
                moved.setdefault(charged, []).append(amount)
            found.days += _moved_days(metric, believed.day, before, after)
    for charged, amounts in moved.items():
        amount = Moved(total(one.before for one in amounts), total(one.after for one in amounts))
        if amount.change:
            found.charges.append(MovedCharge(metric, charged, len(amounts), amount))


def _moved(before: Amounts, after: Amounts) -> dict[Charged, Moved]:
    """Give what is not the same before and after."""
    pairs = {
        charged: Moved(before.get(charged, NOTHING), after.get(charged, NOTHING))
        for charged in before.keys() | after.keys()
    }
    return {charged: amount for charged, amount in pairs.items() if amount.change}


def _moved_days(metric: str, day: date, before: Amounts, after: Amounts) -> list[MovedDay]:
    had, has = _by_currency(before), _by_currency(after)
    amounts = {
        currency: Moved(had.get(currency, NOTHING), has.get(currency, NOTHING))
        for currency in had.keys() | has.keys()
    }
    return [MovedDay(metric, day, currency, amount) for currency, amount in amounts.items() if amount.change]


def _by_currency(amounts: Amounts) -> Mapping[str, Decimal]:
    return add_by_currency({charged.currency: amount} for charged, amount in amounts.items())


def _largest_charge(moved: MovedCharge) -> tuple[Decimal, str, str, str, bool, str]:
    charged = moved.charged
    named = charged.service is not None, charged.service or ""
    return (
        moved.amount.change.copy_abs().copy_negate(),
        moved.metric,
        charged.currency,
        charged.subscription,
        *named,
    )


def _largest_day(moved: MovedDay) -> tuple[Decimal, str, date, str]:
    return moved.amount.change.copy_abs().copy_negate(), moved.metric, moved.day, moved.currency
