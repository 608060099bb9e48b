"""Rows that a page shares with others: an overlap is dropped, a change means that the data moved."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.ledger.columns import STAGED
from shared.normalise.hashing import unpack
from shared.normalise.records import Records
from shared.read.comparing import compare, repeat
from shared.read.overlap import against, beside
from shared.registry.generations import Generation
from shared.registry.pages import Page, Repeated, Sums

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


def kept(records: Records | None) -> list[str]:
    assert records is not None
    return names(records)


def test_where_twins_may_be_right_nothing_is_dropped() -> None:
    found = beside(page(("a", "1"), ("b", "1"), ("a", "2")), seen(("a", "1"), ("c", "1")))

    assert (names(found.fresh), kept(found.kept), found.repeated, found.moved) == (["b", "a"], ["a"], 1, 0)


def test_of_equal_rows_as_many_are_repeated_as_earlier_pages_had() -> None:
    """One of the page before came again, and its twin is new."""
    twice = page(("a", "1"), ("a", "1"))

    assert len(beside(twice, NOTHING).fresh.frame) == 2
    assert len(beside(twice, seen(("a", "1"))).fresh.frame) == 1
    assert len(beside(twice, seen(("a", "1"), ("a", "1"), ("a", "1"))).fresh.frame) == 0


DAYS = (date(2026, 5, 30), date(2026, 5, 31))
Row = tuple[str, int, int]
"""An identity, an amount, and the number of its day."""


def costing(*rows: Row) -> Records:
    """Records of some days, whose amounts are their contents."""
    made = page(*((name, chr(ord("p") + amount % 9)) for name, amount, _ in rows))
    frame = made.frame.with_columns(
        usage_date=pl.Series([DAYS[day] for *_, day in rows], dtype=pl.Date),
        BillingCurrency=pl.lit("USD"),
        BilledCost=pl.Series([Decimal(amount) for _, amount, _ in rows], dtype=pl.Decimal(38, 18)),
        ConsumedQuantity=pl.lit(1).cast(pl.Decimal(38, 18)),
    )
    whole = pl.Series("identity", [f"{name}{day}".encode() * 16 for name, _, day in rows], dtype=pl.Binary)
    return Records(frame, whole, made.contents, outside=0)


def taken(generation: Generation, rows: list[Row]) -> Generation:
    """Commit a page of these rows, as a worker does."""
    found = beside(costing(*rows), generation.keys)
    assert found.kept is not None
    number = generation.last + 1
    repeated = Repeated(None, found.kept.sums("ActualCost"), found.kept.digests())
    fresh = found.fresh
    committed = Page(
        number=number,
        cursor_in=None,
        cursor_out=None,
        read_at=datetime(2026, 6, 1, tzinfo=UTC),
        raw_rows=len(rows),
        duplicates=0,
        outside=0,
        staged=None,
        sums=fresh.sums("ActualCost"),
        digests=fresh.digests(),
        packed=fresh.packed(),
        requests=1,
        throttled=0,
        single=False,
        repeated=repeated,
    )
    return generation.extended([committed])


def control_of(rows: list[Row], day: int) -> dict[str, Sums]:
    amounts = [Decimal(amount) for _, amount, of in rows if of == day]
    if not amounts:
        return {}
    absolute = sum(map(abs, amounts), Decimal(0))
    count = Decimal(len(amounts))
    return {"USD": Sums(sum(amounts, Decimal(0)), absolute, count, count, len(amounts))}


ROWS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(-2, 3), st.integers(0, len(DAYS) - 1)), max_size=20
)


@settings(max_examples=60)
@given(
    ROWS,
    st.integers(1, 6),
    st.just([0] * 20) | st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_any_rows_in_any_pages_with_any_overlap_add_up_right_or_are_read_again(
    rows: list[Row], size: int, overlaps: list[int]
) -> None:
    generation, start = Generation("p", {}, NOTHING), 0
    while start < len(rows) or not start:
        back = min(start, overlaps[generation.last % len(overlaps)])
        generation = taken(generation, rows[start - back : start + size])
        start += size

    for number, day in enumerate(DAYS):
        control = control_of(rows, number)
        told = compare(generation, day, control, Decimal("1e-9"))
        if told.agreed:
            assert dict(told.sums) == control
        if not any(overlaps):
            assert told.agreed, "without an overlap every row counts"
        if max(Counter(rows).values(), default=0) < 2:
            assert told.agreed, "without a twin whatever came twice is an overlap"
            assert told.digest == costing(*rows).digests().get(day, 0)


FIVE: list[Row] = [("a", 1, 0), ("b", 1, 0), ("b", 1, 0), ("c", 1, 0), ("c", 2, 0)]


def reading(*pages: list[Row]) -> Generation:
    generation = Generation("p", {}, NOTHING)
    for rows in pages:
        generation = taken(generation, rows)
    return generation


@pytest.mark.parametrize("twins", [True, False], ids=["twins", "an overlap"])
@pytest.mark.parametrize("small", [1, 0], ids=["told by the cost", "told by the quantity"])
def test_where_what_came_twice_is_within_the_tolerance_the_nearer_variant_is_right(
    *, twins: bool, small: int
) -> None:
    """A large charge makes the tolerance wide enough for both."""
    large, once = ("a", 10**6, 0), ("b", small, 0)
    true = [large, once, once] if twins else [large, once]
    generation = reading([large, once], [once])

    told = compare(generation, DAYS[0], control_of(true, 0), Decimal("0.5"))

    assert (told.agreed, told.with_repeated) == (True, twins)
    assert dict(told.sums) == control_of(true, 0)


def test_where_two_variants_are_as_near_the_rows_that_came_twice_are_an_overlap() -> None:
    generation = reading([("a", 10, 0), ("b", 2, 0)], [("b", 2, 0)])
    between = control_of([("a", 10, 0), ("b", 3, 0)], 0)["USD"]
    control = {"USD": Sums(between.cost, between.cost_absolute, Decimal("2.5"), Decimal("2.5"), 2)}

    told = compare(generation, DAYS[0], control, Decimal("0.5"))

    assert (told.agreed, told.with_repeated) == (True, False)


def test_twins_that_one_border_parts_and_another_does_not_are_proven_by_the_repetition() -> None:
    told = repeat(reading(FIVE[:2], FIVE[2:]), reading(FIVE[:3], FIVE[3:]), DAYS[0])

    assert (told.agreed, told.sums["USD"].records) == (True, 5)


def test_overlap_that_only_one_reading_has_is_left_out() -> None:
    rows = FIVE[:2] + FIVE[3:]
    whole, shared = reading(rows), reading(rows[:2], rows[1:])

    for told in (repeat(shared, whole, DAYS[0]), repeat(whole, shared, DAYS[0])):
        assert (told.agreed, told.sums["USD"].records) == (True, 4)


def test_rows_that_come_twice_in_both_readings_prove_nothing() -> None:
    """Of four equal records each reading leaves one too many out, and both say the same."""
    four: list[Row] = [("a", 1, 0)] * 4

    told = repeat(reading(four[:2], four[1:]), reading(four[:3], four[2:]), DAYS[0])

    assert not told.agreed


def test_what_comes_twice_between_the_same_borders_is_not_proven_by_coming_so_again() -> None:
    """Twins or an overlap: both readings would look like this."""
    told = repeat(reading(FIVE[:2], FIVE[2:]), reading(FIVE[:2], FIVE[2:]), DAYS[0])

    assert not told.agreed
    assert repeat(reading(FIVE[:3], FIVE[3:]), reading(FIVE[:3], FIVE[3:]), DAYS[0]).agreed


def test_reading_that_says_something_else_proves_nothing() -> None:
    told = repeat(reading(FIVE), reading(FIVE[:4], FIVE[:1]), DAYS[0])

    assert not told.agreed
    assert told.control["USD"].records == 5
