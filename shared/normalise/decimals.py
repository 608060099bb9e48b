"""From the JSON text of an amount to decimal(38,18), exact, rounded half-even once.

polars casts a text to a decimal rightly as long as it is plain: 20 digits at most, a point, 18 at most.
With an exponent it silently loses digits ("1.2345678901234567e-07") or gives null ("12345678901234567e5"),
and the service sends such texts. So everything that is not plain is written out as plain text here first.
"""

import polars as pl

from shared.ledger.columns import MONEY

SCALE = 18
"""Decimals that an amount keeps."""

INTEGER_DIGITS = 20
"""Digits before the point that fit beside them."""

_PLAIN = r"^-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"
_PARTS = (
    r"^(?P<sign>-?)(?P<integer>[0-9]+)(\.(?P<fraction>[0-9]+))?([eE](?P<esign>[+-]?)0*(?P<exponent>[0-9]*))?$"
)

_EXPONENT_DIGITS = 15
"""A longer exponent is read as ten to this power: far beyond what any text's digits can make up for."""

_DIGITS = INTEGER_DIGITS + SCALE
_SHOWN = 60


class AmountError(ValueError):
    """A text is no JSON number, or has more than 20 digits before the point once rounded.

    `row` is the first such row of the series, counted from 0; `text` is what stands there.
    """

    def __init__(self, row: int, text: str) -> None:
        super().__init__(row, text)
        self.row = row
        self.text = text

    def __str__(self) -> str:
        """Name the row and the text, a long text cut."""
        shown = self.text if len(self.text) <= _SHOWN else f"{self.text[:_SHOWN]}..."
        return (
            f"row {self.row}: {shown!r} is not an amount: "
            f"expected a JSON number of at most {INTEGER_DIGITS} digits before the point"
        )


def to_money(text: pl.Series) -> pl.Series:
    """Read JSON number texts as decimal(38,18), rounded half-even once at the 18th decimal.

    The series keeps its name and length; a null stays null; negative zero is zero. An exponent of any size
    costs no more than its own text.

    Raises:
        AmountError: the first row whose text is no JSON number or does not fit.
    """
    texts = text.cast(pl.String)
    odd = ~texts.str.contains(_PLAIN)
    if not odd.any():
        return texts.cast(MONEY)
    rows = odd.fill_null(value=False).arg_true()
    spelled = _spell_out(texts.gather(rows))
    bad = spelled["bad"].arg_true()
    if len(bad):
        row = int(rows[int(bad[0])])
        raise AmountError(row, str(texts[row]))
    return texts.scatter(rows, "0").cast(MONEY).scatter(rows, spelled["amount"])


def money_sum(column: str) -> pl.Expr:
    """Add up a decimal(38,18) column exactly, in any context that `sum` works in; without a row it is 0.

    polars' own sum silently wraps around in a `group_by` (twice 9e19 becomes -1.6e20) and may fail in between
    where the total would fit. Here whole numbers and decimals are added apart, both with room to spare.

    Raises, when it is evaluated:
        polars.exceptions.InvalidOperationError: the total has more than 20 digits before the point.
    """
    each = pl.col(column).cast(pl.Int128)
    rest = (pl.col(column) - each.cast(MONEY)).sum()
    whole = each.sum() + rest.cast(pl.Int128)
    decimals = rest - rest.cast(pl.Int128).cast(MONEY)
    # 100000000000000000000 - 0.5 fits, but its whole number alone would not: let both have one sign.
    over, under = (whole > 0) & (decimals < 0), (whole < 0) & (decimals > 0)
    lent = over.cast(pl.Int128) - under.cast(pl.Int128)
    return ((whole - lent).cast(MONEY) + (decimals + lent.cast(MONEY))).alias(column)


