"""The columns of a record, from the staged page to the published ledger, with their types.

FOCUS names (FOCUS 1.2), own columns prefixed `x_`. A column's order here is its order in the published files.
"""

import polars as pl

MONEY = pl.Decimal(38, 18)
TIMESTAMP = pl.Datetime("us", "UTC")

PAYLOAD: dict[str, pl.DataType] = {
    "ChargePeriodStart": TIMESTAMP,
    "ChargePeriodEnd": TIMESTAMP,
    "BillingCurrency": pl.String(),
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
    "ConsumedQuantity": MONEY,
    "ConsumedUnit": pl.String(),
    "SubAccountId": pl.String(),
    "SubAccountName": pl.String(),
    "ResourceId": pl.String(),
    "ResourceName": pl.String(),
    "ResourceType": pl.String(),
    "RegionId": pl.String(),
    "ServiceName": pl.String(),
    "SkuMeter": pl.String(),
    "ChargeCategory": pl.String(),
    "ChargeClass": pl.String(),
    "PricingCategory": pl.String(),
    "PublisherName": pl.String(),
    "Tags": pl.String(),
    "InvoiceId": pl.String(),
    "ProviderName": pl.String(),
    "x_RecordId": pl.Binary(),
    "x_MeterId": pl.String(),
    "x_MeterCategory": pl.String(),
    "x_ResourceGroup": pl.String(),
    "x_ChargeType": pl.String(),
}
"""What a record says of one charge. `x_RecordId` is the first 16 bytes of its identity."""

BOOKKEEPING: dict[str, pl.DataType] = {
    "x_SourceScope": pl.String(),
    "x_ValidFrom": TIMESTAMP,
    "x_ValidTo": TIMESTAMP,
    "x_Change": pl.String(),
    "x_Ended": pl.String(),
    "x_IsAdjustment": pl.Boolean(),
}
"""What the ledger adds: who said it, from when to when it was believed, why it came and why it went."""

LEDGER: dict[str, pl.DataType] = {**PAYLOAD, **BOOKKEEPING}
"""One ledger partition; metric, usage_date and subscription_id stand in its path only."""

STAGED: dict[str, pl.DataType] = {"usage_date": pl.Date(), "subscription_id": pl.String(), **PAYLOAD}
"""One staged page: records with the day and the subscription (lower case, or `none`) they are published under."""

DAILY: dict[str, pl.DataType] = {
    "billing_date": pl.Date(),
    "account_id": pl.String(),
    "service_name": pl.String(),
    "cost_amount": MONEY,
    "currency": pl.String(),
    "is_adjustment": pl.Boolean(),
    "record_hash": pl.String(),
    "record_count": pl.Int64(),
}
"""One day's totals, made from the current records."""

COST_COLUMN = {"ActualCost": "BilledCost", "AmortizedCost": "EffectiveCost"}
"""The column that carries a metric's cost; the other metric's column is null."""

NO_SUBSCRIPTION = "none"
"""Where cost without a subscription is published."""
