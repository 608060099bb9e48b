"""Amounts from JSON text: exact, rounded once, refused by row where they do not fit."""

import decimal
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.ledger.columns import MONEY
from shared.normalise.decimals import AmountError, money_sum, money_sums, to_money

LAST = Decimal("1e-18")
LARGEST = Decimal("99999999999999999999.999999999999999999")

plain = st.from_regex(r"-?(0|[1-9][0-9]{0,29})(\.[0-9]{1,30})?", fullmatch=True, alphabet="-.0123456789")
exponents = st.one_of(
    st.just(""),
    st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), st.integers(0, 40)),
)
ties = st.builds(
    "{}{}.{:018d}5".format, st.sampled_from(["", "-"]), st.integers(0, 10**20 - 1), st.integers(0, 10**18 - 1)
)
numbers = st.one_of(st.builds("{}{}".format, plain, exponents), ties)


def reference(text: str) -> Decimal | None:
    """What Python's own decimals make of a text; None where it does not fit."""
    with decimal.localcontext(prec=120):
        value = Decimal(text).quantize(LAST, rounding=decimal.ROUND_HALF_EVEN)
    return value if value.copy_abs() <= LARGEST else None


@given(st.lists(st.one_of(st.none(), numbers), max_size=12))
@example(["-0.0", "1e-18", "5e-19", "15e-19", "-25e-19", "5.000000000000000000000000000001e-19"])
@example(["99999999999999999999.9999999999999999994", "99999999999999999999.9999999999999999995"])
def test_agrees_with_decimal_on_any_json_number(texts: list[str | None]) -> None:
    """A text is what `decimal` makes of it at 18 decimals, half-even; the first misfit is named."""
    expected = [None if text is None else reference(text) for text in texts]
    bad = [row for row, text in enumerate(texts) if text is not None and expected[row] is None]
    series = pl.Series("cost", texts, dtype=pl.String)

    if bad:
        with pytest.raises(AmountError) as caught:
            to_money(series)
        assert (caught.value.row, caught.value.text) == (bad[0], texts[bad[0]])
    else:
        money = to_money(series)
        assert money.dtype == MONEY
        assert money.name == "cost"
        assert money.to_list() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", "5"),
        ("1.2345678901234567e-07", "0.000000123456789012"),
        ("12345678901234567e3", "12345678901234567000"),
        ("1E+2", "100"),
        ("0.0000000000000000005", "0"),
        ("0.0000000000000000015", "0.000000000000000002"),
        ("-0.0000000000000000025", "-0.000000000000000002"),
        ("1234567890.1234567890123456785", "1234567890.123456789012345678"),
        ("1234567890.12345678901234567850000001", "1234567890.123456789012345679"),
        ("0.9999999999999999999", "1"),
        ("1e-999999999", "0"),
        ("-1e-99999999999999999999999999", "0"),
        ("0e999999999", "0"),
        ("-0.00E99999999999999999999999999", "0"),
        ("123456789012345678901234567890e-12", "123456789012345678.90123456789"),
        ("0.00000000000000000000000000001e29", "1"),
        ("1e0000000000000000000000000000000000001", "10"),
        ("-99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"),
    ],
)
def test_reads_what_the_service_may_send(text: str, expected: str) -> None:
    assert to_money(pl.Series([text])).to_list() == [Decimal(expected)]


def test_negative_zero_is_zero() -> None:
    """Two writings of nothing must not differ once they are hashed."""
    money = to_money(pl.Series(["-0", "-0.0", "-0e5", "-1e-30", "0"]))

    assert money.cast(pl.String).unique().to_list() == ["0.000000000000000000"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".5",
        "1.",
        "01",
        "+1",
        "1e",
        "1e+",
        " 1",
        "1 ",
        "1\n",
        "1,5",
        "NaN",
        "Infinity",
        "0x1",
        "१",
        "1_0",
    ],
)
def test_refuses_what_is_no_json_number(text: str) -> None:
    with pytest.raises(AmountError) as caught:
        to_money(pl.Series(["1", None, "1e-3", text, "also bad"]))

    assert (caught.value.row, caught.value.text) == (3, text)


@pytest.mark.parametrize(
    "text",
    [
        "100000000000000000000",
        "-1e20",
        "1e999999999",
        "1e99999999999999999999999999",
        "123456789012345678901234567890e-2",
        "99999999999999999999.9999999999999999995",
    ],
)
def test_refuses_more_than_20_digits_before_the_point(text: str) -> None:
    with pytest.raises(AmountError, match=r"row 1: .* at most 20 digits"):
        to_money(pl.Series(["1", text]))


def test_a_long_bad_text_is_cut_in_the_message_only() -> None:
    text = "1" * 5000

    with pytest.raises(AmountError) as caught:
        to_money(pl.Series([text]))

    assert caught.value.text == text
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("nothing", [pl.Series([], dtype=pl.String), pl.Series([None, None])])
def test_no_text_is_no_amount(nothing: pl.Series) -> None:
    money = to_money(nothing)

    assert money.dtype == MONEY
    assert money.null_count() == len(nothing)


amounts = st.decimals(LARGEST.copy_negate(), LARGEST, places=18, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.one_of(amounts, st.none())), max_size=12))
@example([("a", LARGEST), ("a", LARGEST)])
@example([("a", LARGEST), ("a", LARGEST), ("a", LARGEST.copy_negate())])
@example([("a", LARGEST), ("a", LAST)])
@example([("a", Decimal(10**20 - 1)), ("a", Decimal(1)), ("a", Decimal("-0.5"))])
@example([("a", Decimal(1 - 10**20)), ("a", Decimal(-1)), ("a", Decimal("0.5"))])
@example([("a", Decimal("-0.7")), ("a", Decimal("-0.7")), ("b", Decimal("0.3"))])
def test_sums_are_exact_or_refused(rows: list[tuple[str, Decimal | None]]) -> None:
    """A total of a group is that of `decimal`; one that does not fit fails and never wraps around."""
    expected: dict[str, Decimal] = {}
    with decimal.localcontext(prec=60):
        for group, amount in rows:
            expected[group] = expected.get(group, Decimal(0)) + (amount or 0)
    frame = pl.DataFrame(rows, schema={"group": pl.String, "cost": MONEY}, orient="row")
    for way in ([money_sum("cost")], money_sums(frame, ["cost"])):
        sums = frame.lazy().group_by("group").agg(way)

        if any(total.copy_abs() > LARGEST for total in expected.values()):
            with pytest.raises(pl.exceptions.InvalidOperationError):
                sums.collect()
        else:
            assert dict(sums.collect().iter_rows()) == expected


def test_the_texts_are_left_as_they_were() -> None:
    frame = pl.DataFrame({"cost": ["1e5", "2"]})

    to_money(frame["cost"])

    assert frame["cost"].to_list() == ["1e5", "2"]
