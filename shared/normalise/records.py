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
from shared.normalise.decimals import AmountError, money_sums, to_money
from shared.normalise.focus import charge_category, charge_class, pricing_category
from shared.normalise.hashing import content, digest_by, identity, packed, record_digest
from shared.normalise.resources import resource_parts
from shared.read.query import COST, CURRENCY, DAY, QUANTITY, TAG, TAG_VALUE
from shared.read.schema import SchemaDriftError, Table
from shared.registry.pages import Sums

PROVIDER = "Microsoft"
_FIRST_YEAR = 1000
"""The first year of four digits: yyyymmdd has eight."""

DAY_TOLD, OWNER, COST_TOLD, QUANTITY_TOLD = "day", "subscription", "cost", "quantity"
"""What a raw frame holds beside the texts as the provider returned them: a UTC day, the subscription, two amounts."""


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
        summed = money_sums(amounts, ("cost", "cost_absolute", "quantity", "quantity_absolute"))
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
    inside = frame[DAY_TOLD].is_between(first, last)
    kept = frame.filter(inside)
    identities = identity(kept, [DAY_TOLD, OWNER, *sorted(table.texts)])
    return Records(
        frame=staged(kept, metric, _tags(_tag(grouping)), identities),
        identities=identities,
        contents=content(kept, [COST_TOLD, QUANTITY_TOLD]),
        outside=len(inside) - len(kept),
    )


def control(table: Table, first: date, last: date) -> dict[date, dict[str, Sums]]:
    """Read the control totals: one row a day and currency, no grouping.

    Raises:
        SchemaDriftError: as `records`.
    """
    frame = _raw(table, None).filter(pl.col(DAY_TOLD).is_between(first, last))
    days: dict[date, dict[str, Sums]] = {}
    rows = frame.select(DAY_TOLD, CURRENCY, COST_TOLD, QUANTITY_TOLD).iter_rows()
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
    columns[COST_TOLD] = money(COST, table.cost)
    columns[QUANTITY_TOLD] = money(QUANTITY, table.quantity)
    columns[DAY_TOLD] = _days(table.days)
    frame = pl.DataFrame(columns)
    own = pl.lit(subscription, dtype=pl.String) if subscription else _column(table.texts, "SubscriptionId")
    return frame.with_columns(own.alias(OWNER))


def _column(texts: Mapping[str, object], name: str) -> pl.Expr:
    return pl.col(name) if name in texts else pl.lit(None, dtype=pl.String)


def money(name: str, texts: list[str]) -> pl.Series:
    """Read a column of amounts.

    Raises:
        SchemaDriftError: one of them does not fit decimal(38,18); names the column and the row.
    """
    try:
        return to_money(pl.Series(name, texts, dtype=pl.String))
    except AmountError as error:
        raise SchemaDriftError(f"column `{name}`, {error}") from error


def _days(numbers: list[int]) -> pl.Series:
    # A page has thousands of rows and a few days.
    days = {number: _day(number) for number in set(numbers)}
    if None in days.values():
        row = next(row for row, number in enumerate(numbers) if days[number] is None)
        raise SchemaDriftError(f"column `{DAY}`, row {row}: {numbers[row]} is no day")
    told = pl.Series(DAY, numbers, dtype=pl.Int64)
    # Without a row there is nothing to replace, and nothing that would say what with.
    return (
        told.cast(pl.Date)
        if told.is_empty()
        else told.replace_strict(list(days), list(days.values()), return_dtype=pl.Date)
    )


def _day(number: int) -> date | None:
    """Read yyyymmdd."""
    year, rest = divmod(number, 10_000)
    try:
        return date(year, *divmod(rest, 100)) if year >= _FIRST_YEAR else None
    except (ValueError, OverflowError):
        return None


def _tag(grouping: Sequence[str]) -> str | None:
    return next((name.removeprefix(TAG) for name in grouping if name.startswith(TAG)), None)


def given(name: str) -> pl.Expr:
    """A text, null where the service gave none or an empty one."""
    return pl.when(pl.col(name) == "").then(None).otherwise(pl.col(name))


def _lower(name: str) -> pl.Expr:
    return given(name).str.to_lowercase()


def staged(frame: pl.DataFrame, metric: str, tags: pl.Expr, identities: pl.Series) -> pl.DataFrame:
    """Make staged rows of a raw frame; a text column that it lacks is null."""
    names = set(frame.columns)
    if "ResourceId" in names:
        frame = frame.with_columns(resource_parts(frame["ResourceId"]).select(parts=pl.struct(pl.all())))

    def told(name: str) -> pl.Expr:
        return given(name) if name in names else pl.lit(None, dtype=pl.String)

    def lower(name: str) -> pl.Expr:
        return _lower(name) if name in names else pl.lit(None, dtype=pl.String)

    def part(name: str) -> pl.Expr:
        return pl.col("parts").struct.field(name) if "ResourceId" in names else pl.lit(None, dtype=pl.String)

    kind = lower("ResourceType") if "ResourceType" in names else part("kind").str.to_lowercase()
    group = lower("ResourceGroupName") if "ResourceGroupName" in names else part("group").str.to_lowercase()
    subscription = _lower(OWNER)
    cost = {column: pl.lit(None, dtype=MONEY) for column in COST_COLUMN.values()}
    cost[COST_COLUMN[metric]] = pl.col(COST_TOLD)
    midnight = pl.col(DAY_TOLD).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    rows = frame.select(
        usage_date=pl.col(DAY_TOLD),
        subscription_id=subscription.fill_null(NO_SUBSCRIPTION),
        ChargePeriodStart=midnight,
        ChargePeriodEnd=midnight + pl.duration(days=1),
        BillingCurrency=pl.col(CURRENCY).str.to_uppercase(),
        **cost,
        ConsumedQuantity=pl.col(QUANTITY_TOLD),
        ConsumedUnit=told("UnitOfMeasure"),
        SubAccountId=subscription,
        SubAccountName=told("SubscriptionName"),
        ResourceId=lower("ResourceId"),
        ResourceName=pl.coalesce(told("ResourceName"), part("name")),
        ResourceType=kind,
        RegionId=lower("ResourceLocation").str.replace_all(" ", "", literal=True),
        ServiceName=told("ServiceName"),
        SkuMeter=told("Meter"),
        ChargeCategory=charge_category(told("ChargeType")),
        ChargeClass=charge_class(told("ChargeType")),
        PricingCategory=pricing_category(told("PricingModel")),
        PublisherName=told("PublisherName"),
        Tags=tags,
        InvoiceId=told("InvoiceId"),
        ProviderName=pl.lit(PROVIDER),
        x_MeterId=lower("ResourceGuid"),
        x_MeterCategory=told("MeterCategory"),
        x_ResourceGroup=group,
        x_ChargeType=told("ChargeType"),
        x_RecordId=identities.bin.slice(0, 16) if len(frame) else pl.Series([], dtype=pl.Binary),
    )
    return rows.select(pl.col(name).cast(kind) for name, kind in STAGED.items())


def _tags(tag: str | None) -> pl.Expr:
    """One tag as JSON, null where the row does not carry it."""
    if tag is None:
        return pl.lit(None, dtype=pl.String)
    value = given(TAG_VALUE)
    encoded = pl.struct(value.alias(tag)).struct.json_encode()
    return pl.when(value.is_null()).then(None).otherwise(encoded)
