"""Records of usageDetails in the ledger's columns: what is identity, what is content, what is published."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from shared.ledger.columns import STAGED
from shared.normalise.details import CONTENT, IDENTITY, detail_records
from shared.normalise.records import Records
from shared.read.details_schema import Details
from shared.read.details_shapes import COLUMNS, SHAPES
from shared.read.schema import SchemaDriftError

TEXTS: dict[str, str | None] = {
    **dict.fromkeys(COLUMNS),
    "SubscriptionId": "SUB-1",
    "SubscriptionName": "Research",
    "ResourceId": "/subscriptions/SUB-1/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/Web",
    "ResourceLocation": "US West",
    "ResourceGuid": "METER",
    "Meter": "B1s",
    "MeterCategory": "Virtual Machines",
    "UnitOfMeasure": "1 Hour",
    "ChargeType": "Refund",
    "PricingModel": "SavingsPlan",
    "PublisherName": "Canonical",
    "InvoiceId": "I-1",
    "Currency": "usd",
    "Tags": '{"env":"prod"}',
}


def made(*rows: dict[str, Any], subscription: str | None = None, metric: str = "AmortizedCost") -> Records:
    details = Details(
        texts={name: [row.get(name, TEXTS[name]) for row in rows] for name in COLUMNS},
        cost=[row.get("cost", "1.5") for row in rows],
        quantity=[row.get("quantity", "2") for row in rows],
        days=[row.get("day", date(2026, 5, 10)) for row in rows],
        shapes=[SHAPES["modern"]] * len(rows),
        next_link=None,
    )
    first, last = date(2026, 5, 9), date(2026, 5, 10)
    return detail_records(details, metric=metric, subscription=subscription, first=first, last=last)


def test_focus_columns_that_a_record_can_fill_are_filled() -> None:
    row = made({}).frame.row(0, named=True)

    assert list(row) == list(STAGED)
    assert {name: value for name, value in row.items() if value is not None} == {
        "usage_date": date(2026, 5, 10),
        "subscription_id": "sub-1",
        "ChargePeriodStart": row["ChargePeriodStart"],
        "ChargePeriodEnd": row["ChargePeriodEnd"],
        "BillingCurrency": "USD",
        "EffectiveCost": Decimal("1.5"),
        "ConsumedQuantity": Decimal(2),
        "ConsumedUnit": "1 Hour",
        "SubAccountId": "sub-1",
        "SubAccountName": "Research",
        "ResourceId": str(TEXTS["ResourceId"]).lower(),
        "ResourceName": "Web",
        "ResourceType": "microsoft.compute/virtualmachines",
        "RegionId": "uswest",
        "ServiceName": "Virtual Machines",
        "SkuMeter": "B1s",
        "ChargeCategory": "Purchase",
        "ChargeClass": "Correction",
        "PricingCategory": "Committed",
        "PublisherName": "Canonical",
        "Tags": '{"env":"prod"}',
        "InvoiceId": "I-1",
        "ProviderName": "Microsoft",
        "x_RecordId": made({}).identities[0][:16],
        "x_MeterId": "meter",
        "x_MeterCategory": "Virtual Machines",
        "x_ResourceGroup": "rg",
        "x_ChargeType": "Refund",
    }


def test_scopes_own_subscription_counts_where_it_has_one() -> None:
    assert made({"SubscriptionId": None}, subscription="own").frame["subscription_id"].to_list() == ["own"]
    assert made({"SubscriptionId": ""}).frame["subscription_id"].to_list() == ["none"]


def test_no_amount_and_nothing_that_is_filled_in_later_is_identity() -> None:
    changed = {name: "other" for name in CONTENT if name in COLUMNS} | {"cost": "7", "quantity": "8"}
    one, other = made({}, changed).identities

    assert one == other
    assert made({}).contents[0] != made(changed).contents[0]
    assert {"InvoiceId", "SubscriptionName", "cost"} <= set(CONTENT)


def test_record_whose_meter_details_come_later_is_the_same_record() -> None:
    """Legacy records may have them as null; the meter's id stands in each."""
    details = ("Meter", "MeterCategory", "UnitOfMeasure")
    without, told = made(dict.fromkeys(details)), made({})

    assert without.identities.to_list() == told.identities.to_list()
    assert without.contents.to_list() != told.contents.to_list()


@pytest.mark.parametrize("name", [name for name in IDENTITY if name in COLUMNS])
def test_every_dimension_is_identity_as_returned(name: str) -> None:
    one, other, lower = made({}, {name: "other"}, {name: "OTHER"}).identities

    assert len({one, other, lower}) == 3


def test_each_part_is_prefixed_by_its_length() -> None:
    one, other = made(
        {"Frequency": "a", "PublisherType": "bc"}, {"Frequency": "ab", "PublisherType": "c"}
    ).identities

    assert one != other


def test_days_outside_are_dropped_and_counted() -> None:
    found = made({}, {"day": date(2026, 5, 11)}, {"day": date(2026, 5, 8)})

    assert (len(found.frame), found.outside) == (1, 2)


def test_amount_that_does_not_fit_is_drift_that_names_the_shapes_field() -> None:
    with pytest.raises(
        SchemaDriftError, match="field `costInBillingCurrency`, row 1: '123456789012345678901"
    ):
        made({}, {"cost": "123456789012345678901.5"})


def test_twins_are_two_records_of_one_id() -> None:
    found = made({}, {})

    assert found.frame["x_RecordId"].n_unique() == 1
    assert found.sums("AmortizedCost")[date(2026, 5, 10)]["USD"].cost == Decimal(3)
