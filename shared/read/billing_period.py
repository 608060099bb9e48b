"""The billing period that records tell: whether it holds the days that were asked for by the period's name.

Source: Consumption REST API 2024-08-01, billingPeriodStartDate and billingPeriodEndDate of LegacyUsageDetail and
ModernUsageDetail, both days inclusive; 2018-10-01, billingPeriodId of UsageDetail, which ends in the period's name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from shared.read.details_shapes import Shape
from shared.read.utc_days import utc_day


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """A billing period as a record tells it: its first and last day, or its name; None is what it does not tell."""

    first: date | None
    last: date | None
    name: str | None

    @property
    def tells_days(self) -> bool:
        """Whether it is known which days it has: a name alone says no more than what was asked for."""
        return self.first is not None and self.last is not None

    def covers(self, first: date, last: date) -> bool:
        """Whether nothing of it speaks against its being the period that was asked for, with all of these days."""
        begins = self.first is None or self.first <= first
        ends = self.last is None or self.last >= last
        return begins and ends and self.name in (None, period_name(first))

    def __str__(self) -> str:
        return self.name or f"{self.first or 'an unknown day'} to {self.last or 'an unknown day'}"


def period_name(first: date) -> str:
    """Name the billing period that is asked for a window: its month, windows never cross one."""
    return f"{first:%Y%m}"


def told_by(properties: Mapping[str, Any], shape: Shape) -> BillingPeriod:
    """Give the period that a record tells; what is absent, or no day and no name, tells nothing."""
    first, last = (_day(properties.get(name)) for name in shape.period_days or ("", ""))
    told = properties.get(shape.period_id or "")
    name = told.rpartition("/")[2] if isinstance(told, str) else ""
    return BillingPeriod(first, last, name or None)


def _day(told: object) -> date | None:
    return utc_day(told) if isinstance(told, str) else None


def misfit(told: Iterable[BillingPeriod], first: date, last: date) -> tuple[str, str] | None:
    """Say, as (cause, cure), which told period does not hold the window from `first` to `last`, None where all do."""
    wrong = sorted(str(period) for period in told if not period.covers(first, last))
    if not wrong:
        return None
    asked = f"billing period {period_name(first)} was asked for the days {first} to {last}"
    return f"BillingPeriod: {asked}, the records are of {wrong[0]}", CURE


def untold_period(first: date, records: int) -> tuple[str, str]:
    """Say, as (cause, cure), why nobody knows which days a period has, where so many records came."""
    if records:
        return f"which days billing period {period_name(first)} has is told by no record", CURE
    return f"billing period {period_name(first)} has no record, so none tells its days", EMPTY_CURE


CURE = (
    "set this scope's `period` in COST_SCOPES to `filter` or `dates`: a billing period that is no calendar month "
    "does not hold the days of one"
)
EMPTY_CURE = (
    "run again when it has a record, or set this scope's `period` in COST_SCOPES to `filter` or `dates`, whose empty "
    "answers are about days"
)
