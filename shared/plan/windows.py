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
