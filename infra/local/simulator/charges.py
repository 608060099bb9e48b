"""What the synthetic tenant is made of: lines (one meter of one resource) and their daily charges.

Amounts are exact decimals. Each is the shortest text of a double, because the service holds doubles: a group
of one charge is then emitted with exactly the digits of its charge.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation
from enum import StrEnum
from typing import NamedTuple

DIMENSIONS = (
    "SubscriptionId",
    "SubscriptionName",
    "ResourceId",
    "ResourceGroupName",
    "ResourceLocation",
    "ResourceType",
    "ResourceGuid",
    "MeterCategory",
    "MeterSubcategory",
    "Meter",
    "ServiceName",
    "ChargeType",
    "PublisherType",
    "PricingModel",
    "Frequency",
    "ReservationId",
    "BenefitId",
    "InvoiceId",
)
"""The dimensions a query may group by."""

NO_SUBSCRIPTION = "none"
"""The label of cost that belongs to no subscription."""

EXACT = Context(prec=200, traps=[Inexact, InvalidOperation])
"""Adds without rounding, and raises if it ever had to."""

ZERO = Decimal(0)
PUBLISHED_STEP = Decimal("1e-18")
_PUBLISHED = Context(prec=60, rounding=ROUND_HALF_EVEN)


class Metric(StrEnum):
    """The two readings of cost: what is billed, and what it is worth where it is used."""

    ACTUAL = "ActualCost"
    AMORTIZED = "AmortizedCost"


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One meter of one resource in one currency; two lines are the same only if they are one object.

    `subscription` is the lower-case id or `none`, while `dimensions["SubscriptionId"]` is what the service
    says (null, empty, or the id). `profile` is the billing profile that pays.
    """

    subscription: str
    currency: str
    profile: str
    dimensions: Mapping[str, str | None]
    tags: Mapping[str, str]


class Charge(NamedTuple):
    """What a line cost on one day; a metric in which the charge does not exist is None."""

    line: Line
    actual: Decimal | None
    amortized: Decimal | None
    quantity: Decimal

    def cost(self, metric: Metric) -> Decimal | None:
        """Give the charge's cost in `metric`, or None where it is no part of that metric."""
        return self.actual if metric is Metric.ACTUAL else self.amortized


def as_service_number(value: float) -> Decimal:
    """Give the double `value` as the decimal its shortest text says (15 to 17 digits, maybe an exponent)."""
    return Decimal(repr(value))


def number_text(value: Decimal) -> str:
    """Write an exact sum as the service does: the shortest text of the nearest double, a JSON number."""
    return repr(float(value) + 0.0)  # adding zero turns -0.0 into 0.0


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    """Add without rounding.

    Raises:
        decimal.Inexact: The amounts lie more than 200 digits apart.
    """
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def published(text: str) -> Decimal:
    """Give an emitted number as a ledger must publish it: rounded half-even, once, to 18 decimals."""
    return Decimal(text).quantize(PUBLISHED_STEP, context=_PUBLISHED)
