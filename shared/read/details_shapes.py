"""The shapes of usageDetails records: by which names each keeps what is read, and what else it is known to have.

A record is of one of three shapes: `legacy` and `modern` say so in `kind`, those of before 2019 have no kind.
Source: Consumption REST API 2024-08-01, LegacyUsageDetail and ModernUsageDetail, and UsageDetail of 2018-10-01, each
with the examples of its operations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

SUBSCRIPTION = "SubscriptionId"
CURRENCY = "Currency"
TAGS = "Tags"


@dataclass(frozen=True, slots=True)
class Shape:
    """Where a shape of record keeps what is read: a column's field, dotted where it stands in an object of its own.

    `kind` names it. `needed` are the columns whose field must stand in every record, if only as null; `fixed` what
    the shape implies.
    `steady` are those of the other columns whose field records of usage have, if only as null or empty: all
    documented examples of the shape show it, or all rows of real exports, or the reference lists it and what is
    published of a record needs it. `unread` are the fields that are documented and are no column's. `period_days` are
    the fields of the first and the last day of the billing period, `period_id` is the one of its name, None where
    the shape has none.
    """

    kind: str
    cost: str
    quantity: str
    day: str
    texts: Mapping[str, str]
    needed: frozenset[str]
    steady: frozenset[str]
    unread: frozenset[str]
    period_days: tuple[str, str] | None = None
    period_id: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def documented(self) -> frozenset[str]:
        """All fields that a record of this shape is known to have."""
        read = (self.cost, self.quantity, self.day, *self.texts.values())
        return self.unread | {name.partition(".")[0] for name in read}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NEEDED = frozenset({CURRENCY, "ResourceGuid", "ResourceId", "ChargeType"})

_STEADY = frozenset(
    {"ResourceGroupName", "ResourceLocation", "ConsumedService", "Frequency", "PublisherType", "PricingModel"}
)

_PERIOD = ("billingPeriodStartDate", "billingPeriodEndDate")

_LEGACY = _names("""
    accountName accountOwnerId additionalInfo benefitName billingAccountId billingAccountName
    billingPeriodEndDate billingPeriodStartDate billingProfileId billingProfileName costCenter
    effectivePrice invoiceSection isAzureCreditEligible partNumber payGPrice planName product
    productOrderId productOrderName reservationName serviceInfo1 serviceInfo2 term unitPrice
""")
_MODERN = _names("""
    additionalInfo benefitName billingAccountId billingAccountName billingPeriodEndDate
    billingPeriodStartDate billingProfileId billingProfileName costAllocationRuleName costCenter
    costInPricingCurrency costInUSD customerName customerTenantId effectivePrice exchangeRate
    exchangeRateDate exchangeRatePricingToBilling invoiceSectionId invoiceSectionName
    isAzureCreditEligible marketPrice meterRegion meterSubCategory partnerEarnedCreditApplied
    partnerEarnedCreditRate partnerName partnerTenantId payGPrice paygCostInBillingCurrency
    paygCostInUSD previousInvoiceId pricingCurrencyCode product productIdentifier productOrderId
    productOrderName provider publisherId resellerMpnId resellerName reservationName
    resourceLocationNormalized serviceFamily serviceInfo1 serviceInfo2 servicePeriodEndDate
    servicePeriodStartDate term unitPrice
""")
_BEFORE_2019 = _names("""
    accountName additionalProperties billableQuantity billingPeriodId chargesBilledSeparately costCenter
    departmentName isEstimated location partNumber product resourceGuid usageEnd
""")

SHAPES: Mapping[str | None, Shape] = {
    "legacy": Shape(
        kind="legacy",
        cost="cost",
        quantity="quantity",
        day="date",
        texts={
            SUBSCRIPTION: "subscriptionId",
            "SubscriptionName": "subscriptionName",
            "ResourceId": "resourceId",
            "ResourceName": "resourceName",
            "ResourceGroupName": "resourceGroup",
            "ResourceLocation": "resourceLocation",
            "ResourceGuid": "meterId",
            "Meter": "meterDetails.meterName",
            "MeterCategory": "meterDetails.meterCategory",
            "UnitOfMeasure": "meterDetails.unitOfMeasure",
            "ConsumedService": "consumedService",
            "ChargeType": "chargeType",
            "Frequency": "frequency",
            "PublisherType": "publisherType",
            "PublisherName": "publisherName",
            "PricingModel": "pricingModel",
            "ReservationId": "reservationId",
            "BenefitId": "benefitId",
            "OfferId": "offerId",
            "InvoiceId": "invoiceId",
            CURRENCY: "billingCurrency",
        },
        needed=_NEEDED,
        steady=_STEADY | {"OfferId", "SubscriptionName", "ResourceName"},
        unread=_LEGACY,
        period_days=_PERIOD,
    ),
    "modern": Shape(
        kind="modern",
        cost="costInBillingCurrency",
        quantity="quantity",
        day="date",
        texts={
            SUBSCRIPTION: "subscriptionGuid",
            "SubscriptionName": "subscriptionName",
            "ResourceId": "instanceName",
            "ResourceGroupName": "resourceGroup",
            "ResourceLocation": "resourceLocation",
            "ResourceGuid": "meterId",
            "Meter": "meterName",
            "MeterCategory": "meterCategory",
            "UnitOfMeasure": "unitOfMeasure",
            "ConsumedService": "consumedService",
            "ChargeType": "chargeType",
            "Frequency": "frequency",
            "PublisherType": "publisherType",
            "PublisherName": "publisherName",
            "PricingModel": "pricingModel",
            "ReservationId": "reservationId",
            "BenefitId": "benefitId",
            "InvoiceId": "invoiceId",
            CURRENCY: "billingCurrencyCode",
        },
        needed=_NEEDED,
        steady=_STEADY | {"SubscriptionName", "Meter", "MeterCategory"},
        unread=_MODERN,
        period_days=_PERIOD,
    ),
    None: Shape(
        kind="before_2019",
        cost="pretaxCost",
        quantity="usageQuantity",
        day="usageStart",
        texts={
            SUBSCRIPTION: "subscriptionGuid",
            "SubscriptionName": "subscriptionName",
            "ResourceId": "instanceId",
            "ResourceName": "instanceName",
            "ResourceLocation": "instanceLocation",
            "ResourceGuid": "meterId",
            "Meter": "meterDetails.meterName",
            "MeterCategory": "meterDetails.meterCategory",
            "UnitOfMeasure": "meterDetails.unit",
            "ConsumedService": "consumedService",
            "OfferId": "offerId",
            "InvoiceId": "invoiceId",
            CURRENCY: "currency",
        },
        needed=_NEEDED - {"ChargeType"},
        steady=frozenset({"ResourceLocation"}),
        unread=_BEFORE_2019,
        period_id="billingPeriodId",
        # It tells usage alone, and has no word for it.
        fixed={"ChargeType": "Usage"},
    ),
}

COLUMNS = tuple(
    sorted({column for shape in SHAPES.values() for column in (*shape.texts, *shape.fixed)} | {TAGS})
)
"""The text columns of every page, whatever its records' shapes."""
