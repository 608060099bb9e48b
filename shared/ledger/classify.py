"""What a new reading does to a day's ledger: which records stay, change, come and go.

One call covers one partition: one metric, day and subscription. A record is matched with what was believed of
it by its x_RecordId. Several records of one x_RecordId can be legitimate twins, so they are matched as a
multiset: equal ones first, so that a twin that vanishes doesn't restate those that stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from shared.ledger.columns import BOOKKEEPING, LEDGER, PAYLOAD, TIMESTAMP
from shared.normalise import hashing

NEW, RESTATED, RESHAPED, RETRACTED, SAME = "new", "restated", "reshaped", "retracted", "same"

SORT = ("x_ResourceGroup", "ResourceId", "x_MeterId", "x_RecordId", "x_ValidFrom")
"""A partition's order: what people filter by first, so that row groups can be skipped and pages compress."""

_ADJUSTING_TYPES = ("refund", "credit", "roundingadjustment", "adjustment")
_ADJUSTING_CATEGORIES = ("Credit", "Adjustment")

_NOW = "|now"
_CONTENT = tuple(column for column in PAYLOAD if column != "x_RecordId")
_ORDER = (*SORT, *(column for column in LEDGER if column not in SORT))

# Among equal rows, those of the same scope belong together first: a scope that takes over from another may
# bring rows equal to those of a third.
_EQUAL = (("x_RecordId", "content", "x_SourceScope"), ("x_RecordId", "content"))
_CHANGED = (("x_RecordId", "x_SourceScope"), ("x_RecordId",))


@dataclass(frozen=True, slots=True)
class Restatement:
    """A partition as a reading leaves it.

    `frame` has the columns of `LEDGER` and is sorted, so equal partitions are equal frames. `counts` has the
    rows of the reading that are `new`, `restated` and `same`, the believed ones that were `retracted`, and
    those that came or went as `reshaped`; `came` and `gone` are those rows, changed `at` that time. Where
    `changed` is false, `frame` is what was there before; `in_place` is whether rows were replaced or bear another
    scope's name, so that no time takes the frame back to that.
    """

    frame: pl.DataFrame
    came: pl.DataFrame
    gone: pl.DataFrame
    counts: dict[str, int]
    at: datetime
    changed: bool
    in_place: bool = False


def restate(
    prior: pl.DataFrame,
    new: pl.DataFrame,
    *,
    at: datetime,
    settled: bool,
    keeps_former: bool,
    published_before: bool,
    is_reshaped: Callable[[pl.DataFrame], pl.Series],
) -> Restatement:
    """Lay a reading over a partition; the current rows are then the reading's, as a multiset.

    Args:
        prior: the whole partition with the columns of `LEDGER`, current rows and history. History is kept.
        new: all that is believed now of this day and subscription: `PAYLOAD` and x_SourceScope.
        at: the time of the change, not before any time in the partition.
        settled: what comes or changes now comes late.
        keeps_former: former versions stay as history; otherwise rows are replaced in place.
        published_before: with `settled`, what comes or changes now is an adjustment.
        is_reshaped: tells of rows, believed ones or the reading's, which of them come in a new grouping or are
            replaced by one. These are never restated into each other and never an adjustment by time.

    Raises:
        ValueError: time would run backwards.
    """
    _demand_forward(prior, at)
    if _says_the_same(prior, new):
        counts = dict.fromkeys((NEW, SAME, RESTATED, RETRACTED, RESHAPED), 0) | {SAME: new.height}
        return _unchanged(prior, counts, at)
    history = prior.filter(pl.col("x_ValidTo").is_not_null())
    current = prior.filter(pl.col("x_ValidTo").is_null()).with_row_index("old")
    current = current.with_columns(is_reshaped(current).alias("reshaped"))
    reading = new.with_row_index("new").with_columns(is_reshaped(new).alias("reshaped"))
    equal, changed = _pair_up(current, reading)

    reshaped = pl.col("reshaped")
    gone = current.join(equal, on="old", how="anti").with_columns(
        x_ValidTo=pl.lit(at, dtype=TIMESTAMP),
        x_Ended=_word(reshaped, _among("old", changed), RETRACTED),
    )
    came = reading.join(equal, on="new", how="anti").with_columns(
        x_ValidFrom=pl.lit(at, dtype=TIMESTAMP),
        x_ValidTo=pl.lit(None, dtype=TIMESTAMP),
        x_Change=_word(reshaped, _among("new", changed), NEW),
        x_Ended=pl.lit(None, dtype=pl.String),
        x_IsAdjustment=is_adjustment_charge() | (~reshaped & pl.lit(settled and published_before)),
    )
    kept = _keep(current, reading, equal)
    counts = _count(kept, gone, came)
    renamed = not kept["scope"].equals(kept["x_SourceScope"])
    if gone.is_empty() and came.is_empty() and not renamed:
        return _unchanged(prior, counts, at)
    kept = kept.with_columns(x_SourceScope="scope")
    history, kept, came, gone = (part.select(*LEDGER) for part in (history, kept, came, gone))
    frame = sort_ledger(pl.concat([history, kept, came, *([gone] if keeps_former else [])]))
    in_place = renamed or not (keeps_former or gone.is_empty())
    return Restatement(frame, came, gone, counts, at, changed=True, in_place=in_place)


