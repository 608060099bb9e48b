"""Days in UTC, of times as the service's records have them."""

import re
from datetime import UTC, date, datetime
from functools import lru_cache

_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)?)?",
    re.ASCII,
)


@lru_cache(maxsize=512)
def utc_day(text: str) -> date | None:
    """Give the UTC day of a time as records have it, None where it is none; without a zone it is UTC."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        told = datetime.fromisoformat(text)
        return (told.replace(tzinfo=UTC) if told.tzinfo is None else told.astimezone(UTC)).date()
    except (ValueError, OverflowError):
        return None
