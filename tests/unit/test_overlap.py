"""Rows that a page shares with others: an overlap is dropped, a change means that the data moved."""

import polars as pl

from shared.ledger.columns import STAGED
from shared.normalise.hashing import unpack
from shared.normalise.records import Records
from shared.read.overlap import against

NOTHING = unpack(b"")


def page(*rows: tuple[str, str]) -> Records:
    """Records of these identities and contents, one letter each."""
    marks = pl.Series("x_RecordId", [name.encode() * 16 for name, _ in rows], dtype=pl.Binary)
    full = pl.DataFrame(schema=STAGED).clear(len(rows)).with_columns(marks)
    return Records(
        full,
        pl.Series("identity", [name.encode() * 32 for name, _ in rows], dtype=pl.Binary),
        pl.Series("content", [said.encode() * 32 for _, said in rows], dtype=pl.Binary),
        outside=0,
    )


def seen(*rows: tuple[str, str]) -> pl.DataFrame:
    """The keys of other pages' rows, as the registry gives them back."""
    return unpack(page(*rows).packed())


def names(records: Records) -> list[str]:
    return [identity[:1].decode() for identity in records.frame["x_RecordId"]]


def test_first_page_is_all_fresh() -> None:
    found = against(page(("a", "1"), ("b", "1")), NOTHING)

    assert (names(found.fresh), found.repeated, found.moved) == (["a", "b"], 0, 0)


def test_row_of_an_earlier_page_is_dropped_and_counted() -> None:
    found = against(page(("a", "1"), ("b", "1")), seen(("a", "1"), ("c", "1")))

    assert (names(found.fresh), found.repeated, found.moved) == (["b"], 1, 0)
    assert len(found.fresh.identities) == len(found.fresh.contents) == 1


def test_same_identity_with_another_content_has_moved() -> None:
    found = against(page(("a", "2"), ("b", "1")), seen(("a", "1")))

    assert (found.repeated, found.moved) == (0, 1)


def test_same_content_of_another_identity_is_fresh() -> None:
    assert names(against(page(("b", "1")), seen(("a", "1"))).fresh) == ["b"]


def test_twins_of_one_page_both_count() -> None:
    """One answer is one execution of the query."""
    assert names(against(page(("a", "1"), ("a", "1")), seen(("b", "1"))).fresh) == ["a", "a"]


def test_page_without_rows_repeats_nothing() -> None:
    found = against(page(), seen(("a", "1")))

    assert (len(found.fresh.frame), found.repeated, found.moved) == (0, 0, 0)


def test_page_whose_rows_were_all_seen_leaves_nothing_fresh() -> None:
    found = against(page(("a", "1"), ("b", "2")), seen(("b", "2"), ("a", "1"), ("c", "3")))

    assert (len(found.fresh.frame), found.repeated) == (0, 2)
