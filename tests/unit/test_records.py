"""From an answer's columns to records: hashed as returned, published in lower case, exact."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from shared.ledger.columns import STAGED
from shared.normalise.records import Records, control, records
from shared.read.schema import SchemaDriftError, Table

SUBSCRIPTION = "0b5e0f3c-3f52-4a8e-9d4e-1f6c5f2f8a11"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG-Prod"
VM = f"{GROUP}/providers/Microsoft.Compute/virtualMachines/Web-1"
TEXTS: dict[str, str | None] = {
    "ResourceId": VM,
    "ServiceName": "Virtual Machines",
    "Meter": "D2",
    "ChargeType": "Usage",
    "PricingModel": "OnDemand",
    "ResourceLocation": "US West 2",
    "Currency": "usd",
}
GROUPING = tuple(name for name in TEXTS if name != "Currency")


def table(*rows: dict[str, Any]) -> Table:
    """Rows that differ from `TEXTS`, a cost of 1.5, a quantity of 2 and the 10th of May where they say so."""
    texts = {name: [row.get(name, value) for row in rows] for name, value in (TEXTS | _extra(rows)).items()}
    return Table(
        texts=texts,
        cost=[row.get("cost", "1.5") for row in rows],
        quantity=[row.get("quantity", "2") for row in rows],
        days=[row.get("day", 20260510) for row in rows],
        rows=len(rows),
        next_link=None,
    )


def _extra(rows: tuple[dict[str, Any], ...]) -> dict[str, str | None]:
    known = {*TEXTS, "cost", "quantity", "day"}
    return {name: None for row in rows for name in row if name not in known}


def made(
    *rows: dict[str, Any], metric: str = "ActualCost", subscription: str | None = SUBSCRIPTION, tag: str = ""
) -> Records:
    grouping = (*GROUPING, f"tag:{tag}") if tag else GROUPING
    return records(
        table(*rows),
        metric=metric,
        grouping=grouping,
        subscription=subscription,
        first=date(2026, 5, 9),
        last=date(2026, 5, 10),
    )


def only(*rows: dict[str, Any], **asked: str) -> dict[str, Any]:
    (row,) = made(*rows, **asked).frame.to_dicts()
    return row


def test_record_has_focus_names_utc_days_and_ids_in_lower_case() -> None:
    row = only({})

    assert row["ChargePeriodStart"] == datetime(2026, 5, 10, tzinfo=UTC)
    assert row["ChargePeriodEnd"] == datetime(2026, 5, 11, tzinfo=UTC)
    assert (row["BilledCost"], row["EffectiveCost"]) == (Decimal("1.5"), None)
    assert row["ResourceId"] == VM.lower()
    assert (row["ResourceName"], row["ResourceType"]) == ("Web-1", "microsoft.compute/virtualmachines")
    assert (row["x_ResourceGroup"], row["RegionId"]) == ("rg-prod", "uswest2")
    assert (row["SubAccountId"], row["subscription_id"]) == (SUBSCRIPTION, SUBSCRIPTION)
    assert (row["BillingCurrency"], row["ChargeCategory"], row["PricingCategory"]) == (
        "USD",
        "Usage",
        "Standard",
    )


def test_frame_has_the_columns_of_a_staged_page_with_and_without_rows() -> None:
    assert made({}).frame.schema == pl.Schema(STAGED)
    assert made({"day": 20260601}).frame.schema == pl.Schema(STAGED)


def test_amortised_cost_stands_in_the_other_column() -> None:
    row = only({}, metric="AmortizedCost")

    assert (row["BilledCost"], row["EffectiveCost"]) == (None, Decimal("1.5"))


def test_two_casings_of_one_resource_are_two_records_that_both_count() -> None:
    """Microsoft's own example returns both, each with its own cost."""
    both = made({}, {"ResourceId": VM.upper(), "cost": "0.5"})

    assert both.frame["x_RecordId"].n_unique() == 2
    assert both.frame["ResourceId"].n_unique() == 1
    assert both.frame["BilledCost"].sum() == Decimal(2)


@pytest.mark.parametrize("name", [*GROUPING, "Currency"])
def test_every_dimension_and_the_currency_are_part_of_the_identity(name: str) -> None:
    both = made({}, {name: "another"})

    assert both.identities.n_unique() == 2


def test_day_is_part_of_the_identity() -> None:
    assert made({}, {"day": 20260509}).identities.n_unique() == 2


@pytest.mark.parametrize("change", [{"cost": "1.6"}, {"quantity": "3"}])
def test_amounts_are_content_and_never_identity(change: dict[str, str]) -> None:
    both = made({}, change)

    assert (both.identities.n_unique(), both.contents.n_unique()) == (1, 2)


