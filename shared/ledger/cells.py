"""A day's cells: what one scope owns or doesn't own as a whole.

A cell is a subscription's charges of one class, in a resource group that some scope claims or outside all. Of
charges that are no usage, scopes see some types and not others, so these are told apart by their type as well.
"""

from collections.abc import Iterable
from enum import StrEnum

import polars as pl

from shared.ledger.columns import NO_SUBSCRIPTION
from shared.scopes import Scope

CELL = ("subscription_id", "charge_class", "group", "charge_type")

_USAGE_TYPES = ("usage", "unusedreservation", "unusedsavingsplan")


class ChargeClass(StrEnum):
    """What decides who sees a charge best."""

    USAGE = "usage"
    OTHER = "other"


def charge_class() -> pl.Expr:
    """Usage, paid for in advance and unused included, or other; without a subscription always other."""
    usage = pl.col("x_ChargeType").str.to_lowercase().is_in(_USAGE_TYPES).fill_null(value=False)
    of_subscription = pl.col("subscription_id") != NO_SUBSCRIPTION
    return (
        pl.when(usage & of_subscription)
        .then(pl.lit(ChargeClass.USAGE.value))
        .otherwise(pl.lit(ChargeClass.OTHER.value))
    )


def with_cells(rows: pl.DataFrame, scopes: Iterable[Scope]) -> pl.DataFrame:
    """Give each row its cell, the columns of `CELL`, and its scope in lower case, in the rows' order.

    Args:
        rows: at least subscription_id, x_ChargeType, x_ResourceGroup and x_SourceScope.
        scopes: all that have a reading of the day: a `group` is one that some of them is, or null.
    """
    groups = [scope for scope in scopes if scope.resource_group is not None]
    own = pl.DataFrame(
        {"scope": [scope.lower_path for scope in groups], "own": [scope.resource_group for scope in groups]},
        schema={"scope": pl.String, "own": pl.String},
    )
    claimed = pl.DataFrame(
        {
            "subscription_id": [scope.subscription_id for scope in groups],
            "named": [scope.resource_group for scope in groups],
            "group": [scope.resource_group for scope in groups],
        },
        schema={"subscription_id": pl.String, "named": pl.String, "group": pl.String},
    )
    return (
        rows.with_columns(
            charge_class=charge_class(),
            scope=pl.col("x_SourceScope").str.to_lowercase(),
            named=pl.col("x_ResourceGroup").str.to_lowercase(),
        )
        .join(claimed, on=["subscription_id", "named"], how="left", maintain_order="left")
        .join(own, on="scope", how="left", maintain_order="left")
        # A resource group's scope reports that group alone, whether or not its rows name it.
        .with_columns(group=pl.coalesce("own", "group"), charge_type=_type_of_others())
        .drop("own", "named")
    )


def _type_of_others() -> pl.Expr:
    """The type of a charge that is no usage: of these, scopes see some types and not others."""
    other = pl.col("charge_class") == ChargeClass.OTHER
    return pl.when(other).then(pl.col("x_ChargeType").str.to_lowercase())
