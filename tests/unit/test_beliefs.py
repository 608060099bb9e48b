"""Adding up what was believed at a time: whatever versions a partition holds, exactly and per currency."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from shared.history.as_of import by_subscription
from shared.history.beliefs import Beliefs, Charged, amounts_at
from shared.ledger.columns import LEDGER
from shared.normalise.exact import plus

BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
DAY = date(2026, 5, 10)
SETTLE = timedelta(hours=48)

HOURS = st.integers(0, 12)
AMOUNTS = st.one_of(
    st.decimals(-(10**18), 10**18, places=18),
    st.sampled_from([Decimal("1e-18"), Decimal("-1e-18"), Decimal("9.999999999999999999")]),
)


@st.composite
def version(draw: st.DrawFn) -> dict[str, Any]:
    since = draw(HOURS)
    until = draw(st.none() | st.integers(since + 1, 14))
    return {
        "BilledCost": draw(AMOUNTS),
        "BillingCurrency": draw(st.sampled_from(["USD", "EUR"])),
        "ServiceName": draw(st.sampled_from([None, "", "Storage"])),
        "x_IsAdjustment": draw(st.booleans()),
        "x_ValidFrom": BEGIN + timedelta(hours=since),
        "x_ValidTo": None if until is None else BEGIN + timedelta(hours=until),
    }


@given(st.lists(version(), max_size=12), HOURS)
def test_a_version_counts_from_the_instant_it_came_until_the_instant_it_went(
    versions: list[dict[str, Any]], hour: int
) -> None:
    at = BEGIN + timedelta(hours=hour)
    expected: dict[Charged, Decimal] = {}
    for row in versions:
        if row["x_ValidFrom"] <= at and (row["x_ValidTo"] is None or at < row["x_ValidTo"]):
            key = Charged("sub", row["ServiceName"], row["BillingCurrency"])
            expected[key] = plus(expected.get(key, Decimal(0)), row["BilledCost"])
    frame = pl.DataFrame([{**dict.fromkeys(LEDGER), **row} for row in versions], schema=LEDGER)

    assert amounts_at(frame, "sub", "BilledCost", at) == expected


def test_a_sum_that_no_single_decimal_holds_is_still_exact() -> None:
    """The groups fit as the daily totals did; what is added over them has all the digits it needs."""
    most = Decimal("99999999999999999999.999999999999999999")
    charged = [Charged("sub", service, "USD") for service in ("a", "b")]
    totals = by_subscription(dict.fromkeys(charged, most))
    assert totals == {"sub": {"USD": Decimal("199999999999999999999.999999999999999998")}}


def test_currencies_and_subscriptions_are_never_added_to_each_other() -> None:
    amounts = {
        Charged("b", "Storage", "USD"): Decimal(1),
        Charged("a", "Storage", "EUR"): Decimal(2),
        Charged("a", None, "USD"): Decimal(3),
        Charged("a", "Storage", "USD"): Decimal(4),
    }
    assert by_subscription(amounts) == {
        "a": {"EUR": Decimal(2), "USD": Decimal(7)},
        "b": {"USD": Decimal(1)},
    }


def test_a_day_settles_48_hours_after_its_end_and_is_known_from_its_first_reading_on() -> None:
    settled = datetime(2026, 5, 13, tzinfo=UTC)
    known = Beliefs("ActualCost", DAY, since=settled + timedelta(hours=5))
    before = timedelta(microseconds=1)
    assert [
        known.state(at, SETTLE)
        for at in (
            settled - before,
            settled,
            settled + timedelta(hours=5) - before,
            settled + timedelta(hours=5),
        )
    ] == ["open", "unread", "unread", "settled"]
    assert Beliefs("ActualCost", DAY).state(BEGIN, SETTLE) == "unread"
