"""Months and billing periods: which month may be compared, and which days an invoice is about.

A billing period belongs to the month in which it ends: that of a pay-as-you-go subscription begins on the day of
the month on which it signed up, so every invoice is of exactly one month.
"""

import re
from calendar import monthrange
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from shared.plan.windows import MONTHS_KEPT

CHANGES_FOR = timedelta(days=5)
"""How long after its end the provider may still change a period's costs."""

_MONTH = re.compile(r"(\d{4})-(\d{2})", re.ASCII)
_ONE_DAY = timedelta(days=1)
_MONTHS_OF_A_YEAR = 12


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """The days from `first` to `last`, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"{self.first} to {self.last} is no period")

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of the period, in order."""
        return tuple(self.first + n * _ONE_DAY for n in range((self.last - self.first).days + 1))

    def contains(self, other: "Period") -> bool:
        """Whether all days of `other` are days of this period."""
        return self.first <= other.first and other.last <= self.last

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last

    def overlaps(self, other: "Period") -> bool:
        """Whether any day is one of both periods."""
        return self.first <= other.last and other.first <= self.last

    def is_open(self, today: date) -> bool:
        """Whether the period's costs may still change: it is not over, or ended up to five days ago."""
        return today <= self.last + CHANGES_FOR

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


def stretches(days: Iterable[date]) -> list[Period]:
    """Put days, given in their order, together to periods without a gap."""
    found: list[Period] = []
    for day in days:
        if found and found[-1].last + _ONE_DAY == day:
            found[-1] = Period(found[-1].first, day)
        else:
            found.append(Period(day, day))
    return found


def month_of(day: date) -> Period:
    """Give the calendar month that holds a day."""
    return Period(day.replace(day=1), day.replace(day=monthrange(day.year, day.month)[1]))


def month_before(month: Period) -> Period:
    """Give the month before a month."""
    return month_of(month.first - _ONE_DAY)


def last_closed(today: date) -> Period:
    """Give the latest month whose costs the provider changes no more."""
    month = month_before(month_of(today))
    return month_before(month) if month.is_open(today) else month


def lately_closed(today: date) -> list[Period]:
    """Give the months that the timer compares, in their order: the last three whose costs change no more."""
    last = last_closed(today)
    return [month_before(month_before(last)), month_before(last), last]


def parse_month(text: str, today: date) -> Period:
    """Read a month written as YYYY-MM, one of the last 37 with the current one.

    Raises:
        ValueError: it is written in another way, no month of the calendar, in the future or too long ago; the
            message says which months are allowed.
    """
    allowed = f"give a month from {_written(today, MONTHS_KEPT - 1)} to {_written(today, 0)}, as YYYY-MM"
    found = _MONTH.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no month: {allowed}")
    year, number = int(found[1]), int(found[2])
    if not (year and 1 <= number <= _MONTHS_OF_A_YEAR):
        raise ValueError(f"{text} is no month of the calendar: {allowed}")
    month = month_of(date(year, number, 1))
    if month.first > today:
        raise ValueError(f"{text} is in the future: {allowed}")
    if number_of(today) - number_of(month.first) >= MONTHS_KEPT:
        raise ValueError(f"{text} is too long ago: the service keeps {MONTHS_KEPT} months, {allowed}")
    return month


def number_of(day: date) -> int:
    """Number the months, so that they can be counted."""
    return day.year * _MONTHS_OF_A_YEAR + day.month - 1


def _written(today: date, before: int) -> str:
    year, month = divmod(number_of(today) - before, _MONTHS_OF_A_YEAR)
    return f"{year:04d}-{month + 1:02d}"
