"""Exact sums of amounts in Python: a context that would rather raise than round.

Python's default context rounds to 28 digits without a word; amounts of decimal(38,18) need up to 38.
"""

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

FLOOR = Decimal("1e-9")
"""What two sums of the provider's may differ by in any case: it adds doubles."""

_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation, Overflow])


def plus(one: Decimal, other: Decimal) -> Decimal:
    """Add two amounts, every digit kept."""
    return _EXACT.add(one, other)


def minus(one: Decimal, other: Decimal) -> Decimal:
    """Subtract an amount, every digit kept."""
    return _EXACT.subtract(one, other)


def times(one: Decimal, other: Decimal) -> Decimal:
    """Multiply, every digit kept."""
    return _EXACT.multiply(one, other)


def near(ours: Decimal, theirs: Decimal, absolute: Decimal, tolerance: Decimal) -> bool:
    """Tell whether two sums differ by no more than the tolerance of the absolute amounts and a small floor."""
    return minus(ours, theirs).copy_abs() <= plus(times(tolerance, absolute), FLOOR)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Add up amounts, every digit kept; without any, zero."""
    result = Decimal(0)
    for amount in amounts:
        result = plus(result, amount)
    return result


def add_by_currency(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    """Add up amounts per currency, the currencies in order: amounts of two are never added."""
    added: dict[str, Decimal] = {}
    for part in parts:
        for currency, amount in part.items():
            added[currency] = plus(added.get(currency, Decimal(0)), amount)
    return dict(sorted(added.items()))


def text(amount: Decimal) -> str:
    """Write an amount with 18 decimals, as everything that is published does.

    Raises:
        Inexact: it has more than 18 decimals.
    """
    return f"{amount.quantize(Decimal('1e-18'), context=_EXACT):f}"


def shown(amounts: Mapping[str, Decimal]) -> str:
    """Write amounts per currency in one line, the currencies in order; `nothing` without any."""
    return (
        ", ".join(f"{text(amount)} {currency}" for currency, amount in sorted(amounts.items())) or "nothing"
    )
