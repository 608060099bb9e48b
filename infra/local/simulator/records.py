"""Charges as records of usageDetails: in the legacy, the modern and the pre-2019 shape, twins included.

A record is written in two parts around its cost, so that a fault can change the cost alone, as in a query's row.
"""

import json
import uuid
from calendar import monthrange
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum

from infra.local.simulator import dice
from infra.local.simulator.charges import EXACT, Charge, Line, Metric
from infra.local.simulator.scopes import Scope, ScopeKind

Row = tuple[str, str, str]
"""A record: its cost, what is written before it, and what is written after it."""

_COST, _QUANTITY = "\x01cost", "\x01quantity"
_TWIN_SHARE = 0.15
_MOST_TWINS = 0.05


class Shape(StrEnum):
    """How a record is written."""

    LEGACY = "legacy"
    MODERN = "modern"
    BEFORE_2019 = "before 2019"


def shape_of(scope: Scope) -> Shape:
    """Give the shape in which a scope's agreement answers unless told otherwise: MCA scopes are modern."""
    return Shape.MODERN if scope.kind is ScopeKind.BILLING_PROFILE else Shape.LEGACY


def parts(seed: int, day: date, charge: Charge, metric: Metric) -> Iterator[tuple[Decimal, Decimal]]:
    """Give (cost, quantity) of each record of a charge: one, or two or four equal ones, all of them legitimate.

    They add up to the charge exactly: halves of a decimal are decimals. A seed of 0 makes no twins.
    """
    cost = charge.cost(metric)
    if cost is None:
        return
    said = charge.line.dimensions
    drawn = dice.fraction(seed, "twins", day, said["ResourceId"], said["Meter"], charge.line.currency)
    count = 1
    if seed and drawn < _TWIN_SHARE:
        count = 4 if drawn < _MOST_TWINS else 2
    for _ in range(count):
        yield EXACT.divide(cost, Decimal(count)), EXACT.divide(charge.quantity, Decimal(count))


def row(shape: Shape, day: date, line: Line, cost: Decimal, quantity: Decimal) -> Row:
    """Write a record."""
    written = _WRITERS[shape](day, line)
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{day}/{line.dimensions['ResourceId']}/{line.dimensions['Meter']}")
    record = {
        "id": f"{_owner(line)}/providers/Microsoft.Consumption/usageDetails/{name}",
        "name": str(name),
        "type": "Microsoft.Consumption/usageDetails",
        "tags": dict(line.tags) or None,
        **({} if shape is Shape.BEFORE_2019 else {"kind": shape.value}),
        "properties": written,
    }
    text = json.dumps(record, ensure_ascii=False).replace(json.dumps(_QUANTITY), str(quantity))
    before, after = text.split(json.dumps(_COST))
    return str(cost), before, after


def _owner(line: Line) -> str:
    return "" if not line.dimensions["SubscriptionId"] else f"/subscriptions/{line.subscription}"


def _legacy(day: date, line: Line) -> dict[str, object]:
    said = line.dimensions
    return {
        "billingAccountId": "8611537",
        "billingPeriodStartDate": f"{day:%Y-%m}-01T00:00:00.0000000Z",
        "billingPeriodEndDate": f"{day:%Y-%m}-{monthrange(day.year, day.month)[1]}T00:00:00.0000000Z",
        "date": f"{day}T00:00:00.0000000Z",
        "subscriptionId": said["SubscriptionId"],
        "subscriptionName": said["SubscriptionName"],
        "resourceId": said["ResourceId"],
        "resourceName": (said["ResourceId"] or "").rsplit("/", 1)[-1],
        "resourceGroup": said["ResourceGroupName"],
        "resourceLocation": said["ResourceLocation"],
        "meterId": said["ResourceGuid"],
        "meterDetails": {
            "meterName": said["Meter"],
            "meterCategory": said["MeterCategory"],
            "meterSubCategory": said["MeterSubcategory"],
            "unitOfMeasure": said.get("UnitOfMeasure", "1 Hour"),
            "serviceFamily": said.get("ServiceFamily"),
        },
        "product": said.get("Product", said["Meter"]),
        "quantity": _QUANTITY,
        "effectivePrice": 0.1,
        "cost": _COST,
        "unitPrice": 0.1,
        "billingCurrency": line.currency,
        "consumedService": said.get("ConsumedService", said["ServiceName"]),
        "chargeType": said["ChargeType"],
        "frequency": said["Frequency"],
        "publisherType": said["PublisherType"],
        "publisherName": said.get("PublisherName"),
        "pricingModel": said["PricingModel"],
        "payGPrice": 0.1,
        "reservationId": said["ReservationId"],
        "benefitId": said["BenefitId"],
        "offerId": said.get("OfferId", "MS-AZR-0017P"),
        "additionalInfo": None,
    }


def _modern(day: date, line: Line) -> dict[str, object]:
    said = line.dimensions
    return {
        "billingProfileId": line.profile,
        "date": f"{day}T00:00:00Z",
        "subscriptionGuid": said["SubscriptionId"],
        "subscriptionName": said["SubscriptionName"],
        "instanceName": said["ResourceId"],
        "resourceGroup": said["ResourceGroupName"],
        "resourceLocation": said["ResourceLocation"],
        "meterId": said["ResourceGuid"],
        "meterName": said["Meter"],
        "meterCategory": said["MeterCategory"],
        "meterSubCategory": said["MeterSubcategory"],
        "product": said.get("Product", said["Meter"]),
        "quantity": _QUANTITY,
        "unitOfMeasure": said.get("UnitOfMeasure", "1 Hour"),
        "costInBillingCurrency": _COST,
        "costInUSD": 0.1,
        "exchangeRate": "1",
        "billingCurrencyCode": line.currency,
        "pricingCurrencyCode": "USD",
        "consumedService": said.get("ConsumedService", said["ServiceName"]),
        "chargeType": said["ChargeType"],
        "frequency": said["Frequency"],
        "publisherType": said["PublisherType"],
        "pricingModel": said["PricingModel"],
        "invoiceId": said["InvoiceId"],
        "previousInvoiceId": None,
        "servicePeriodStartDate": f"{day}T00:00:00Z",
        "serviceFamily": said.get("ServiceFamily"),
        "unitPrice": 0.1,
        "marketPrice": 0.1,
        "paygCostInBillingCurrency": 0.1,
        "reservationId": said["ReservationId"],
        "benefitId": said["BenefitId"],
    }


def _before_2019(day: date, line: Line) -> dict[str, object]:
    said = line.dimensions
    return {
        "billingPeriodId": f"{_owner(line)}/providers/Microsoft.Billing/billingPeriods/{day:%Y%m}",
        "usageStart": f"{day}T00:00:00.0000000Z",
        "usageEnd": f"{day}T23:59:59.0000000Z",
        "instanceId": said["ResourceId"],
        "instanceName": (said["ResourceId"] or "").rsplit("/", 1)[-1],
        "instanceLocation": said["ResourceLocation"],
        "meterId": said["ResourceGuid"],
        "usageQuantity": _QUANTITY,
        "pretaxCost": _COST,
        "currency": line.currency,
        "subscriptionGuid": said["SubscriptionId"],
        "isEstimated": False,
    }


_WRITERS = {Shape.LEGACY: _legacy, Shape.MODERN: _modern, Shape.BEFORE_2019: _before_2019}
