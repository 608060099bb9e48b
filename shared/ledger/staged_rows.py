"""A reading's rows in its staged pages, and whether they are those that were read."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from shared.days import Owned, Reading
from shared.normalise.decimals import money_sum
from shared.normalise.exact import shown
from shared.runs import registry_partition
from shared.staging import CURE, StagedPageMissingError
from shared.versions import UnreadableError


def owned_of(rows: pl.DataFrame, cost: str) -> Owned:
    """Count rows and add up their cost per currency."""
    sums = rows.group_by("BillingCurrency").agg(money_sum(cost)).sort("BillingCurrency").iter_rows()
    return Owned(len(rows), dict(sums))


def demand_read(container: str, names: Sequence[str], day: date, found: Owned, reading: Reading) -> None:
    """Make sure that what staged pages hold of a day are the rows of its reading, by their count and totals.

    Raises:
        StagedPageMissingError: there are fewer, or more.
        UnreadableError: they add up to another amount: a page was replaced.
    """
    if found.records != reading.records:
        partition = registry_partition(reading.run, reading.slice, reading.generation)
        raise StagedPageMissingError(
            f"{partition}: {found.records} of {reading.records} rows of {day} are left"
        )
    if found.totals != reading.totals:
        more = f" and {len(names) - 1} more" if names[1:] else ""
        wrong = f"holds {shown(found.totals)} of {day} where {shown(reading.totals)} was read"
        raise UnreadableError(f"{container}/{names[0]}{more}", wrong, CURE)
