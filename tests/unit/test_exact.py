"""Sums of amounts keep every digit, or raise."""

from decimal import Decimal, Inexact, getcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.normalise.exact import add_by_currency, minus, plus, text, times, total

amounts = st.decimals(min_value=-(10**20), max_value=10**20, places=18)
LARGE, TINY = Decimal(99999999999999999999), Decimal("1e-18")


@given(st.lists(amounts, max_size=30))
def test_total_is_that_of_fractions(parts: list[Decimal]) -> None:
    assert Fraction(total(parts)) == sum(map(Fraction, parts))


@given(amounts, amounts)
def test_difference_and_product_are_those_of_fractions(one: Decimal, other: Decimal) -> None:
    assert Fraction(minus(one, other)) == Fraction(one) - Fraction(other)
    assert Fraction(times(one, other)) == Fraction(one) * Fraction(other)


def test_sum_that_the_default_context_would_round_is_kept() -> None:
    assert LARGE + TINY == LARGE, f"the default context has {getcontext().prec} digits"
    assert text(plus(LARGE, TINY)) == "99999999999999999999.000000000000000001"


def test_currencies_are_kept_apart_and_in_order() -> None:
    added = add_by_currency([{"USD": Decimal(1)}, {"EUR": Decimal(2)}, {"USD": Decimal("0.5")}])

    assert list(added.items()) == [("EUR", Decimal(2)), ("USD", Decimal("1.5"))]


@pytest.mark.parametrize(
    ("amount", "written"),
    [("0", "0.000000000000000000"), ("-1.5", "-1.500000000000000000"), ("1e-18", "0.000000000000000001")],
)
def test_amount_is_written_with_18_decimals(amount: str, written: str) -> None:
    assert text(Decimal(amount)) == written


def test_amount_with_more_decimals_is_not_rounded_in_silence() -> None:
    with pytest.raises(Inexact):
        text(Decimal("1e-19"))
