"""What moved between two times, put together from days: nothing that moved may cancel out of the list."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.history.beliefs import Charged
from shared.history.changes import MovedCharges

METRIC = "ActualCost"
DAYS = [date(2026, 3, day) for day in (1, 2, 3)]
CHARGED = [
    Charged(subscription, service, currency)
    for subscription in ("a", "b")
    for service in ("Storage", None)
    for currency in ("EUR", "USD")
]
AMOUNT = st.decimals(-50, 50, places=4)
AMOUNTS = st.dictionaries(st.sampled_from(CHARGED), AMOUNT)

A, B = (Charged(name, "Storage", "USD") for name in "ab")


def said(cost_a: int, cost_b: int) -> Mapping[Charged, Decimal]:
    return {A: Decimal(cost_a), B: Decimal(cost_b)}


def test_what_moved_back_on_another_day_and_in_another_subscription_is_named() -> None:
    moved = MovedCharges(METRIC)
    days = [
        *moved.on(DAYS[0], said(100, 300), said(200, 200)),
        *moved.on(DAYS[1], said(100, 300), said(0, 400)),
        *moved.on(DAYS[2], said(7, 7), said(7, 7)),
    ]

    nothing, both = Decimal(0), Decimal(200)
    assert [(one.day, one.amount.change, one.amount.gross) for one in days] == [
        (DAYS[0], nothing, both),
        (DAYS[1], nothing, both),
    ]
    assert {(one.charged, one.days, one.amount.change, one.amount.gross) for one in moved.charges()} == {
        (A, 2, nothing, both),
        (B, 2, nothing, both),
    }


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=3, max_size=3))
def test_every_charge_that_moved_on_a_day_is_named_with_all_that_moved(
    days: list[tuple[dict[Charged, Decimal], dict[Charged, Decimal]]],
) -> None:
    moved = MovedCharges(METRIC)
    of_days = [one for day, pair in zip(DAYS, days, strict=True) for one in moved.on(day, *pair)]

    steps = {
        (day, charged): after.get(charged, Decimal(0)) - before.get(charged, Decimal(0))
        for day, (before, after) in zip(DAYS, days, strict=True)
        for charged in {*before, *after}
    }
    steps = {key: step for key, step in steps.items() if step}
    assert {one.charged for one in moved.charges()} == {charged for _, charged in steps}
    assert {(one.day, one.currency) for one in of_days} == {(day, charged.currency) for day, charged in steps}
    for named in moved.charges():
        parts = [step for (_, charged), step in steps.items() if charged == named.charged]
        assert (named.days, named.amount.change) == (len(parts), sum(parts))
        assert named.amount.gross == sum(map(abs, parts))
    for one in of_days:
        parts = [
            step
            for (day, charged), step in steps.items()
            if (day, charged.currency) == (one.day, one.currency)
        ]
        assert (one.amount.change, one.amount.gross) == (sum(parts), sum(map(abs, parts)))
