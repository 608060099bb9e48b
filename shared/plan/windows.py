"""Windows: the inclusive ranges of days that one slice reads.

A window lies inside one calendar month because the quota is counted per month of data queried, and the
service silently cuts daily ranges of more than 31 days.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date, timedelta

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ONE_DAY = timedelta(days=1)
_FIRST_DAY = date(2010, 1, 1)
"""Nobody was charged for Azure before."""

MONTHS_KEPT = 37
"""How far back the service answers: a query over more is a 400."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """The days from `first` to `last`, both included, of one calendar month."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first or self.last > _month_end(self.first):
            raise ValueError(f"{self.first} to {self.last} is no range of days inside one calendar month")

    @property
    def days(self) -> tuple[date, ...]:
        """Every day of the window, in order; 1 to 31."""
        return tuple(self.first + n * _ONE_DAY for n in range((self.last - self.first).days + 1))


def windows(first: date, last: date, longest: int) -> list[Window]:
    """Split the days from `first` to `last`, both included, into windows of at most `longest` days, in order.

    Every day is in exactly one window. Windows are cut from the start of each month on.

    Raises:
        ValueError: `last` is before `first`, or `longest` is below one.
    """
    if last < first:
        raise ValueError(f"the last day, {last}, is before the first, {first}")
    if longest < 1:
        raise ValueError("a window holds at least one day")
    found: list[Window] = []
    while not found or found[-1].last < last:
        start = found[-1].last + _ONE_DAY if found else first
        # In day numbers, so that neither a huge `longest` nor the calendar's last day runs out of dates.
        end = min(start.toordinal() + longest - 1, _month_end(start).toordinal(), last.toordinal())
        found.append(Window(start, date.fromordinal(end)))
    return found


def lookback(today: date, days: int) -> tuple[date, date]:
    """Give the first and last of the days that the timer re-reads: `days` of them, `today` included.

    With the default of 37 the whole month before is among them until the 5th of a month, which is how long
    the provider may change a closed month.

    Raises:
        ValueError: `days` is below one.
    """
    if days < 1:
        raise ValueError("a look-back holds at least today")
    return today - (days - 1) * _ONE_DAY, today


def check_range(first: date, last: date, today: date) -> None:
    """Make sure that a range of days can be asked for; `today` (UTC) is the last that there is.

    Raises:
        ValueError: it is reversed, in the future or before Azure; the message says what is allowed.
    """
    if last < first:
        raise ValueError(f"the last day, {last}, is before the first, {first}: give the earlier day first")
    if last > today:
        raise ValueError(
            f"{last} is in the future: the last day that can be asked for is today, {today} (UTC)"
        )
    if first < _FIRST_DAY:
        raise ValueError(
            f"{first} is before any charge of Azure: the first day that can be asked for is {_FIRST_DAY}"
        )


def check_kept(first: date, today: date) -> None:
    """Make sure that the service still has the days from `first` on.

    Raises:
        ValueError: it has forgotten them; the message says what it keeps.
    """
    earliest = first_kept(today)
    if first < earliest:
        raise ValueError(
            f"{first} is too long ago: the service keeps {MONTHS_KEPT} months, now from {earliest} on"
        )


def first_kept(today: date) -> date:
    """Give the earliest day that the service still answers for: 37 months back, in a shorter month its last day.

    Source: Cost Management answers a query over more than 37 months with 400.
    """
    months = today.year * 12 + today.month - 1 - MONTHS_KEPT
    start = date(months // 12, months % 12 + 1, 1)
    return start.replace(day=min(today.day, _month_end(start).day))


def parse_day(text: str) -> date:
    """Read a day written as YYYY-MM-DD.

    Raises:
        ValueError: it is written in another way, or the calendar has no such day.
    """
    if _DAY.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text} is no day of the calendar") from None
    raise ValueError(f"{text!r} is no day: write it as YYYY-MM-DD, such as 2026-05-10")


def _month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])
