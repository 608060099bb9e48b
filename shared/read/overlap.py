"""Rows that a page shares with other pages of its generation.

The Query API runs its query again for every page, without a snapshot: rows of one page come back on the next
(an overlap), and amounts change between two pages (the data moved under the reading). Query groups, so one
identity is one row of one answer: what repeats on another page was the same row.
"""

from dataclasses import dataclass

import polars as pl

from shared.normalise.hashing import KEY_COLUMNS, keys
from shared.normalise.records import Records

_IDENTITY = list(KEY_COLUMNS[:2])


@dataclass(frozen=True, slots=True)
class Overlap:
    """`fresh` are the records of no other page, `repeated` how many were dropped, `moved` how many changed."""

    fresh: Records
    repeated: int
    moved: int


def against(records: Records, seen: pl.DataFrame) -> Overlap:
    """Compare a page's records with the row keys of the generation's other pages.

    Equal rows within the page itself all count: one answer is one execution of the query.
    """
    if not len(records.frame) or not len(seen):
        return Overlap(records, 0, 0)
    mine = keys(records.identities, records.contents).with_row_index("row")
    # The page is the small side: what was seen before is only walked through, however deep the reading is.
    hits = seen.join(mine, on=_IDENTITY, how="semi")
    if hits.is_empty():
        return Overlap(records, 0, 0)
    known = mine.join(hits, on=_IDENTITY, how="semi")
    repeated = known.join(hits, on=list(KEY_COLUMNS), how="semi")
    mask = ~mine["row"].is_in(known["row"].implode())
    return Overlap(records.keep(mask), len(repeated), len(known) - len(repeated))
