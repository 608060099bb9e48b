"""The Query API of Cost Management: what is asked, and where.

Source: Cost Management REST API 2025-03-01, Query - Usage. `to` is inclusive by day. A nextLink is followed with
POST and the identical body, which no official SDK does (azure-sdk-for-python #30603).
"""

from collections.abc import Sequence
from datetime import date
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

API_VERSION = "2025-03-01"
TAG = "tag:"

COST = "Cost"
QUANTITY = "UsageQuantity"
DAY = "UsageDate"
CURRENCY = "Currency"
TAG_KEY = "TagKey"
TAG_VALUE = "TagValue"


class ForeignLinkError(Exception):
    """A nextLink leads to another host than the ARM endpoint: it is refused before anything is sent."""


def first_url(endpoint: str, scope: str, page_size: int) -> str:
    """Give the URL of a generation's first page, and of its control totals."""
    return f"{endpoint}{scope}/providers/Microsoft.CostManagement/query?api-version={API_VERSION}&$top={page_size}"


def body(metric: str, grouping: Sequence[str], first: date, last: date) -> bytes:
    """Give the query's body; without a grouping it asks for the control totals (one row a day and currency)."""
    dataset: dict[str, Any] = {
        "granularity": "Daily",
        "aggregation": {
            "totalCost": {"name": COST, "function": "Sum"},
            "usage": {"name": QUANTITY, "function": "Sum"},
        },
    }
    if grouping:
        dataset["grouping"] = [_dimension(name) for name in grouping]
    query = {
        "type": metric,
        "timeframe": "Custom",
        "timePeriod": {"from": f"{first.isoformat()}T00:00:00Z", "to": f"{last.isoformat()}T23:59:59Z"},
        "dataset": dataset,
    }
    return msgspec.json.encode(query)


def columns(grouping: Sequence[str]) -> tuple[str, ...]:
    """Name the text columns that an answer to this grouping must have, currency included."""
    return (*(column for name in grouping for column in columns_of(name)), CURRENCY)


def columns_of(name: str) -> tuple[str, ...]:
    """Name the columns that answer one part of a grouping, a dimension or a tag."""
    return (TAG_KEY, TAG_VALUE) if name.startswith(TAG) else (name,)


def same_host(endpoint: str, url: str) -> str:
    """Give `url` back if it leads to the ARM endpoint.

    Raises:
        ForeignLinkError: it leads elsewhere, whatever its path says.
    """
    asked = urlsplit(endpoint)
    try:
        link = urlsplit(url)
        same = _origin(asked) == _origin(link)
    except ValueError:
        same = False
        link = urlsplit("")
    if not same or link.username is not None or link.password is not None:
        raise ForeignLinkError(f"the link leads to {link.hostname or 'no host'}, not to {asked.hostname}")
    return url


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    """Give scheme, host and port, the scheme's own port spelled out."""
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _dimension(name: str) -> dict[str, str]:
    if name.startswith(TAG):
        return {"type": TAG_KEY, "name": name.removeprefix(TAG)}
    return {"type": "Dimension", "name": name}
