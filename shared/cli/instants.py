"""Instants as people write them on the command line: in UTC unless they say otherwise."""

import re
from datetime import UTC, datetime

_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?(Z|[+-]\d{2}:\d{2})?)?",
    re.ASCII,
)
_HOW = "write it as YYYY-MM-DD (its midnight) or YYYY-MM-DDTHH:MM[:SS], in UTC or with +HH:MM behind it"
_FIRST_YEAR = 2000


def parse_instant(text: str) -> datetime:
    """Read an instant and give it in UTC; a day alone is its midnight, and a time without a zone is UTC.

    Raises:
        ValueError: it is written in another way, or there is no such day or time, or it is before the year 2000,
            when there was no cloud to cost anything.
    """
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"{text!r} is no time: {_HOW}")
    try:
        said = datetime.fromisoformat(text)
        instant = (said.replace(tzinfo=UTC) if said.tzinfo is None else said).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text} is no time of the calendar: {_HOW}") from None
    if instant.year < _FIRST_YEAR:
        raise ValueError(f"{text} is before {_FIRST_YEAR}-01-01: there is no cost of that time")
    return instant


def instant_text(instant: datetime) -> str:
    """Write an instant in UTC, with every digit that it has."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
