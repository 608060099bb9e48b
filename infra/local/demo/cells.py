"""What is compared, on both sides: exact totals per day, currency and subscription.

The published side is read from the Parquet files alone, as a reader would; the provider's side is the
simulator's truth, which shares no code with the engine.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl

from infra.local.simulator import Metric, Total, TruthKey
from infra.local.simulator.charges import EXACT, ZERO

Cells = Mapping[TruthKey, Total]
"""Amount and number of rows by day, currency and subscription."""

ByDay = Mapping[tuple[date, str], Total]
"""Amount and number of rows by day and currency."""

NOTHING = Total(ZERO, 0)
METRIC = Metric.ACTUAL.value


def ledger_cells(costs: Path) -> dict[TruthKey, Total]:
    """Add up the ledger's current records in the folder `costs`, a copy of the published container."""
    current = _scan(costs / "ledger" / f"metric={METRIC}").filter(pl.col("x_ValidTo").is_null())
    totals = (
        current.group_by("usage_date", "BillingCurrency", "subscription_id")
        .agg(pl.col("BilledCost").sum(), pl.len().alias("rows"))
        .collect()
    )
    return {
        TruthKey(day, currency, subscription): Total(amount, rows)
        for day, currency, subscription, amount, rows in totals.iter_rows()
    }


def former_versions(costs: Path) -> dict[date, int]:
    """Count the ledger's records that were replaced or withdrawn and are kept, by day."""
    former = _scan(costs / "ledger" / f"metric={METRIC}").filter(pl.col("x_ValidTo").is_not_null())
    return dict(former.group_by("usage_date").len().collect().iter_rows())


def daily_cells(costs: Path) -> dict[TruthKey, Total]:
    """Add up the daily totals in the folder `costs`; the rows are the records they were made from."""
    totals = (
        _scan(costs / "daily" / f"metric={METRIC}")
        .group_by("billing_date", "currency", "account_id")
        .agg(pl.col("cost_amount").sum(), pl.col("record_count").sum())
        .collect()
    )
    return {
        TruthKey(day, currency, account): Total(amount, rows)
        for day, currency, account, amount, rows in totals.iter_rows()
    }


def differences(what: str, published: Cells, truth: Cells) -> list[str]:
    """Name each cell in which `what` was published is not to the last digit what the provider says."""
    found = []
    for key in sorted(published.keys() | truth.keys()):
        ours, theirs = published.get(key, NOTHING), truth.get(key, NOTHING)
        if ours != theirs:
            found.append(
                f"{what}, {key.day} {key.currency} of {key.subscription}: published {ours.amount:f} in {ours.rows} "
                f"rows, the provider says {theirs.amount:f} in {theirs.rows}"
            )
    return found


def by_currency(cells: Cells) -> dict[str, Decimal]:
    """Add up per currency, without rounding."""
    totals: dict[str, Decimal] = {}
    for key, total in sorted(cells.items()):
        totals[key.currency] = EXACT.add(totals.get(key.currency, ZERO), total.amount)
    return totals


def by_day(cells: Cells) -> dict[tuple[date, str], Total]:
    """Add up per day and currency, without rounding."""
    totals: dict[tuple[date, str], Total] = {}
    for key, total in cells.items():
        so_far = totals.get((key.day, key.currency), NOTHING)
        totals[key.day, key.currency] = Total(
            EXACT.add(so_far.amount, total.amount), so_far.rows + total.rows
        )
    return totals


def moved(before: ByDay, after: ByDay) -> dict[tuple[date, str], Total]:
    """Give by how much each total and its number of rows moved, where one of them did."""
    deltas = {}
    for key in before.keys() | after.keys():
        had, has = before.get(key, NOTHING), after.get(key, NOTHING)
        if had != has:
            deltas[key] = Total(EXACT.subtract(has.amount, had.amount), has.rows - had.rows)
    return deltas


def changed_days(before: Cells, after: Cells) -> set[date]:
    """Give the days of which any cell is another one now."""
    return {key.day for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _scan(folder: Path) -> pl.LazyFrame:
    return pl.scan_parquet(folder / "**" / "*.parquet", hive_partitioning=True, try_parse_hive_dates=True)
