"""A reading laid over a day: what stays, changes, comes and goes, against a model in plain Python."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.ledger.classify import Restatement, is_adjustment_charge, restate, sort_ledger
from shared.ledger.columns import LEDGER, PAYLOAD

MAY_10 = datetime(2026, 5, 10, tzinfo=UTC)
FIRST = datetime(2026, 5, 11, tzinfo=UTC)
LATER = datetime(2026, 5, 20, tzinfo=UTC)
LAST = datetime(2026, 5, 30, tzinfo=UTC)
EMPTY = pl.DataFrame(schema=LEDGER)
SUB = "/subscriptions/a"
ACCOUNT = "/providers/Microsoft.Billing/billingAccounts/b"


@dataclass(frozen=True)
class Said:
    """One record of a reading: identity, amount, who said it, what kind of charge."""

    record: str = "r1"
    cost: str = "1"
    scope: str = SUB
    charge: str = "Usage"


def reading(*records: Said) -> pl.DataFrame:
    values: dict[str, list[Any]] = {column: [None] * len(records) for column in PAYLOAD}
    values |= {
        "ChargePeriodStart": [MAY_10] * len(records),
        "BilledCost": [Decimal(record.cost) for record in records],
        "x_RecordId": [record.record.encode().ljust(16, b"\0") for record in records],
        "x_ChargeType": [record.charge for record in records],
        "x_SourceScope": [record.scope for record in records],
    }
    return pl.DataFrame(values, schema={**PAYLOAD, "x_SourceScope": pl.String()})


def lay(
    prior: pl.DataFrame,
    *records: Said,
    at: datetime = FIRST,
    settled: bool = True,
    published_before: bool = True,
    reshaped: tuple[str, ...] = (),
) -> Restatement:
    return restate(
        prior,
        reading(*records),
        at=at,
        settled=settled,
        keeps_former=settled,
        published_before=published_before,
        is_reshaped=lambda rows: rows["x_SourceScope"].is_in(list(reshaped)),
    )


def told(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The rows as (record, cost, from, to, change, ended, adjustment), in order of time."""
    rows = [
        (
            row["x_RecordId"].rstrip(b"\0").decode(),
            str(row["BilledCost"].normalize()),
            *(
                row[column]
                for column in ("x_ValidFrom", "x_ValidTo", "x_Change", "x_Ended", "x_IsAdjustment")
            ),
        )
        for row in frame.iter_rows(named=True)
    ]
    return sorted(rows, key=lambda row: (row[2], row[0], row[1], row[3] or LAST))


def current(frame: pl.DataFrame) -> Counter[Said]:
    rows = frame.filter(pl.col("x_ValidTo").is_null()).iter_rows(named=True)
    return Counter(
        Said(
            row["x_RecordId"].rstrip(b"\0").decode(),
            str(row["BilledCost"].normalize()),
            row["x_SourceScope"],
            row["x_ChargeType"],
        )
        for row in rows
    )


def counts(result: Restatement) -> dict[str, int]:
    return {word: count for word, count in result.counts.items() if count}


def test_the_first_reading_is_new() -> None:
    result = lay(EMPTY, Said("r1"), Said("r2", "2"), published_before=False)

    assert counts(result) == {"new": 2}
    assert result.changed
    assert result.frame.schema == pl.Schema(LEDGER)
    assert told(result.frame) == [
        ("r1", "1", FIRST, None, "new", None, False),
        ("r2", "2", FIRST, None, "new", None, False),
    ]


def test_the_same_reading_changes_nothing() -> None:
    """GIVEN a day with history THEN the same reading again, later, gives the very frame."""
    day = lay(
        lay(EMPTY, Said("r1"), Said("r2")).frame, Said("r2", "3"), Said("r3"), Said("r3"), at=LATER
    ).frame

    result = lay(day, Said("r3"), Said("r2", "3"), Said("r3"), at=LAST)

    assert not result.changed
    assert counts(result) == {"same": 3}
    assert result.frame.equals(day)


def test_a_settled_amount_that_goes_and_comes_back_leaves_three_versions() -> None:
    day = lay(EMPTY, Said(cost="1"), published_before=False).frame
    day = lay(day, Said(cost="2"), at=LATER).frame

    result = lay(day, Said(cost="1"), at=LAST)

    assert counts(result) == {"restated": 1}
    assert told(result.frame) == [
        ("r1", "1", FIRST, LATER, "new", "restated", False),
        ("r1", "2", LATER, LAST, "restated", "restated", True),
        ("r1", "1", LAST, None, "restated", None, True),
    ]


def test_an_open_day_is_replaced_in_place() -> None:
    day = lay(EMPTY, Said("r1"), Said("r2"), settled=False).frame

    result = lay(day, Said("r1", "2"), at=LATER, settled=False)

    assert counts(result) == {"restated": 1, "retracted": 1}
    assert told(result.frame) == [("r1", "2", LATER, None, "restated", None, False)]


