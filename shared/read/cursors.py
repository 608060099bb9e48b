"""Cursors: how a generation notices that the service leads it in a circle.

Looping nextLinks were seen on the cost APIs (azure-rest-api-specs #8131). A nextLink may change the case of its
path and its api-version from page to page, so what is compared are the page's tokens in it: Query has one,
usageDetails two.
"""

from collections.abc import Iterable
from urllib.parse import parse_qsl, urlsplit

CURSOR_LIMIT = 32_000
"""Characters; a Table text property ends at 32,768, and a cursor must stand in one."""

_TOKENS = frozenset({"$skiptoken", "skiptoken", "sessiontoken"})


def token(cursor: str | None) -> str:
    """Give what tells one cursor of a generation from another; the first page's has none."""
    if cursor is None:
        return ""
    parts = urlsplit(cursor)
    tokens = [value for name, value in parse_qsl(parts.query) if name.lower() in _TOKENS]
    return "&".join(tokens) if tokens else cursor.lower()


def used(cursor: str, before: Iterable[str | None]) -> bool:
    """Tell whether a cursor was followed already in this generation."""
    return token(cursor) in {token(other) for other in before}
