"""When a reading is not believed: it would empty a reconciled day, or take away more than half of a currency."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shared.days import Pointer, Reading
from shared.read.vanishing import vanishes

NOW = datetime(2026, 5, 13, 4, tzinfo=UTC)


def reading_of(absolutes: dict[str, str], *, later: int = 0, agreed: bool = True) -> Reading:
    amounts = {currency: Decimal(amount) for currency, amount in absolutes.items()}
    return Reading(
        run="r",
        slice="s",
        generation="g",
        digest="0",
        shape="query|1|ServiceName",
        records=len(amounts),
        totals=amounts,
        absolutes=amounts,
        control=amounts,
        control_kind="query",
        agreed=agreed,
        read_at=NOW + timedelta(hours=later),
    )


def pointer_of(reading: Reading | None) -> Pointer:
    path = "/subscriptions/00000000-0000-0000-0000-000000000000"
    return Pointer("ActualCost", date(2026, 5, 10), path, path, reading, NOW)


@pytest.mark.parametrize(
    ("before", "after", "gone"),
    [
        pytest.param({"USD": "10"}, {"USD": "5"}, False, id="half stays"),
        pytest.param({"USD": "10"}, {"USD": "4.99"}, True, id="less than half stays"),
        pytest.param(
            {"USD": "10", "EUR": "10"}, {"USD": "10", "EUR": "4"}, True, id="of one of two currencies"
        ),
        pytest.param({"USD": "10", "EUR": "1"}, {"USD": "10"}, True, id="a whole unit beside more"),
        pytest.param({"USD": "10", "EUR": "0.01"}, {"USD": "10"}, False, id="a cent beside more"),
        pytest.param({"USD": "1", "EUR": "0.99"}, {"USD": "1"}, False, id="small change beside one unit"),
        pytest.param(
            {"USD": "10", "EUR": "0.01"}, {"EUR": "0.01"}, True, id="the cent stays, the rest is gone"
        ),
        pytest.param({"USD": "10", "EUR": "0.01"}, {}, True, id="nothing is left"),
        pytest.param({"USD": "0.3"}, {"USD": "0.1"}, True, id="a small day's own currency"),
        pytest.param(
            {"USD": "0.3", "EUR": "0.01"}, {"USD": "0.3"}, True, id="of a day of nothing but small change"
        ),
        pytest.param({"USD": "0"}, {}, True, id="rows without cost"),
        pytest.param({"USD": "0"}, {"USD": "0"}, False, id="no cost before or after"),
        pytest.param({}, {}, False, id="an empty day"),
    ],
)
def test_more_than_half_is_judged_in_each_currency_but_for_small_change(
    before: dict[str, str], after: dict[str, str], *, gone: bool
) -> None:
    assert vanishes(pointer_of(reading_of(before)), reading_of(after, later=1)) is gone


def test_only_what_was_reconciled_and_read_before_can_vanish() -> None:
    whole, nothing = reading_of({"USD": "10"}), reading_of({}, later=1)
    assert vanishes(pointer_of(whole), nothing)
    assert not vanishes(None, nothing)
    assert not vanishes(pointer_of(None), nothing)
    assert not vanishes(pointer_of(replace(whole, agreed=False)), nothing)
    assert not vanishes(pointer_of(whole), replace(nothing, read_at=NOW - timedelta(hours=1)))
