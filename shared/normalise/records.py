"""From an answer's columns to records: UTC days, FOCUS names, exact amounts, identities as returned.

An identity is hashed over the dimensions exactly as the service returned them (two casings of one resource
group are two rows that both count); only then are ids put into lower case for publishing. FOCUS mapping: the
FinOps Foundation's FOCUS 1.2 and Microsoft's mapping of Cost Management dimensions to it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from shared.ledger.columns import COST_COLUMN, MONEY, NO_SUBSCRIPTION, STAGED
from shared.normalise.decimals import AmountError, money_sum, to_money
from shared.normalise.focus import charge_category, charge_class, pricing_category
from shared.normalise.hashing import content, digest_by, identity, packed, record_digest
from shared.read.query import COST, CURRENCY, DAY, QUANTITY, TAG, TAG_VALUE
from shared.read.schema import SchemaDriftError, Table
from shared.registry.pages import Sums

PROVIDER = "Microsoft"
_DAY, _SUBSCRIPTION, _COST, _QUANTITY = "day", "subscription", "cost", "quantity"


@dataclass(frozen=True, slots=True)
class Records:
    """A page's records inside the window. `frame` is STAGED; the two hashes are 32 bytes, row by row."""

    frame: pl.DataFrame
    identities: pl.Series
    contents: pl.Series
    outside: int

    def keep(self, mask: pl.Series) -> "Records":
        """Give the records where `mask` is true."""
        return Records(
            self.frame.filter(mask), self.identities.filter(mask), self.contents.filter(mask), self.outside
        )

    def digests(self) -> dict[date, int]:
        """Give each day's digest: the sum modulo 2^256 of its record digests."""
        days = pl.DataFrame(
            {"day": self.frame["usage_date"], "digest": record_digest(self.identities, self.contents)}
        )
        return {
            date.fromisoformat(str(day)): total
            for (day,), total in digest_by(days, ["day"], "digest").items()
        }

    def packed(self) -> bytes:
        """Give 24 bytes a record: 16 of its identity, 8 of its content."""
        return packed(self.identities, self.contents)

    def sums(self, metric: str) -> dict[date, dict[str, Sums]]:
        """Add up cost and quantity per day and currency.

        Raises:
            SchemaDriftError: a sum has more than 20 digits before the point.
        """
        cost, quantity = pl.col(COST_COLUMN[metric]), pl.col("ConsumedQuantity")
        amounts = self.frame.select(
            "usage_date",
            "BillingCurrency",
            cost=cost,
            cost_absolute=cost.abs(),
            quantity=quantity,
            quantity_absolute=quantity.abs(),
        )
        summed = map(money_sum, ("cost", "cost_absolute", "quantity", "quantity_absolute"))
        try:
            totals = amounts.group_by("usage_date", "BillingCurrency").agg(*summed, records=pl.len())
        except pl.exceptions.InvalidOperationError as error:
            raise SchemaDriftError("a day's amounts add up to more than 20 digits") from error
        days: dict[date, dict[str, Sums]] = {}
        # A few rows: one per day and currency, not per record.
        for day, currency, *added in totals.iter_rows():
            days.setdefault(day, {})[currency] = Sums(*added)
        return days


def records(
    table: Table,
    *,
    metric: str,
    grouping: Sequence[str],
    subscription: str | None,
    first: date,
    last: date,
) -> Records:
    """Make records of a page.

    `subscription` is the scope's own (lower case), None for wide scopes, whose rows name theirs.
    Rows of a day outside `first` to `last` are dropped and counted: the service treats `to` generously.

    Raises:
        SchemaDriftError: an amount does not fit decimal(38,18), or a day is none; names column and row.
    """
    frame = _raw(table, subscription)
    inside = frame[_DAY].is_between(first, last)
    kept = frame.filter(inside)
    identities = identity(kept, [_DAY, _SUBSCRIPTION, *sorted(table.texts)])
    contents = content(kept, [_COST, _QUANTITY])
    staged = _staged(kept, metric, _tag(grouping)).with_columns(
        x_RecordId=identities.bin.slice(0, 16) if len(kept) else pl.Series([], dtype=pl.Binary)
    )
    frame = staged.select(pl.col(name).cast(kind) for name, kind in STAGED.items())
    return Records(frame, identities, contents, len(inside) - len(kept))


def control(table: Table, first: date, last: date) -> dict[date, dict[str, Sums]]:
    """Read the control totals: one row a day and currency, no grouping.

    Raises:
        SchemaDriftError: as `records`.
    """
    frame = _raw(table, None).filter(pl.col(_DAY).is_between(first, last))
    days: dict[date, dict[str, Sums]] = {}
    rows = frame.select(_DAY, CURRENCY, _COST, _QUANTITY).iter_rows()
    for day, returned, cost, quantity in rows:
        currency = returned.upper()
        line = Sums(cost, abs(cost), quantity, abs(quantity), 1)
        totals = days.setdefault(day, {})
        totals[currency] = totals.get(currency, Sums()) + line
    return days