def _spell_out(texts: pl.Series) -> pl.DataFrame:
    """Give `amount` (decimal(38,18)) and `bad` (it is none, `amount` means nothing) for each text."""
    number = pl.col("text").str.contains(_NUMBER)
    return (
        texts.alias("text")
        .to_frame()
        .select(
            number.alias("number"),
            pl.when(number).then("text").otherwise(pl.lit("0")).str.extract_groups(_PARTS).alias("part"),
        )
        .unnest("part")
        .with_columns(pl.col("fraction", "exponent", "esign").fill_null(""))
        .with_columns(digits=pl.concat_str("integer", "fraction").str.strip_chars_start("0"))
        .with_columns(point=_point())
        .with_columns(head=_head(), tail=_tail())
        .with_columns(up=_rounds_up())
        .select(amount=_amount(), bad=~pl.col("number") | _too_large())
    )


def _point() -> pl.Expr:
    """Place of the point: the number is 0.DIGITS x 10**point, clamped to where more changes nothing.

    At -19 and below even 0.999... is less than half of the last decimal; at 21 and above it does not fit.
    """
    exponent = pl.col("exponent")
    huge = exponent.str.len_bytes() > _EXPONENT_DIGITS
    size = (
        pl.when(huge)
        .then(pl.lit(10**_EXPONENT_DIGITS, dtype=pl.Int64))
        .otherwise(
            pl.when(huge | (exponent == "")).then(pl.lit("0")).otherwise(exponent).cast(pl.Int64),
        )
    )
    power = pl.when(pl.col("esign") == "-").then(-size).otherwise(size)
    lengths = pl.col("digits").str.len_bytes().cast(pl.Int64) - pl.col("fraction").str.len_bytes().cast(
        pl.Int64
    )
    return (lengths + power).clip(-SCALE - 1, INTEGER_DIGITS + 1)


def _kept() -> pl.Expr:
    """How many of the leading digits stand at or before the 18th decimal."""
    return (pl.col("point") + SCALE).clip(0, _DIGITS)


def _head() -> pl.Expr:
    """The digits that are kept, as 38 characters: 20 before the point, 18 behind it."""
    zeros = pl.lit("0" * _DIGITS)
    kept = pl.concat_str(pl.col("digits"), zeros).str.slice(0, _kept())
    return pl.concat_str(zeros, kept).str.slice(-_DIGITS)


def _tail() -> pl.Expr:
    """The digits that are rounded away, without trailing zeros; none where they are too small to matter."""
    tail = pl.col("digits").str.slice(_kept()).str.strip_chars_end("0")
    return pl.when(pl.col("point") < -SCALE).then(pl.lit("")).otherwise(tail)


def _rounds_up() -> pl.Expr:
    """Half-even: up beyond "5", at exactly "5" only to make an odd last digit even.

    Texts compare by their first difference, so a tail is more than half exactly if it sorts after "5".
    """
    odd = pl.col("head").str.contains("[13579]$")
    return (pl.col("tail") > "5") | ((pl.col("tail") == "5") & odd)


def _too_large() -> pl.Expr:
    """More than 20 digits before the point, or rounded up to that."""
    beyond = (pl.col("digits") != "") & (pl.col("point") > INTEGER_DIGITS)
    return beyond | ((pl.col("head") == "9" * _DIGITS) & pl.col("up"))


def _amount() -> pl.Expr:
    """The decimal: the kept digits, and one unit of the last decimal where they round up."""
    whole = pl.col("head").str.slice(0, INTEGER_DIGITS)
    decimals = pl.col("head").str.slice(INTEGER_DIGITS)
    size = pl.concat_str(whole, pl.lit("."), decimals).cast(MONEY)
    unit = pl.lit(f"0.{'0' * (SCALE - 1)}1").cast(MONEY)
    nothing = pl.lit("0").cast(MONEY)
    # What is too large is reported by its row; adding to it here would fail without one.
    step = pl.when(pl.col("up") & ~_too_large()).then(unit).otherwise(nothing)
    return pl.when(pl.col("sign") == "-").then(nothing - size - step).otherwise(size + step)
