"""A day's totals, made from the current records of all its subscriptions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import polars as pl
import polars_hash as plh

from shared.ledger.columns import COST_COLUMN, DAILY
from shared.normalise.decimals import money_sum

_HASHED = ("billing_date", "account_id", "service_name", "currency", "is_adjustment")


class TotalError(ValueError):
    """A day cannot be added up: a record has no cost, or a total has more than 20 digits before the point."""


@contextmanager
def adding_up(day: date) -> Iterator[None]:
    """Name a total of the day that does not fit.

    Raises:
        TotalError: the block added up to more than 20 digits before the point.
    """
    try:
        yield
    except pl.exceptions.InvalidOperationError as error:
        raise TotalError(f"a total of {day} has more than 20 digits before the point") from error


def daily(records: pl.DataFrame, metric: str, day: date) -> pl.DataFrame:
    """Add up a day: one row per account, service, currency and whether it is an adjustment.

    Args:
        records: `subscription_id` (lower case, or `none`) and the columns of `LEDGER`; rows that ended count
            for nothing.
        metric: ActualCost or AmortizedCost; says which column is the cost.
        day: the day that all the records are of.

    Returns:
        The columns of `DAILY`, sorted; sums are exact.

    Raises:
        TotalError: a record has no cost in the metric's column, or a sum does not fit decimal(38,18).
    """
    cost = COST_COLUMN[metric]
    current = records.filter(pl.col("x_ValidTo").is_null())
    if current[cost].null_count():
        raise TotalError(f"{current[cost].null_count()} records of {day} have no {cost}")
    totals = _add_up(current, cost, day)
    return (
        totals.with_columns(pl.lit(day).alias("billing_date"))
        .with_columns(record_hash=_record_hash(metric))
        .cast({"record_count": pl.Int64})
        .select(*DAILY)
        .sort(_HASHED, nulls_last=True)
    )


def _add_up(current: pl.DataFrame, cost: str, day: date) -> pl.DataFrame:
    grouped = current.group_by(
        account_id="subscription_id",
        service_name="ServiceName",
        currency="BillingCurrency",
        is_adjustment="x_IsAdjustment",
    )
    with adding_up(day):
        return grouped.agg(cost_amount=money_sum(cost), record_count=pl.len())


def _record_hash(metric: str) -> pl.Expr:
    """SHA-256 in hex of the row's key, its parts joined by `|`, null as empty."""
    parts = [pl.col(column).cast(pl.String).fill_null("") for column in _HASHED]
    text = pl.concat_str(pl.lit(metric), *parts, separator="|")
    return plh.CryptographicHashingNameSpace(text).sha2_256()