def _unchanged(prior: pl.DataFrame, counts: dict[str, int], at: datetime) -> Restatement:
    nothing = prior.clear()
    return Restatement(prior, nothing, nothing, counts, at, changed=False)


def sort_ledger(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort a partition; every column breaks ties, so equal rows in any order give equal frames."""
    ordered = frame.sort(SORT, nulls_last=True)
    tied = ordered.select(pl.struct("x_RecordId", "x_ValidFrom").is_duplicated()).to_series()
    if not tied.any():
        return ordered
    # Twins have the places of twins in either order; to sort all rows by all columns costs many times as much.
    rows = pl.concat([ordered.filter(~tied), ordered.filter(tied).sort(_ORDER, nulls_last=True)])
    return rows[pl.concat([(~tied).arg_true(), tied.arg_true()]).arg_sort()]


def until(frame: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Take back what came to a partition and went from it after a time; where nothing did, it is the very frame."""
    went = pl.col("x_ValidTo") > at
    rows = frame.filter(pl.col("x_ValidFrom") <= at).with_columns(
        x_ValidTo=pl.when(went).then(None).otherwise("x_ValidTo"),
        x_Ended=pl.when(went).then(None).otherwise("x_Ended"),
    )
    return frame if rows.equals(frame) else sort_ledger(rows.select(*LEDGER))


def is_adjustment_charge() -> pl.Expr:
    """Tell whether the charge is a refund, a credit or a rounding, by the provider's word or by FOCUS's."""
    named = pl.col("x_ChargeType").str.to_lowercase().is_in(_ADJUSTING_TYPES)
    return named.fill_null(value=False) | pl.col("ChargeCategory").is_in(_ADJUSTING_CATEGORIES).fill_null(
        value=False
    )


def _says_the_same(prior: pl.DataFrame, new: pl.DataFrame) -> bool:
    """Tell cheaply that nothing changed: the reading is the current rows, in their order.

    So it is where a scope's rows were taken from this very partition. Other equal readings are told by matching.
    """
    current = prior.filter(pl.col("x_ValidTo").is_null())
    return current.height == new.height and current.select(new.columns).equals(new)


def _demand_forward(prior: pl.DataFrame, at: datetime) -> None:
    latest = prior.select(pl.max_horizontal(pl.col("x_ValidFrom", "x_ValidTo").max())).item()
    if latest is not None and latest > at:
        raise ValueError(f"a change at {at} would precede one already in the partition, at {latest}")


def _pair_up(current: pl.DataFrame, reading: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match rows (`old`, `new`): first the equal ones, then those whose content changed."""
    if current.is_empty() or reading.is_empty():
        nothing = pl.DataFrame(schema={"old": current.schema["old"], "new": reading.schema["new"]})
        return nothing, nothing
    twins = pl.concat(
        [rows.filter(pl.col("x_RecordId").is_duplicated())["x_RecordId"] for rows in (current, reading)]
    ).unique()
    if twins.is_empty():
        return _pair_singles(current, reading)
    of_twins = pl.col("x_RecordId").is_in(twins.implode())
    pairs = (
        _pair_singles(current.filter(~of_twins), reading.filter(~of_twins)),
        _pair_twins(current.filter(of_twins), reading.filter(of_twins)),
    )
    equal, changed = (pl.concat(found) for found in zip(*pairs, strict=True))
    return equal, changed


def _pair_singles(current: pl.DataFrame, reading: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match rows of which each side has one of a record: they are equal, or one changed into the other."""
    both = current.join(reading, on="x_RecordId", suffix=_NOW)
    same = pl.all_horizontal(pl.col(column).eq_missing(pl.col(column + _NOW)) for column in _CONTENT)
    told = both.select("old", "new", same=same, reshaped=pl.col("reshaped") | pl.col("reshaped" + _NOW))
    pair = pl.col("old", "new")
    return (
        told.filter("same").select(pair),
        told.filter(~pl.col("same") & ~pl.col("reshaped")).select(pair),
    )


def _pair_twins(current: pl.DataFrame, reading: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Match rows of records of which a side has several, the n-th with the n-th."""
    old, new = _matchable(current, "old"), _matchable(reading, "new")
    equal, old, new = _pair_in_turn(old, new, _EQUAL)
    same_shape = ~pl.col("reshaped")
    changed, _, _ = _pair_in_turn(old.filter(same_shape), new.filter(same_shape), _CHANGED)
    return equal, changed


def _matchable(rows: pl.DataFrame, number: str) -> pl.DataFrame:
    """What matching needs of each row, in an order that depends on the rows alone: earlier beliefs first."""
    believed = [column for column in BOOKKEEPING if column in rows.columns]
    return (
        rows.select(number, "x_RecordId", "reshaped", *believed)
        .with_columns(hashing.content(rows, _CONTENT))
        .sort("content", *believed, nulls_last=True, maintain_order=True)
    )


def _pair_in_turn(
    old: pl.DataFrame, new: pl.DataFrame, turns: tuple[tuple[str, ...], ...]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Pair rows by each turn's keys, the n-th with the n-th; give the pairs and what both sides have left."""
    pairs = []
    for keys in turns:
        nth = pl.int_range(pl.len()).over(keys).alias("nth")
        found = (
            old.with_columns(nth)
            .join(new.with_columns(nth), on=[*keys, "nth"], nulls_equal=True, maintain_order="left")
            .select("old", "new")
        )
        old, new = (
            old.join(found, on="old", how="anti", maintain_order="left"),
            new.join(found, on="new", how="anti", maintain_order="left"),
        )
        pairs.append(found)
    return pl.concat(pairs), old, new


def _keep(current: pl.DataFrame, reading: pl.DataFrame, equal: pl.DataFrame) -> pl.DataFrame:
    """Keep equal rows as they are, each with the `scope` that says so now."""
    said = reading.select("new", scope="x_SourceScope").join(equal, on="new").select("old", "scope")
    return current.join(said, on="old", maintain_order="left")


def _word(reshaped: pl.Expr, restated: pl.Expr, other: str) -> pl.Expr:
    """Why a row came or went."""
    return (
        pl.when(reshaped)
        .then(pl.lit(RESHAPED))
        .when(restated)
        .then(pl.lit(RESTATED))
        .otherwise(pl.lit(other))
    )


def _among(number: str, pairs: pl.DataFrame) -> pl.Expr:
    return pl.col(number).is_in(pairs[number].implode())


def _count(kept: pl.DataFrame, gone: pl.DataFrame, came: pl.DataFrame) -> dict[str, int]:
    def having(frame: pl.DataFrame, column: str, word: str) -> int:
        return int((frame[column] == word).sum())

    return {
        NEW: having(came, "x_Change", NEW),
        SAME: kept.height,
        RESTATED: having(came, "x_Change", RESTATED),
        RETRACTED: having(gone, "x_Ended", RETRACTED),
        RESHAPED: having(came, "x_Change", RESHAPED) + having(gone, "x_Ended", RESHAPED),
    }