def test_a_settled_retraction_closes_the_row_and_adds_none() -> None:
    result = lay(lay(EMPTY, Said(), published_before=False).frame, at=LATER)

    assert counts(result) == {"retracted": 1}
    assert told(result.frame) == [("r1", "1", FIRST, LATER, "new", "retracted", False)]


def test_history_outlives_an_open_day() -> None:
    """What was believed once is never touched, whatever the settings say of settling now."""
    day = lay(lay(EMPTY, Said(), published_before=False).frame, at=LATER).frame

    result = lay(day, Said(cost="5"), at=LAST, settled=False)

    assert told(result.frame) == [
        ("r1", "1", FIRST, LATER, "new", "retracted", False),
        ("r1", "5", LAST, None, "new", None, False),
    ]


def test_a_vanished_twin_leaves_the_others_alone() -> None:
    """GIVEN three records of one identity THEN the two that stay are not restated."""
    day = lay(EMPTY, Said(cost="1"), Said(cost="2"), Said(cost="2"), published_before=False).frame

    result = lay(day, Said(cost="2"), Said(cost="2"), at=LATER)

    assert counts(result) == {"same": 2, "retracted": 1}
    assert told(result.frame) == [
        ("r1", "1", FIRST, LATER, "new", "retracted", False),
        ("r1", "2", FIRST, None, "new", None, False),
        ("r1", "2", FIRST, None, "new", None, False),
    ]


def test_of_equal_twins_the_later_one_goes() -> None:
    day = lay(EMPTY, Said(), published_before=False).frame
    day = lay(day, Said(), Said(), at=LATER).frame

    result = lay(day, Said(), at=LAST)

    assert told(result.frame) == [
        ("r1", "1", FIRST, None, "new", None, False),
        ("r1", "1", LATER, LAST, "new", "retracted", True),
    ]


