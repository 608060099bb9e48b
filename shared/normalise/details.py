"""From records of usageDetails to records of the ledger: which of their fields are identity, which are content.

An identity holds what the charge is of, as returned, and nothing that the provider adds later (invoice) or may
rename (display names); amounts and what else is published are content. Several records of one identity, and even
equal ones, are legitimate: Microsoft says that every record should be considered unique.
"""

from datetime import date

import polars as pl

from shared.ledger.columns import MONEY
from shared.normalise.decimals import AmountError, to_money
from shared.normalise.hashing import content, identity
from shared.normalise.records import COST_TOLD, DAY_TOLD, OWNER, QUANTITY_TOLD, Records, given, staged
from shared.read.details_schema import Details
from shared.read.details_shapes import COLUMNS, CURRENCY, SUBSCRIPTION, TAGS
from shared.read.schema import SchemaDriftError

IDENTITY = (
    DAY_TOLD,
    OWNER,
    "ResourceGuid",
    "ResourceId",
    "ResourceGroupName",
    "ResourceLocation",
    "ConsumedService",
    "ChargeType",
    "Frequency",
    "PublisherType",
    "PricingModel",
    "ReservationId",
    "BenefitId",
    "OfferId",
    TAGS,
    CURRENCY,
)
"""Columns that make a record's identity."""

CONTENT = (
    COST_TOLD,
    QUANTITY_TOLD,
    "SubscriptionName",
    "ResourceName",
    "Meter",
    "MeterCategory",
    "UnitOfMeasure",
    "PublisherName",
    "InvoiceId",
)
"""Columns that are published and may change under one identity.

What legacy records tell of their meter (`meterDetails`, its unit among it) may come as null: the meter's id says
which one it is, and a record whose details come later is the same record.
"""

_GROUP = pl.coalesce(
    given("ResourceGroupName"), pl.col("ResourceId").str.extract(r"(?i)/resourcegroups/([^/]+)", 1)
).alias("ResourceGroupName")
"""Records of before 2019 have no resource group of their own; their resource names it."""


def detail_records(
    details: Details, *, metric: str, subscription: str | None, first: date, last: date
) -> Records:
    """Make records of a page of usageDetails.

    `subscription` is the scope's own (lower case), None for wide scopes, whose records name theirs. Those of a UTC
    day outside `first` to `last` are dropped and counted.

    Raises:
        SchemaDriftError: an amount does not fit decimal(38,18); names field and row.
    """
    frame = _raw(details, subscription)
    inside = frame[DAY_TOLD].is_between(first, last)
    kept = frame.filter(inside)
    identities = identity(kept, IDENTITY)
    return Records(
        frame=staged(kept.with_columns(_GROUP), metric, pl.col(TAGS), identities),
        identities=identities,
        contents=content(kept, CONTENT),
        outside=len(inside) - len(kept),
    )


def _raw(details: Details, subscription: str | None) -> pl.DataFrame:
    columns = {name: pl.Series(name, details.texts[name], dtype=pl.String) for name in COLUMNS}
    columns[COST_TOLD] = _money(details.cost, [shape.cost for shape in details.shapes])
    columns[QUANTITY_TOLD] = _money(details.quantity, [shape.quantity for shape in details.shapes])
    columns[DAY_TOLD] = pl.Series(details.days, dtype=pl.Date)
    own = pl.lit(subscription, dtype=pl.String) if subscription else pl.col(SUBSCRIPTION)
    # Query has a dimension for the service, a record has none: its meter's category is the nearest.
    return pl.DataFrame(columns).with_columns(own.alias(OWNER), ServiceName="MeterCategory")


def _money(texts: list[str], fields: list[str]) -> pl.Series:
    try:
        return to_money(pl.Series(texts, dtype=pl.String)).cast(MONEY)
    except AmountError as error:
        raise SchemaDriftError(f"field `{fields[error.row]}`, {error}") from error
