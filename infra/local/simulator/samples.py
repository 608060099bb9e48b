"""Charges made from real billing exports, moved into the tenant's subscriptions and period.

Read when a folder of samples is given: Azure EA exports (`azure-ea-actual-cost.csv`,
`azure-ea-amortized-cost.csv`) and the Microsoft rows of `focus-1.0-sample-1000.csv`. A file that is not
there is skipped.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

from infra.local.simulator.charges import DIMENSIONS, NO_SUBSCRIPTION, Charge, Line, Metric
from infra.local.simulator.generate import PROFILES

_EA_FILES = {"azure-ea-actual-cost.csv": Metric.ACTUAL, "azure-ea-amortized-cost.csv": Metric.AMORTIZED}
_FOCUS_FILE = "focus-1.0-sample-1000.csv"

_EA_COLUMNS = {
    "ResourceId": "ResourceId",
    "ResourceGroupName": "ResourceGroup",
    "ResourceLocation": "ResourceLocation",
    "ResourceGuid": "MeterId",
    "MeterCategory": "MeterCategory",
    "MeterSubcategory": "MeterSubCategory",
    "Meter": "MeterName",
    "ServiceName": "MeterCategory",
    "ChargeType": "ChargeType",
    "PublisherType": "PublisherType",
    "PricingModel": "PricingModel",
    "Frequency": "Frequency",
    "ReservationId": "ReservationId",
    "BenefitId": "benefitId",
}
_EA_DETAILS = {
    "SubscriptionName": "SubscriptionName",
    "Product": "Product",
    "UnitOfMeasure": "UnitOfMeasure",
    "ServiceFamily": "ServiceFamily",
    "ConsumedService": "ConsumedService",
    "PublisherName": "PublisherName",
    "OfferId": "OfferId",
}
_FOCUS_COLUMNS = {
    "ResourceId": "ResourceId",
    "ResourceLocation": "RegionId",
    "ResourceType": "ResourceType",
    "ResourceGuid": "SkuId",
    "MeterCategory": "ServiceName",
    "Meter": "ChargeDescription",
    "ServiceName": "ServiceName",
    "ChargeType": "ChargeCategory",
    "PricingModel": "PricingCategory",
    "Frequency": "ChargeFrequency",
    "ReservationId": "CommitmentDiscountId",
}
_SUBSCRIPTION = re.compile(r"/subscriptions/([0-9a-f-]{36})", re.IGNORECASE)
_GROUP = re.compile(r"/resourcegroups/([^/]+)", re.IGNORECASE)


def sample_charges(folder: Path, subscriptions: Sequence[str]) -> Iterator[tuple[int, Charge]]:
    """Give (day of the month, charge) for each usable row of the samples in `folder`.

    The samples' subscriptions are replaced by the tenant's, one by one; rows without one keep none.
    """
    moved: dict[str, str] = {}

    def home(subscription: str) -> str:
        if not subscription:
            return NO_SUBSCRIPTION
        return moved.setdefault(subscription.lower(), subscriptions[len(moved) % len(subscriptions)])

    for name, metric in _EA_FILES.items():
        for row in _rows(folder / name):
            actual, amortized = _one_metric(metric, Decimal(row["Cost"]))
            line = _line(
                row, _EA_COLUMNS, home(row["SubscriptionId"]), row["BillingCurrency"], _ea_tags(row["Tags"])
            )
            yield (
                int(row["Date"].split("/")[1]),
                Charge(line, actual, amortized, Decimal(row["Quantity"] or 0)),
            )
    for row in _rows(folder / _FOCUS_FILE):
        if row["ProviderName"] != "Microsoft":
            continue
        found = _SUBSCRIPTION.search(row["SubAccountId"])
        line = _line(
            row, _FOCUS_COLUMNS, home(found[1] if found else ""), row["BillingCurrency"], _focus_tags(row)
        )
        quantity = Decimal(0) if row["ConsumedQuantity"] == "NULL" else Decimal(row["ConsumedQuantity"])
        day = int(row["ChargePeriodStart"][8:10])
        yield day, Charge(line, Decimal(row["BilledCost"]), Decimal(row["EffectiveCost"]), quantity)


def ea_export(folder: Path) -> list[tuple[date, Charge]]:
    """Give each row of the EA exports in `folder` as it is: its own day, subscription and text of its amounts.

    Beside the dimensions of Query, a row's line names what records of usageDetails tell: product, unit, names.
    """
    found = []
    for name, metric in _EA_FILES.items():
        for row in _rows(folder / name):
            actual, amortized = _one_metric(metric, Decimal(row["Cost"]))
            owner = row["SubscriptionId"].lower() or NO_SUBSCRIPTION
            line = _line(row, _EA_COLUMNS | _EA_DETAILS, owner, row["BillingCurrency"], _ea_tags(row["Tags"]))
            month, day, year = map(int, row["Date"].split("/"))
            found.append((date(year, month, day), Charge(line, actual, amortized, Decimal(row["Quantity"]))))
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    if path.is_file():
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file)


def _one_metric(metric: Metric, cost: Decimal) -> tuple[Decimal | None, Decimal | None]:
    return (cost, None) if metric is Metric.ACTUAL else (None, cost)


def _line(
    row: Mapping[str, str],
    columns: Mapping[str, str],
    subscription: str,
    currency: str,
    tags: Mapping[str, str],
) -> Line:
    said: dict[str, str | None] = dict.fromkeys(DIMENSIONS, None)
    said |= {name: None if row[column] == "NULL" else row[column] for name, column in columns.items()}
    resource = said["ResourceId"] or ""
    if not said["ResourceGroupName"] and (group := _GROUP.search(resource)):
        said["ResourceGroupName"] = group[1]
    if subscription == NO_SUBSCRIPTION:
        said["SubscriptionId"] = ""
    else:
        said["SubscriptionId"] = subscription
        said["ResourceId"] = _SUBSCRIPTION.sub(f"/subscriptions/{subscription}", resource)
    return Line(subscription, currency, PROFILES[0], said, tags)


def _ea_tags(text: str) -> dict[str, str]:
    """Read an EA export's tags: the inside of a JSON object, without its braces."""
    return dict(json.loads("{" + text + "}")) if text else {}


def _focus_tags(row: Mapping[str, str]) -> dict[str, str]:
    return {} if row["Tags"] == "NULL" else dict(json.loads(row["Tags"]))
