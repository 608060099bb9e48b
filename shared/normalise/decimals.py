"""From the JSON text of an amount to decimal(38,18), exact, rounded half-even once.

polars casts a text to a decimal rightly as long as it is plain: 20 digits at most, a point, 18 at most.
With an exponent it silently loses digits ("1.2345678901234567e-07") or gives null ("12345678901234567e5"),
and the service sends such texts. So Python's decimals write out everything that is not plain as plain text first.
"""

from collections.abc import Iterable
from contextlib import suppress
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from operator import methodcaller

import polars as pl

from shared.ledger.columns import MONEY

SCALE = 18
"""Decimals that an amount keeps."""

INTEGER_DIGITS = 20
"""Digits before the point that fit beside them."""

_PLAIN = r"^-?(0|[1-9][0-9]{0,19})(\.[0-9]{1,18})?$"
_NUMBER = r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$"

_LAST = Decimal(1).scaleb(-SCALE)
_FITS = Context(prec=INTEGER_DIGITS + SCALE, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX)
"""Rounds once, and takes no result of more digits than a decimal(38,18) has."""

_round = methodcaller("quantize", _LAST, context=_FITS)

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
    found = texts.gather(rows)
    numbers = found.str.contains(_NUMBER)
    if numbers.all():
        # All at once, without a line of Python for each; where one does not fit, the way below finds it.
        with suppress(InvalidOperation):
            return texts.scatter(rows, list(map("{:f}".format, map(_round, map(Decimal, found))))).cast(MONEY)
    written = [_plain(text) if number else None for text, number in zip(found, numbers, strict=True)]
    if None in written:
        row = int(rows[written.index(None)])
        raise AmountError(row, str(texts[row]))
    return texts.scatter(rows, written).cast(MONEY)


def money_sums(frame: pl.DataFrame, columns: Iterable[str]) -> list[pl.Expr]:
    """Add up columns of this frame as `money_sum` does, each in the plain way where that cannot wrap around.

    It cannot where even the largest amount, as often as there are rows, has no more than 20 digits before the point.
    """
    room = Decimal(10**INTEGER_DIGITS - 1) / max(len(frame), 1)
    return [pl.col(name).sum() if _largest(frame[name]) < room else money_sum(name) for name in columns]


def _largest(amounts: pl.Series) -> Decimal:
    found: Decimal | None = amounts.abs().max()  # type: ignore[assignment]  # of decimals
    return found or Decimal(0)


def _plain(number: str) -> str | None:
    """Write a JSON number with 18 decimals, rounded half-even; None if more than 20 digits stand before the point."""
    try:
        exact = Decimal(number)
    except InvalidOperation:
        # The exponent has more than 18 digits: far more than any text's digits can make up for.
        digits, _, exponent = number.lower().partition("e")
        return "0" if exponent.startswith("-") or not digits.strip("-0.") else None
    try:
        return f"{_round(exact):f}"
    except InvalidOperation:
        return None


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
