"""Cut an answer into pages the way the service does: a page number into a query that is run for each page."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from infra.local.simulator import dice
from infra.local.simulator.answers import Row

DEFAULT_TOP = 1000
MOST_TOP = 5000

_WAYS_TO_SAY_QUERY = ("query", "Query", "QUERY")
_VERSIONS = ("2025-03-01", "2023-11-01", "2021-10-01")


class BadTokenError(ValueError):
    """The service would answer 400: the skiptoken is none of its own."""


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and the number of the next one, None on the last."""

    rows: Sequence[Row]
    next_number: int | None


def encode_token(number: int) -> str:
    """Write a page number as the service's skiptoken: base64 of a little-endian int32."""
    return base64.b64encode(struct.pack("<i", number)).decode()


def decode_token(token: str | None) -> int:
    """Read a skiptoken; none means the first page.

    Raises:
        BadTokenError: It is not base64 of a page number.
    """
    if token is None:
        return 0
    try:
        (number,) = struct.unpack("<i", base64.b64decode(token.replace(" ", "+"), validate=True))
    except (binascii.Error, struct.error):
        raise BadTokenError(token) from None
    if number < 0:
        raise BadTokenError(token)
    return int(number)


def page_count(rows: int, top: int, overlap: int) -> int:
    """Give the number of pages; an answer without rows has one."""
    return 1 if rows <= top else 1 - (-(rows - top) // (top - overlap))


def cut(rows: Sequence[Row], top: int, number: int, overlap: int = 0, *, empty_tail: bool = False) -> Page:
    """Give page `number` of `top` rows, the first `overlap` of which are the last of the page before.

    With `empty_tail` an answer whose last page is full has one more page, without rows.

    Raises:
        ValueError: The overlap leaves no room for a new row.
    """
    if overlap >= top:
        raise ValueError(f"pages of {top} rows cannot repeat {overlap}")
    pages = page_count(len(rows), top, overlap)
    full = len(rows) == top + (pages - 1) * (top - overlap)
    if number >= pages:
        return Page((), None)
    start = number * (top - overlap)
    more = number + 1 < pages or (empty_tail and full)
    return Page(rows[start : start + top], number + 1 if more else None)


def next_link(base: str, scope_path: str, top: int, number: int, seed: int) -> str:
    """Write an absolute nextLink; the casing of its path, its api-version and its escapes vary, as seen."""
    chosen = dice.number(seed, "nextLink", scope_path, number)
    word = _WAYS_TO_SAY_QUERY[chosen % len(_WAYS_TO_SAY_QUERY)]
    version = _VERSIONS[chosen // 7 % len(_VERSIONS)]
    token = quote(encode_token(number), safe="=" if chosen // 31 % 2 else "")
    path = quote(scope_path, safe="/-_.~()%")
    address = f"{base}{path}/providers/Microsoft.CostManagement/{word}"
    return f"{address}?api-version={version}&$top={top}&$skiptoken={token}"
