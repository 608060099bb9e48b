"""A day's totals: exact, never across currencies, keyed by a hash anyone can compute."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from shared.ledger.columns import DAILY, LEDGER
from shared.ledger.daily import TotalError, daily

DAY = date(2026, 5, 10)
SCHEMA = {"subscription_id": pl.String(), **LEDGER}
ROW: dict[str, Any] = {
    "subscription_id": "a",
    "ServiceName": "Storage",
    "BillingCurrency": "USD",
    "BilledCost": Decimal(1),
    "x_IsAdjustment": False,
}


def records(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(SCHEMA) | ROW | row for row in rows], schema=SCHEMA)


def told(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.select("account_id", "service_name", "currency", "is_adjustment", "cost_amount").rows()


def test_one_row_per_account_service_currency_and_adjustment() -> None:
    day = daily(
        records(
            {},
            {"BilledCost": Decimal("0.000000000000000001")},
            {"BilledCost": Decimal(0)},
            {"BillingCurrency": "EUR"},
            {"x_IsAdjustment": True, "BilledCost": Decimal(-5)},
            {"ServiceName": None},
            {"subscription_id": "none"},
        ),
        "ActualCost",
        DAY,
    )

    assert day.schema == pl.Schema(DAILY)
    assert told(day) == [
        ("a", "Storage", "EUR", False, Decimal(1)),
        ("a", "Storage", "USD", False, Decimal("1.000000000000000001")),
        ("a", "Storage", "USD", True, Decimal(-5)),
        ("a", None, "USD", False, Decimal(1)),
        ("none", "Storage", "USD", False, Decimal(1)),
    ]
    assert day["record_count"].to_list() == [1, 3, 1, 1, 1]


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({}, "ActualCost|2026-05-10|a|Storage|USD|false"),
        ({"x_IsAdjustment": True, "ServiceName": None}, "ActualCost|2026-05-10|a||USD|true"),
        ({"ServiceName": "Büro", "BillingCurrency": None}, "ActualCost|2026-05-10|a|Büro||false"),
    ],
)
def test_the_hash_is_that_of_the_key(row: dict[str, Any], key: str) -> None:
    day = daily(records(row), "ActualCost", DAY)

    assert day["record_hash"].to_list() == [hashlib.sha256(key.encode()).hexdigest()]


def test_the_metric_says_which_column_counts() -> None:
    """Amortised totals come from EffectiveCost; BilledCost is null there."""
    row = {"BilledCost": None, "EffectiveCost": Decimal(7)}

    day = daily(records(row), "AmortizedCost", DAY)

    assert told(day) == [("a", "Storage", "USD", False, Decimal(7))]
    assert day["record_hash"][0] != daily(records({}), "ActualCost", DAY)["record_hash"][0]


def test_a_record_without_cost_is_not_taken_for_zero() -> None:
    with pytest.raises(TotalError, match=r"1 records .* no BilledCost"):
        daily(records({}, {"BilledCost": None}), "ActualCost", DAY)


def test_ended_records_do_not_count() -> None:
    ended = {"x_ValidTo": datetime(2026, 5, 20, tzinfo=UTC), "x_Ended": "retracted", "BilledCost": None}

    assert told(daily(records({}, ended), "ActualCost", DAY)) == [("a", "Storage", "USD", False, Decimal(1))]


@pytest.mark.parametrize("amount", ["99999999999999999999", "60000000000000000000", "-60000000000000000000"])
def test_a_total_that_does_not_fit_is_refused(amount: str) -> None:
    with pytest.raises(TotalError, match="20 digits"):
        daily(records(*[{"BilledCost": Decimal(amount)}] * 2), "ActualCost", DAY)


def test_an_empty_day_has_no_rows() -> None:
    day = daily(records(), "ActualCost", DAY)

    assert day.is_empty()
    assert day.schema == pl.Schema(DAILY)


def test_the_order_of_records_does_not_matter() -> None:
    rows = [{"subscription_id": sub, "ServiceName": service} for sub in "ba" for service in ("Z", None, "A")]

    forth, back = (daily(records(*order), "ActualCost", DAY) for order in (rows, rows[::-1]))

    assert forth.equals(back)
