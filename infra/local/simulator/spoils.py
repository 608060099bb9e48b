"""Rows as a reading sees them while the data move under it.

The reading that is spoiled sees a past that never was in the truth, so the truth stays what it is: after the
bounded number of spoiled readings a reader gets the same rows as one that was never disturbed.
"""

from collections.abc import Sequence

from infra.local.simulator.answers import Row
from infra.local.simulator.faults import Spoil
from infra.local.simulator.paging import Page, page_count

_CANDIDATES = 64


def spoiled_rows(rows: Sequence[Row], spoil: Spoil | None, top: int, overlap: int) -> Sequence[Row]:
    """Give the rows that a spoiled reading pages through; the first cell of a row is its cost."""
    if spoil is None or page_count(len(rows) - 1, top, overlap) == 1:
        return rows
    if spoil.kind == "move":
        return _moved(rows, spoil.chosen, top, overlap)
    if spoil.kind == "lose":
        lost = _dearest(rows, range(top, len(rows)), spoil.chosen)
        return [*rows[:lost], *rows[lost + 1 :]]
    return rows


def looped(page: Page, number: int, spoil: Spoil | None, pages: int) -> Page:
    """Let one page, not the first, point back at itself or at an earlier one."""
    if spoil is None or spoil.kind != "loop" or number != 1 + spoil.chosen % (pages - 1):
        return page
    return Page(page.rows, 1 + spoil.chosen // 1009 % number)


def endless(rows: Sequence[Row], top: int, number: int) -> Page:
    """Give pages without end: after the last one the rows come again."""
    pages = page_count(len(rows), top, 0)
    start = number % pages * top
    return Page(rows[start : start + top], number + 1)


def _moved(rows: Sequence[Row], chosen: int, top: int, overlap: int) -> Sequence[Row]:
    """Serve a row with a former amount, and once more on a later page with its true one."""
    stride = top - overlap
    pages = page_count(len(rows), top, overlap)
    early = _dearest(rows, range((pages - 1) * stride), chosen)
    first_later = (early // stride + 1) * stride + overlap
    late = first_later + chosen // 1013 % (len(rows) - first_later + 1)
    former = (repr(float(rows[early][0]) * 0.75 + 0.01), *rows[early][1:])
    return [*rows[:early], former, *rows[early + 1 : late], rows[early], *rows[late:]]


def _dearest(rows: Sequence[Row], places: range, chosen: int) -> int:
    """Choose a place by its number, the dearest of its neighbours: its loss must show in the sums."""
    start = places[chosen % len(places)]
    return max(
        range(start, min(start + _CANDIDATES, places.stop)), key=lambda place: abs(float(rows[place][0]))
    )
