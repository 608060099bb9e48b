"""When two sums of the provider's are the same: it adds doubles, we add decimals."""

from decimal import Decimal

from shared.normalise.exact import minus, plus, times

FLOOR = Decimal("1e-9")
"""What two sums may differ by in any case."""


def near(ours: Decimal, theirs: Decimal, absolute: Decimal, tolerance: Decimal) -> bool:
    """Tell whether two sums differ by no more than the tolerance of the absolute amounts and the floor."""
    return abs(minus(ours, theirs)) <= plus(times(tolerance, absolute), FLOOR)