def _raw(table: Table, subscription: str | None) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {
        name: pl.Series(name, values, dtype=pl.String) for name, values in table.texts.items()
    }
    currency = columns[CURRENCY]
    if currency.is_null().any() or (currency == "").any():
        row = int(currency.fill_null("").eq("").arg_max() or 0)
        raise SchemaDriftError(f"column `{CURRENCY}`, row {row}: no currency is given")
    columns[_COST] = _money(COST, table.cost)
    columns[_QUANTITY] = _money(QUANTITY, table.quantity)
    columns[_DAY] = _days(table.days)
    frame = pl.DataFrame(columns)
    own = pl.lit(subscription, dtype=pl.String) if subscription else _column(table.texts, "SubscriptionId")
    return frame.with_columns(own.alias(_SUBSCRIPTION))


def _column(texts: Mapping[str, object], name: str) -> pl.Expr:
    return pl.col(name) if name in texts else pl.lit(None, dtype=pl.String)


def _money(name: str, texts: list[str]) -> pl.Series:
    try:
        return to_money(pl.Series(name, texts, dtype=pl.String))
    except AmountError as error:
        raise SchemaDriftError(f"column `{name}`, {error}") from error


def _days(numbers: list[int]) -> pl.Series:
    texts = pl.Series(DAY, list(map(str, numbers)), dtype=pl.String)
    days = texts.str.to_date("%Y%m%d", strict=False)
    # to_date takes shorter texts for years of three digits, so the length is looked at as well.
    bad = days.is_null() | (texts.str.len_bytes() != 8)  # noqa: PLR2004 - yyyymmdd
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise SchemaDriftError(f"column `{DAY}`, row {row}: {numbers[row]} is no day")
    return days


def _tag(grouping: Sequence[str]) -> str | None:
    return next((name.removeprefix(TAG) for name in grouping if name.startswith(TAG)), None)


def _given(name: str) -> pl.Expr:
    """A text, null where the service gave none or an empty one."""
    return pl.when(pl.col(name) == "").then(None).otherwise(pl.col(name))


def _lower(name: str) -> pl.Expr:
    return _given(name).str.to_lowercase()


def _staged(frame: pl.DataFrame, metric: str, tag: str | None) -> pl.DataFrame:
    names = set(frame.columns)

    def given(name: str) -> pl.Expr:
        return _given(name) if name in names else pl.lit(None, dtype=pl.String)

    def lower(name: str) -> pl.Expr:
        return _lower(name) if name in names else pl.lit(None, dtype=pl.String)

    resource = lower("ResourceId")
    path = pl.col("ResourceId") if "ResourceId" in names else pl.lit(None, dtype=pl.String)
    group = resource.str.extract(r"/resourcegroups/([^/]+)", 1)
    kind = lower("ResourceType") if "ResourceType" in names else _resource_type(resource)
    subscription = _lower(_SUBSCRIPTION)
    cost = {column: pl.lit(None, dtype=MONEY) for column in COST_COLUMN.values()}
    cost[COST_COLUMN[metric]] = pl.col(_COST)
    midnight = pl.col(_DAY).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return frame.select(
        usage_date=pl.col(_DAY),
        subscription_id=subscription.fill_null(NO_SUBSCRIPTION),
        ChargePeriodStart=midnight,
        ChargePeriodEnd=midnight + pl.duration(days=1),
        BillingCurrency=pl.col(CURRENCY).str.to_uppercase(),
        **cost,
        ConsumedQuantity=pl.col(_QUANTITY),
        ConsumedUnit=pl.lit(None, dtype=pl.String),
        SubAccountId=subscription,
        SubAccountName=given("SubscriptionName"),
        ResourceId=resource,
        ResourceName=path.str.extract(r"/providers/.+/([^/]+)/?$", 1),
        ResourceType=kind,
        RegionId=lower("ResourceLocation").str.replace_all(" ", "", literal=True),
        ServiceName=given("ServiceName"),
        SkuMeter=given("Meter"),
        ChargeCategory=charge_category(given("ChargeType")),
        ChargeClass=charge_class(given("ChargeType")),
        PricingCategory=pricing_category(given("PricingModel")),
        PublisherName=given("PublisherName"),
        Tags=_tags(tag),
        InvoiceId=pl.lit(None, dtype=pl.String),
        ProviderName=pl.lit(PROVIDER),
        x_MeterId=lower("ResourceGuid"),
        x_MeterCategory=given("MeterCategory"),
        x_ResourceGroup=lower("ResourceGroupName") if "ResourceGroupName" in names else group,
        x_ChargeType=given("ChargeType"),
    )


def _resource_type(resource: pl.Expr) -> pl.Expr:
    """The type in a resource id: the provider's namespace and the type of the innermost resource's parent path."""
    return resource.str.extract(r".*/providers/([^/]+/[^/]+)/[^/]+", 1)


def _tags(tag: str | None) -> pl.Expr:
    """One tag as JSON, null where the row does not carry it."""
    if tag is None:
        return pl.lit(None, dtype=pl.String)
    value = _given(TAG_VALUE)
    encoded = pl.struct(value.alias(tag)).struct.json_encode()
    return pl.when(value.is_null()).then(None).otherwise(encoded)