def test_null_and_empty_dimension_are_two_identities_and_one_null() -> None:
    both = made({"Meter": None}, {"Meter": ""})

    assert both.identities.n_unique() == 2
    assert both.frame["SkuMeter"].to_list() == [None, None]


def test_same_amount_in_other_words_is_the_same_content() -> None:
    assert made({"cost": "1.50"}, {"cost": "15e-1"}).contents.n_unique() == 1


def test_order_of_the_columns_does_not_matter() -> None:
    one = made({}).identities
    turned = table({})
    texts = dict(reversed(list(turned.texts.items())))
    other = records(
        Table(texts, turned.cost, turned.quantity, turned.days, 1, None),
        metric="ActualCost",
        grouping=GROUPING,
        subscription=SUBSCRIPTION,
        first=date(2026, 5, 9),
        last=date(2026, 5, 10),
    ).identities

    assert one.equals(other)


def test_rows_outside_the_window_are_dropped_and_counted() -> None:
    """The service treats `to` generously."""
    read = made({}, {"day": 20260511}, {"day": 20260508})

    assert (len(read.frame), len(read.identities), read.outside) == (1, 1, 2)


def test_page_without_rows_has_nothing_to_add_up() -> None:
    read = made()

    assert (len(read.frame), read.outside, read.sums("ActualCost"), read.digests()) == (0, 0, {}, {})


@pytest.mark.parametrize("day", [20260599, 0, -20260510, 2026051, 202605100, 20260230])
def test_number_that_is_no_day_is_drift_with_its_row(day: int) -> None:
    with pytest.raises(SchemaDriftError, match=f"column `UsageDate`, row 1: {day} is no day"):
        made({}, {"day": day})


@pytest.mark.parametrize("cost", ["123456789012345678901.5", "1e30"])
def test_amount_of_more_than_20_digits_is_drift_with_its_row(cost: str) -> None:
    with pytest.raises(SchemaDriftError, match="column `Cost`, row 1"):
        made({}, {"cost": cost})


@pytest.mark.parametrize("currency", [None, ""])
def test_row_without_a_currency_is_drift_with_its_row(currency: str | None) -> None:
    with pytest.raises(SchemaDriftError, match="column `Currency`, row 1: no currency"):
        made({}, {"Currency": currency})


def test_wide_scope_takes_the_subscription_from_the_row() -> None:
    rows = made(
        {"SubscriptionId": SUBSCRIPTION.upper()},
        {"SubscriptionId": None},
        {"SubscriptionId": ""},
        subscription=None,
    )

    assert rows.frame["subscription_id"].to_list() == [SUBSCRIPTION, "none", "none"]
    assert rows.frame["SubAccountId"].to_list() == [SUBSCRIPTION, None, None]


def test_tag_is_published_as_json_with_its_name() -> None:
    rows = made({"TagKey": "env", "TagValue": 'a"b'}, {"TagKey": "env", "TagValue": None}, tag="env")

    assert rows.frame["Tags"].to_list() == ['{"env":"a\\"b"}', None]


def test_sums_are_per_day_and_currency_with_absolute_amounts() -> None:
    sums = made({}, {"cost": "-0.5", "Meter": "x"}, {"Currency": "EUR"}, {"day": 20260509}).sums("ActualCost")

    dollars = sums[date(2026, 5, 10)]["USD"]
    assert (dollars.cost, dollars.cost_absolute, dollars.records) == (Decimal(1), Decimal(2), 2)
    assert (dollars.quantity, dollars.quantity_absolute) == (Decimal(4), Decimal(4))
    assert set(sums[date(2026, 5, 10)]) == {"USD", "EUR"}
    assert set(sums) == {date(2026, 5, 9), date(2026, 5, 10)}


def test_digest_of_a_day_does_not_depend_on_the_order_of_its_rows() -> None:
    one, other = {"Meter": "a"}, {"Meter": "b"}

    assert made(one, other).digests() == made(other, one).digests() != made(one, one).digests()


def test_twins_of_one_answer_both_stand_in_the_digest() -> None:
    assert made({}, {}).digests() != made({}).digests()


def test_packed_record_takes_24_bytes() -> None:
    assert len(made({}, {"Meter": "b"}).packed()) == 48


def test_control_is_read_per_day_and_currency() -> None:
    rows = table({"cost": "-2", "Currency": "usd"}, {"Currency": "EUR"}, {"day": 20260511})
    bare = Table({"Currency": rows.texts["Currency"]}, rows.cost, rows.quantity, rows.days, 3, None)

    totals = control(bare, date(2026, 5, 10), date(2026, 5, 10))

    (of_day,) = totals.values()
    assert {currency: sums.cost for currency, sums in of_day.items()} == {
        "USD": Decimal(-2),
        "EUR": Decimal("1.5"),
    }
