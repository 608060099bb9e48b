"""Records of usageDetails: three shapes by field name, numbers as they were written, days in UTC."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.read.details_schema import TELLING, Details, read
from shared.read.details_shapes import SHAPES
from shared.read.schema import SchemaDriftError, TornBodyError
from shared.read.utc_days import utc_day

LEGACY: dict[str, Any] = {
    "billingCurrency": "CAD",
    "chargeType": "Usage",
    "cost": 0.5,
    "date": "2019-04-09T00:00:00.0000000Z",
    "quantity": 2,
    "meterId": "m",
    "meterDetails": {"meterName": "B1s", "meterCategory": "Virtual Machines", "unitOfMeasure": "1 Hour"},
    "resourceId": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
    "subscriptionId": "s",
    "unitPrice": 5.47,
}
MODERN: dict[str, Any] = {
    "billingCurrencyCode": "EUR",
    "chargeType": "Purchase",
    "costInBillingCurrency": 1.5,
    "date": "2024-02-29T00:00:00Z",
    "quantity": 1,
    "meterId": "m",
    "instanceName": None,
    "subscriptionGuid": None,
    "invoiceId": "I-1",
}
BEFORE_2019: dict[str, Any] = {
    "usageStart": "2018-12-31T23:00:00-02:00",
    "usageEnd": "2018-12-31T23:59:59Z",
    "instanceId": "/subscriptions/s/x",
    "instanceName": "x",
    "meterId": "m",
    "usageQuantity": 3,
    "pretaxCost": 0.25,
    "currency": "USD",
    "subscriptionGuid": "s",
    "invoiceId": "/subscriptions/s/providers/Microsoft.Billing/invoices/201703-1",
}
LINK = "https://management.azure.com/next?a=%20b"


def record(properties: dict[str, Any], kind: str | None = "legacy", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"id": "i", "properties": properties, **({"kind": kind} if kind else {}), **more}


def body(*records: object, link: object = None) -> bytes:
    return json.dumps({"value": list(records), "nextLink": link}).encode()


def one(properties: dict[str, Any], kind: str | None = "legacy", **more: Any) -> Details:  # noqa: ANN401
    return read(body(record(properties, kind, **more)), wide=True)


def without(properties: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key != name}


def test_page_may_mix_shapes_and_each_is_read_by_its_own_names() -> None:
    page = read(
        body(record(LEGACY), record(MODERN, "modern"), record(BEFORE_2019, None), link=LINK), wide=True
    )

    assert page.cost == ["0.5", "1.5", "0.25"]
    assert page.quantity == ["2", "1", "3"]
    assert page.days == [date(2019, 4, 9), date(2024, 2, 29), date(2019, 1, 1)]
    assert page.texts["Currency"] == ["CAD", "EUR", "USD"]
    assert page.texts["ChargeType"] == ["Usage", "Purchase", "Usage"]
    assert page.texts["Meter"] == ["B1s", None, None]
    assert page.texts["UnitOfMeasure"] == ["1 Hour", None, None]
    assert page.texts["InvoiceId"] == [None, "I-1", BEFORE_2019["invoiceId"]]
    assert page.next_link == LINK


def test_number_stays_the_text_it_was() -> None:
    text = body(record(LEGACY)).replace(b'"cost": 0.5', b'"cost": 0.000001968949998000100010001')

    assert read(text, wide=True).cost == ["0.000001968949998000100010001"]


def usage(kind: str | None, *lost: str) -> dict[str, Any]:
    """A record of usage with every field that is read, less those that are lost."""
    shape = SHAPES[kind]
    names = {field.partition(".")[0] for field in (*shape.texts.values(), shape.day)} - {"meterDetails"}
    said = dict.fromkeys(names, "USD") | {shape.day: "2024-02-29", shape.cost: 1, shape.quantity: 1}
    if shape.texts.get("ChargeType"):
        said["chargeType"] = "Usage"
    return {name: value for name, value in said.items() if name not in lost}


def page_of(kind: str | None, count: int, *lost: str) -> Details:
    return read(body(*[record(usage(kind, *lost), kind)] * count), wide=True)


EVERYWHERE = (
    "resourceGroup",
    "resourceLocation",
    "consumedService",
    "frequency",
    "publisherType",
    "pricingModel",
)
STEADY = [
    *(("legacy", name) for name in (*EVERYWHERE, "offerId", "subscriptionName", "resourceName")),
    *(("modern", name) for name in (*EVERYWHERE, "subscriptionName", "meterName", "meterCategory")),
    (None, "instanceLocation"),
]


@pytest.mark.parametrize(("kind", "name"), STEADY)
def test_steady_field_that_no_record_of_usage_has_any_more_is_drift_by_name(
    kind: str | None, name: str
) -> None:
    """Its absence would change every record: all retracted and added, or all restated, each an adjustment."""
    with pytest.raises(
        SchemaDriftError, match=rf"field `{name}` is missing in {TELLING} of {TELLING} records"
    ):
        page_of(kind, TELLING, name)


@pytest.mark.parametrize(("kind", "name"), STEADY)
def test_field_that_some_records_lack_is_no_drift_and_neither_is_one_that_is_empty_in_all(
    kind: str | None, name: str
) -> None:
    """A few records tell nothing, and null is an answer; beside records without the field it is not enough of one."""
    assert len(page_of(kind, TELLING - 1, name).days) == TELLING - 1
    lacking, empty, full = (
        record(said, kind) for said in (usage(kind, name), usage(kind) | {name: None}, usage(kind))
    )
    for records in ([*[lacking] * TELLING, full], [empty] * TELLING):
        assert len(read(body(*records), wide=True).days) == len(records)
    with pytest.raises(SchemaDriftError, match=rf"field `{name}` is missing in {TELLING} of {TELLING + 1} "):
        read(body(*[lacking] * TELLING, empty), wide=True)


def test_purchases_and_fields_that_only_some_charges_have_may_leave_them_out() -> None:
    purchase = usage("legacy", "resourceGroup", "resourceLocation", "offerId") | {"chargeType": "Purchase"}
    assert len(read(body(*[record(purchase)] * (2 * TELLING)), wide=True).days) == 2 * TELLING
    assert len(page_of("legacy", TELLING, "reservationId", "benefitId", "invoiceId", "publisherName").days)


def test_lost_field_of_one_shape_is_not_made_up_for_by_another_shape() -> None:
    legacy, modern = record(usage("legacy", "frequency")), record(usage("modern"), "modern")
    with pytest.raises(SchemaDriftError, match="`frequency`"):
        read(body(*[legacy, modern] * TELLING), wide=True)


def test_new_fields_are_named_once_each_and_documented_ones_are_none() -> None:
    """In their own shape: a field that another shape has is new to this one."""
    new = {"zone": "1", "newField": [1, {"a": 2}], "billingAccountId": "1", "product": "p", "unitPrice": 1}

    page = read(body(*[record(LEGACY | new)] * 2, record(MODERN | {"pretaxCost": 1}, "modern")), wide=True)

    assert page.unknown == ("newField", "pretaxCost", "zone")
    assert (
        read(body(record(LEGACY), record(MODERN, "modern"), record(BEFORE_2019, None)), wide=True).unknown
        == ()
    )


def test_no_content_is_a_page_without_records() -> None:
    assert read(b"", wide=True).days == []
    assert read(b'{"value":[]}', wide=True).next_link is None


def test_absent_meter_details_are_no_drift() -> None:
    page = one(LEGACY | {"meterDetails": None})

    assert page.texts["Meter"] == [None]


def test_tags_are_json_whatever_their_order() -> None:
    told = [one(LEGACY, tags=tags).texts["Tags"][0] for tags in ({"b": "1", "a": ""}, {"a": "", "b": "1"})]

    assert told == ['{"a":"","b":"1"}'] * 2
    twice = body(record(LEGACY, tags={"a": "1"})).replace(b'{"a": "1"}', b'{"a": "1", "b": "2", "a": "3"}')
    assert read(twice, wide=True).texts["Tags"] == ['{"a":"3","b":"2"}'], "the last of two values counts"
    assert one(LEGACY, tags={}).texts["Tags"] == one(LEGACY, tags=None).texts["Tags"] == [None]


@pytest.mark.parametrize(
    ("properties", "kind", "name"),
    [
        *((LEGACY, "legacy", name) for name in LEGACY if name not in {"meterDetails", "unitPrice"}),
        *((MODERN, "modern", name) for name in MODERN if name != "invoiceId"),
        *(
            (BEFORE_2019, None, name)
            for name in BEFORE_2019
            if name not in {"usageEnd", "instanceName", "invoiceId"}
        ),
    ],
)
def test_lost_field_is_drift_that_names_field_and_row(
    properties: dict[str, Any], kind: str | None, name: str
) -> None:
    with pytest.raises(SchemaDriftError, match=rf"field `{name}` is missing in row 1"):
        read(body(record(properties, kind), record(without(properties, name), kind)), wide=True)


@pytest.mark.parametrize("name", list(LEGACY))
def test_retyped_field_is_drift_that_names_field_and_row(name: str) -> None:
    if name == "unitPrice":
        assert one(LEGACY | {name: "none of ours"}).cost == ["0.5"]
        return
    with pytest.raises(SchemaDriftError, match=rf"field `{name}`, row 0: list '\[1\]' is of another type"):
        one(LEGACY | {name: [1]})


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (body(record(LEGACY, "future")), "row 0: `kind` is 'future'"),
        (body(record(LEGACY, None)), "field `pretaxCost` is missing in row 0"),
        (body(record(LEGACY | {"billingCurrency": ""})), "field `billingCurrency`, row 0: no currency"),
        (body(record(LEGACY | {"cost": True})), "field `cost`, row 0: bool"),
        (body(record(LEGACY | {"cost": None})), "field `cost`, row 0: NoneType"),
        (body(record(LEGACY | {"date": "2019-02-29T00:00:00Z"})), "field `date`, row 0: '2019-02-29T00"),
        (body(record(LEGACY | {"date": "20190409"})), "field `date`, row 0: '20190409' is no day"),
        (body(record(LEGACY, tags=["a"])), "field `tags`, row 0: list"),
        (body(record(LEGACY, tags={"a": 1})), "field `tags.a`, row 0: int"),
        (body("text"), "row 0 has no `properties`"),
        (body(record(LEGACY), link=7), "`nextLink` is no text"),
        (b"[]", "the answer has no list `value`"),
        (body(record(LEGACY | {"cost": float("nan")})), "field `cost`, row 0: Constant 'NaN'"),
        (body(record(LEGACY | {"unitPrice": float("inf")})), "no strict JSON"),
    ],
)
def test_anything_else_is_drift_by_name(broken: bytes, why: str) -> None:
    with pytest.raises(SchemaDriftError) as caught:
        read(broken, wide=True)
    assert why in str(caught.value)


def test_scope_of_one_subscription_needs_none_named_in_its_records() -> None:
    assert read(body(record(without(LEGACY, "subscriptionId"))), wide=False).cost == ["0.5"]


def test_body_that_was_cut_off_is_torn_and_no_drift() -> None:
    with pytest.raises(TornBodyError):
        read(body(record(LEGACY))[:-9], wide=True)


@given(
    st.datetimes(datetime(2000, 1, 2), datetime(2090, 1, 1)),  # noqa: DTZ001 - its zone comes from the next
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from(["", ".0", ".0000000", ".9999999", ".123"]),
)
def test_time_with_any_offset_lands_on_its_utc_day(told: datetime, minutes: int, fraction: str) -> None:
    sign, size = ("-" if minutes < 0 else "+"), abs(minutes)
    text = f"{told:%Y-%m-%dT%H:%M:%S}{fraction}{sign}{size // 60:02}:{size % 60:02}"

    zone = timezone(timedelta(minutes=minutes))
    assert utc_day(text) == told.replace(tzinfo=zone).astimezone(UTC).date()
    assert utc_day(f"{told:%Y-%m-%dT%H:%M:%S}{fraction}Z") == told.date()


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2023-12-31T23:30:00-01:00", date(2024, 1, 1)),
        ("2024-01-01T00:30:00+01:00", date(2023, 12, 31)),
        ("2024-02-28T23:59:59.9999999-00:01", date(2024, 2, 29)),
        ("2024-03-01T00:00:00+00:01", date(2024, 2, 29)),
        ("2023-03-01T00:00:00+00:01", date(2023, 2, 28)),
        ("2024-05-01T00:00:00", date(2024, 5, 1)),
        ("2024-05-01", date(2024, 5, 1)),
        ("0001-01-01T00:00:00+00:01", None),
        ("2024-W01-1", None),
        ("05/01/2024", None),
        ("2024-05-01T25:00:00Z", None),
    ],
)
def test_days_at_the_ends_of_years_months_and_leap_years(text: str, day: date | None) -> None:
    assert utc_day(text) == day
