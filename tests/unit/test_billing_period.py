"""What records tell of their billing period, and whether it holds the window that was asked for."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from shared.read.billing_period import BillingPeriod, misfit
from shared.read.details_schema import read

COMMON = {"meterId": "m", "chargeType": "Usage", "quantity": 1, "date": "2026-05-10"}
KINDS: dict[str | None, dict[str, Any]] = {
    "legacy": {**COMMON, "billingCurrency": "USD", "resourceId": "r", "cost": 1},
    "modern": {**COMMON, "billingCurrencyCode": "USD", "instanceName": "r", "costInBillingCurrency": 1},
    None: {
        "meterId": "m",
        "usageStart": "2026-05-10",
        "usageQuantity": 1,
        "currency": "USD",
        "instanceId": "r",
        "pretaxCost": 1,
    },
}
START, END = "billingPeriodStartDate", "billingPeriodEndDate"


def told(kind: str | None, *said: Mapping[str, object]) -> set[BillingPeriod]:
    records = [
        {"properties": {**KINDS[kind], **one}, **({} if kind is None else {"kind": kind})} for one in said
    ]
    return read(json.dumps({"value": records}).encode(), wide=False).periods


@pytest.mark.parametrize("kind", ["legacy", "modern"])
@pytest.mark.parametrize(
    ("first", "last", "fits"),
    [
        ("2026-05-01T00:00:00.0000000Z", "2026-05-31T00:00:00.0000000Z", True),
        ("2026-04-20T00:00:00Z", "2026-05-20T00:00:00Z", True),
        ("2026-05-10", "2026-05-20", True),
        ("2026-05-11T00:00:00Z", "2026-06-10T00:00:00Z", False),
        ("2026-04-20T00:00:00Z", "2026-05-19T00:00:00Z", False),
    ],
)
def test_period_must_hold_the_whole_window_whatever_else_it_holds(
    kind: str, first: str, last: str, *, fits: bool
) -> None:
    periods = told(kind, {START: first, END: last})

    wrong = misfit(periods, date(2026, 5, 10), date(2026, 5, 20))

    assert all(period.tells_days for period in periods)
    assert (wrong is None) is fits
    if wrong is not None:
        asked = "billing period 202605 was asked for the days 2026-05-10 to 2026-05-20"
        assert wrong[0] == f"BillingPeriod: {asked}, the records are of {first[:10]} to {last[:10]}"


@pytest.mark.parametrize(("name", "fits"), [("202605", True), ("202605-1", False), ("201704", False)])
def test_name_of_a_record_of_before_2019_must_be_the_one_asked_for_and_tells_no_days(
    name: str, *, fits: bool
) -> None:
    periods = told(
        None, {"billingPeriodId": f"/subscriptions/s/providers/Microsoft.Billing/billingPeriods/{name}"}
    )

    assert (misfit(periods, date(2026, 5, 1), date(2026, 5, 31)) is None) is fits
    assert not any(period.tells_days for period in periods)


@pytest.mark.parametrize(
    "said", [{}, {START: None, END: None}, {START: 7, END: "May"}, {START: "2026-05-01"}]
)
def test_period_that_is_not_told_in_full_is_not_told_and_no_drift(said: Mapping[str, object]) -> None:
    periods = told("legacy", said)

    assert misfit(periods, date(2026, 5, 1), date(2026, 5, 31)) is None
    assert not any(period.tells_days for period in periods)


def test_one_record_of_another_period_is_enough_to_refuse() -> None:
    whole, half = {START: "2026-05-01", END: "2026-05-31"}, {START: "2026-05-16", END: "2026-05-31"}

    assert misfit(told("legacy", whole, half), date(2026, 5, 1), date(2026, 5, 31)) is not None
    assert misfit(told("legacy", whole, half), date(2026, 5, 16), date(2026, 5, 31)) is None
