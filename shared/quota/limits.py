"""Limits: how many requests a window of time may hold."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

_LIMIT = re.compile(r"([0-9]{1,9})/([0-9]{0,6})([smh])", re.ASCII)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}
_LONGEST = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any `per`; both are above zero."""

    count: int
    per: timedelta

    def __post_init__(self) -> None:
        if self.count < 1 or self.per <= timedelta(0):
            raise ValueError("a limit needs at least one request in a time above zero")


@dataclass(frozen=True, slots=True)
class Used:
    """What an answer says of the tenant's quota: units that it took, and how many are left of each span's limit."""

    units: int = 1
    left: Mapping[timedelta, int] = field(default_factory=dict)


def slowest(limits: Sequence[Limit]) -> timedelta:
    """Give the time that one request takes of the limit that lets fewest through in the long run."""
    return max(limit.per / limit.count for limit in limits)


def spare(limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """Give what may be used in the background: three quarters of each limit, and one request at the least."""
    return tuple(Limit(max(1, limit.count * 3 // 4), limit.per) for limit in limits)


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Read a comma list of N/[K]unit, such as `12/10s,60/m,600/h`; all of them hold at once.

    Raises:
        ValueError: a part is no limit, counts nothing or spans more than 24 hours, or there is none.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise ValueError("holds no limit: give a comma list of N/[K]unit such as 12/10s,60/m,600/h")
    return tuple(_parse_limit(part) for part in parts)


def _parse_limit(text: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match:
        count, number, unit = match.groups()
        per = int(number or "1") * _UNITS[unit]
        if int(count) >= 1 and timedelta(0) < per <= _LONGEST:
            return Limit(int(count), per)
    raise ValueError(
        f"has {text!r}: give N/[K]unit such as 12/10s, with unit s, m or h, N above 0 and at most 24 hours"
    )