@pytest.mark.parametrize(
    ("settled", "published_before", "expected"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_what_comes_late_is_an_adjustment(*, settled: bool, published_before: bool, expected: bool) -> None:
    """Late is: after the day was settled and had been published."""
    day = lay(EMPTY, Said("r1"), settled=False, published_before=False).frame

    result = lay(
        day, Said("r1", "2"), Said("r2"), at=LATER, settled=settled, published_before=published_before
    )

    came = result.frame.filter(pl.col("x_ValidFrom") == LATER)
    assert came["x_IsAdjustment"].to_list() == [expected, expected]


def test_another_scope_saying_the_same_is_no_change_of_value() -> None:
    day = lay(EMPTY, Said(scope=ACCOUNT), published_before=False).frame

    result = lay(day, Said(scope=SUB), at=LATER)

    assert counts(result) == {"same": 1}
    assert result.changed
    assert result.frame["x_SourceScope"].to_list() == [SUB]
    assert told(result.frame) == [("r1", "1", FIRST, None, "new", None, False)]


def test_equal_rows_of_two_scopes_stay_with_their_scope() -> None:
    """GIVEN two billing scopes with an equal row THEN the one whose scope lost it vanishes."""
    day = lay(EMPTY, Said(scope=ACCOUNT)).frame
    day = lay(day, Said(scope=ACCOUNT), Said(scope=SUB), at=LATER).frame

    result = lay(day, Said(scope=SUB), at=LAST)

    ended = result.frame.filter(pl.col("x_ValidTo") == LAST)
    assert ended["x_SourceScope"].to_list() == [ACCOUNT]


def test_a_new_grouping_is_reshaped_and_no_adjustment() -> None:
    day = lay(EMPTY, Said("r1"), Said("r2"), published_before=False).frame

    result = lay(day, Said("r1"), Said("s2", "3"), Said("s3", charge="Refund"), at=LATER, reshaped=(SUB,))

    assert counts(result) == {"same": 1, "reshaped": 3}
    assert told(result.frame) == [
        ("r1", "1", FIRST, None, "new", None, False),
        ("r2", "1", FIRST, LATER, "new", "reshaped", False),
        ("s2", "3", LATER, None, "reshaped", None, False),
        ("s3", "1", LATER, None, "reshaped", None, True),
    ]


def test_one_scopes_new_grouping_does_not_excuse_another() -> None:
    """GIVEN one reshaped scope THEN the other's late change is still restated and an adjustment."""
    day = lay(EMPTY, Said("r1"), Said("r2", scope=ACCOUNT), published_before=False).frame

    result = lay(day, Said("r1", "9"), Said("r2", "9", ACCOUNT), at=LATER, reshaped=(SUB,))

    assert counts(result) == {"restated": 1, "reshaped": 2}
    assert {row[:2]: row[4:] for row in told(result.frame) if row[3] is None} == {
        ("r1", "9"): ("reshaped", None, False),
        ("r2", "9"): ("restated", None, True),
    }


def test_a_reshaped_row_restates_nobody_elses() -> None:
    """GIVEN one identity of two scopes, one reshaped THEN the other's row is retracted, not restated."""
    day = lay(EMPTY, Said("r1", scope=ACCOUNT), published_before=False).frame

    result = lay(day, Said("r1", "2", SUB), at=LATER, reshaped=(SUB,))

    assert counts(result) == {"reshaped": 1, "retracted": 1}


def test_a_changed_attribute_is_a_restatement() -> None:
    """An invoice's id that the provider fills in later is content, not identity; late, it is an adjustment."""
    prior = lay(EMPTY, Said(), published_before=False).frame
    filled = reading(Said()).with_columns(InvoiceId=pl.lit("I-1"))

    result = restate(
        prior,
        filled,
        at=LATER,
        settled=True,
        keeps_former=True,
        published_before=True,
        is_reshaped=lambda rows: rows["x_SourceScope"].is_in([]),
    )

    assert counts(result) == {"restated": 1}
    assert result.frame.filter(pl.col("x_ValidTo").is_null())["x_IsAdjustment"].to_list() == [True]


def test_time_never_runs_backwards() -> None:
    day = lay(EMPTY, Said(), at=LATER).frame

    with pytest.raises(ValueError, match="would precede"):
        lay(day, Said(cost="2"), at=LATER - timedelta(microseconds=1))


def test_the_order_of_rows_does_not_matter() -> None:
    """Also where one twin of several changed: which of them is said to have changed is not left to chance."""
    records = [Said("r1", "1"), Said("r2", "3", ACCOUNT), Said("r3", "1"), Said("r3", "2")]
    day = lay(EMPTY, Said("r1", "5"), Said("r1", "6"), Said("r3", "7")).frame

    forth = lay(day, *records, at=LATER)
    back = lay(day.reverse(), *reversed(records), at=LATER)

    assert forth.frame.equals(back.frame)
    assert sort_ledger(forth.frame.reverse()).equals(forth.frame)


@pytest.mark.parametrize(
    ("charge", "category", "expected"),
    [
        ("Usage", "Usage", False),
        ("Purchase", "Purchase", False),
        ("UnusedReservation", "Usage", False),
        ("Tax", None, False),
        (None, None, False),
        ("Refund", "Purchase", True),
        ("refund", None, True),
        ("RoundingAdjustment", "Adjustment", True),
        ("RoundingAdjustment", None, True),
        ("Credit", None, True),
        (None, "Credit", True),
        (None, "Adjustment", True),
    ],
)
def test_adjusting_charges(charge: str | None, category: str | None, *, expected: bool) -> None:
    frame = pl.DataFrame(
        {"x_ChargeType": [charge], "ChargeCategory": [category]},
        schema={"x_ChargeType": pl.String, "ChargeCategory": pl.String},
    )

    assert frame.select(is_adjustment_charge()).item() is expected


said = st.builds(
    Said,
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from([SUB, ACCOUNT]),
    st.sampled_from(["Usage", "Usage", "Refund"]),
)
readings = st.lists(st.tuples(st.lists(said, max_size=6), st.booleans()), min_size=1, max_size=5)


def expected_counts(before: Counter[Said], now: Counter[Said]) -> dict[str, int]:
    """The model: equal values are kept, whoever says them; of what is left, each pair of a record changed."""

    def values(side: Counter[Said]) -> Counter[Said]:
        total: Counter[Said] = Counter()
        for record, count in side.items():
            total[replace(record, scope="")] += count
        return total

    def per_record(side: Counter[Said]) -> Counter[str]:
        total: Counter[str] = Counter()
        for record, count in side.items():
            total[record.record] += count
        return total

    kept = values(before) & values(now)
    gone, came = per_record(values(before) - kept), per_record(values(now) - kept)
    restated = gone & came
    return {
        "new": (came - restated).total(),
        "same": kept.total(),
        "restated": restated.total(),
        "retracted": (gone - restated).total(),
        "reshaped": 0,
    }


@settings(max_examples=60)
@given(readings)
def test_any_sequence_of_readings_agrees_with_the_model(steps: list[tuple[list[Said], bool]]) -> None:
    """The current rows are the newest reading; history only grows, and only while settled; again is idle."""
    day = EMPTY
    for step, (records, settled) in enumerate(steps):
        at = FIRST + timedelta(hours=step)
        before, history = current(day), day.filter(pl.col("x_ValidTo").is_not_null())

        result = lay(day, *records, at=at, settled=settled)

        assert current(result.frame) == Counter(records)
        assert result.counts == expected_counts(before, Counter(records))
        ended = result.frame.filter(pl.col("x_ValidTo").is_not_null())
        assert ended.join(history, on=list(LEDGER), how="semi", nulls_equal=True).height == history.height
        went = (result.counts["restated"] + result.counts["retracted"]) if settled else 0
        assert ended.height == history.height + went
        fresh = result.frame.filter((pl.col("x_ValidFrom") == at) & pl.col("x_ValidTo").is_null())
        assert fresh.height == result.counts["new"] + result.counts["restated"]
        assert result.changed == (current(day) != Counter(records))
        again = lay(result.frame, *records, at=at + timedelta(minutes=1), settled=settled)
        assert not again.changed
        assert again.frame.equals(result.frame)
        day = result.frame
