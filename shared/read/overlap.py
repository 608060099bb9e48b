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
    """`fresh` are the records of no other page, `repeated` how many more there were, `moved` how many changed.

    `kept` are the repeated ones where they may be right, None where they are dropped.
    """

    fresh: Records
    repeated: int
    moved: int
    kept: Records | None = None


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


def beside(records: Records, seen: pl.DataFrame) -> Overlap:
    """Compare a page's records with those of earlier pages where equal ones may all be right.

    Nothing is dropped. Of equal records, as many are repeated as earlier pages had fresh, so that a page that
    repeats the end of the page before and goes on with a twin of its last record has one repeated and one fresh.
    """
    if not len(records.frame) or not len(seen):
        none = pl.repeat(False, len(records.frame), dtype=pl.Boolean, eager=True)  # noqa: FBT003 - a mask
        return Overlap(records, 0, 0, records.keep(none))
    mine = keys(records.identities, records.contents).with_columns(
        nth=pl.int_range(pl.len()).over(KEY_COLUMNS)
    )
    before = seen.join(mine, on=list(KEY_COLUMNS), how="semi").group_by(KEY_COLUMNS).len()
    known = mine.join(before, on=list(KEY_COLUMNS), how="left", maintain_order="left")["len"].fill_null(0)
    repeated = mine["nth"] < known
    return Overlap(records.keep(~repeated), int(repeated.sum()), 0, records.keep(repeated))
