"""The simulator over real HTTP, with nothing going wrong on purpose."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from infra.local.simulator import Faults, Metric, Running, Tenant, TruthKey, add, scope_truth, serve
from infra.local.simulator.paging import BadTokenError, decode_token, encode_token

AUTH = {"Authorization": "Bearer simulator-token"}
STEP = Decimal("1e-18")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Tenant(7, subscriptions=3, days=6, rows_per_day=120)) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    running.simulator.faults = Faults()
    with httpx.Client(base_url=running.url, headers=AUTH) as client:
        yield client


def asking(
    *grouping: str, kind: str = "ActualCost", aggregations: tuple[str, ...] = ("Cost",)
) -> dict[str, Any]:
    return {
        "type": kind,
        "timeframe": "Custom",
        "timePeriod": {"from": "2026-05-01T00:00:00Z", "to": "2026-05-31T23:59:59Z"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {
                f"a{n}": {"name": name, "function": "Sum"} for n, name in enumerate(aggregations)
            },
            "grouping": [
                {"type": "TagKey", "name": name[4:]}
                if name.startswith("tag:")
                else {"type": "Dimension", "name": name}
                for name in grouping
            ],
        },
    }


def address(path: str, top: int = 5000) -> str:
    return f"{path}/providers/Microsoft.CostManagement/query?api-version=2025-03-01&$top={top}"


def read(
    client: httpx.Client, path: str, body: dict[str, Any], top: int = 5000
) -> list[list[dict[str, Any]]]:
    """Follow nextLink to its end; numbers come as their JSON text made decimal."""
    pages: list[list[dict[str, Any]]] = []
    link: str | None = address(path, top)
    while link:
        answer = client.post(link, json=body)
        assert answer.status_code == 200, answer.text
        properties = json.loads(answer.text, parse_float=Decimal)["properties"]
        names = [column["name"] for column in properties["columns"]]
        pages.append([dict(zip(names, row, strict=True)) for row in properties["rows"]])
        link = properties["nextLink"]
    return pages


def totals(rows: list[dict[str, Any]], subscription: str | None = None) -> dict[TruthKey, Decimal]:
    sums: dict[TruthKey, Decimal] = {}
    for row in rows:
        day = date.fromisoformat(str(row["UsageDate"]))
        key = TruthKey(day, row["Currency"], subscription or row["SubscriptionId"] or "none")
        sums[key] = sums.get(key, Decimal(0)) + Decimal(row["Cost"]).quantize(STEP)
    return sums


def as_set(pages: list[list[dict[str, Any]]]) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True, default=str) for page in pages for row in page)


@pytest.mark.parametrize("metric", list(Metric))
def test_the_sum_of_an_unpaged_answer_is_the_truth(
    running: Running, client: httpx.Client, metric: Metric
) -> None:
    tenant = running.simulator.tenant
    for path in (*tenant.subscription_scopes, tenant.billing_account, tenant.management_group):
        scope = tenant.scope(path)
        (rows,) = read(client, path, asking(*scope.default_grouping, kind=metric))
        expected = scope_truth(tenant, path, metric)

        assert totals(rows, None if scope.is_wide else scope.name) == {
            k: t.amount for k, t in expected.items()
        }
        assert len(rows) == sum(total.rows for total in expected.values())


@pytest.mark.parametrize("top", [1, 7, 50, 5000])
def test_paging_gives_every_row_once(running: Running, client: httpx.Client, top: int) -> None:
    path = running.simulator.tenant.subscription_scopes[2]
    body = asking("ResourceId", "Meter", "ServiceName", "ChargeType", "MeterSubcategory", "PricingModel")
    whole, paged = read(client, path, body), read(client, path, body, top)

    assert as_set(paged) == as_set(whole)
    assert max(as_set(paged).values()) == 1
    assert all(len(page) == top for page in paged[:-1])
    assert paged[-1]


def test_next_link_is_absolute_and_varies_as_the_service_does(running: Running, client: httpx.Client) -> None:
    path, body = running.simulator.tenant.subscription_scopes[0], asking("ResourceId", "Meter")
    links = []
    link: str | None = address(path, 20)
    while link:
        link = client.post(link, json=body).json()["properties"]["nextLink"]
        links.append(link)

    followed = [httpx.URL(link) for link in links if link]
    assert all(str(link).startswith(running.url) for link in followed)
    assert {link.path.rsplit("/", 1)[1].lower() for link in followed} == {"query"}
    assert len({link.path for link in followed}) > 1
    assert len({link.params["api-version"] for link in followed}) > 1
    assert [decode_token(link.params["$skiptoken"]) for link in followed] == list(range(1, len(links)))


def test_column_order_is_not_stable_and_columns_are_named_after_their_source(
    running: Running, client: httpx.Client
) -> None:
    path = running.simulator.tenant.subscription_scopes[0]
    body = asking("ResourceId", "tag:env", aggregations=("PreTaxCost", "UsageQuantity"))
    orders = set()
    for _ in range(5):
        columns = client.post(address(path), json=body).json()["properties"]["columns"]
        types = {column["name"]: column["type"] for column in columns}
        orders.add(tuple(types))
        assert types == {
            "PreTaxCost": "Number",
            "UsageQuantity": "Number",
            "UsageDate": "Number",
            "ResourceId": "String",
            "TagKey": "String",
            "TagValue": "String",
            "Currency": "String",
        }
    assert len(orders) > 1


def test_small_amounts_stand_in_the_body_with_an_exponent(running: Running, client: httpx.Client) -> None:
    path = running.simulator.tenant.subscription_scopes[0]
    text = client.post(address(path), json=asking("ResourceId", "Meter")).text
    assert re.search(r"[\[,]\d\.\d{10,}e-07[,\]]", text)
    assert "NaN" not in text


def test_control_totals_add_doubles_and_differ_from_the_truth_by_no_more(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    path = tenant.subscription_scopes[1]
    (rows,) = read(client, path, asking(aggregations=("Cost", "UsageQuantity")))
    expected = scope_truth(tenant, path, Metric.ACTUAL)

    control = totals(rows, tenant.subscriptions[1])
    assert control.keys() == expected.keys()
    assert all(abs(control[key] - expected[key].amount) < Decimal("1e-9") for key in control)
    assert {row["Currency"] for row in rows} == {"USD", "EUR"}
    assert all(row["UsageQuantity"] > 0 for row in rows)


def test_other_granularities_have_their_own_period_column(running: Running, client: httpx.Client) -> None:
    path = running.simulator.tenant.subscription_scopes[0]
    monthly, none = asking("ServiceName"), asking("ServiceName")
    monthly["dataset"]["granularity"], none["dataset"]["granularity"] = "Monthly", "None"

    assert {row["BillingMonth"] for row in read(client, path, monthly)[0]} == {"2026-05-01T00:00:00"}
    assert set(read(client, path, none)[0][0]) == {"Cost", "ServiceName", "Currency"}


def test_paths_are_the_same_in_any_casing(running: Running, client: httpx.Client) -> None:
    path, body = running.simulator.tenant.subscription_scopes[0], asking("ResourceGroupName")
    assert as_set(read(client, path.upper(), body)) == as_set(read(client, path, body))
    group = read(client, f"{path}/resourceGroups/rg-Data", asking("ResourceGroupName"))[0]
    assert {row["ResourceGroupName"] for row in group} == {"rg-data", "RG-DATA"}


def test_changed_data_are_answered_at_once(client: httpx.Client) -> None:
    with serve(Tenant(3, subscriptions=1, days=2, rows_per_day=20)) as own:
        path, body = (
            own.simulator.tenant.subscription_scopes[0],
            asking("ResourceId", "Meter", "MeterSubcategory"),
        )
        before = as_set(read(client, own.url + path, body))
        add(own.simulator.tenant, 3)
        assert (as_set(read(client, own.url + path, body)) - before).total() == 3


@pytest.mark.parametrize("status", [200, 204])
def test_no_data_is_answered_as_told(running: Running, client: httpx.Client, status: int) -> None:
    running.simulator.faults = Faults(empty_status=status)  # type: ignore[arg-type]
    body = asking("ResourceId")
    body["timePeriod"] = {"from": "2026-04-01T00:00:00Z", "to": "2026-04-30T23:59:59Z"}
    answer = client.post(address(running.simulator.tenant.subscription_scopes[0]), json=body)

    assert answer.status_code == status
    assert answer.content == b"" if status == 204 else answer.json()["properties"]["rows"] == []


def refused_body(**changed: object) -> dict[str, Any]:
    return asking("ServiceName") | changed


REFUSED = {
    "no body": (None, "Dataset is invalid or not supplied"),
    "no dataset": (refused_body(dataset=None), "Dataset is invalid or not supplied"),
    "unknown dimension": (
        asking("Nonsense"),
        "Invalid query definition: Invalid dataset grouping: 'Nonsense'",
    ),
    "type": (refused_body(type="Guess"), "Invalid type"),
    "timeframe": (refused_body(timeframe="Always"), "Invalid timeframe"),
    "no period": (refused_body(timePeriod=None), "Missing time period"),
    "backwards": (
        refused_body(timePeriod={"from": "2026-05-02T00:00:00Z", "to": "2026-05-01T00:00:00Z"}),
        "later than",
    ),
    "too long": (
        refused_body(timePeriod={"from": "2020-05-02T00:00:00Z", "to": "2026-05-01T00:00:00Z"}),
        "37 months",
    ),
    "aggregation": (asking("Meter", aggregations=("Price",)), "Invalid dataset aggregation"),
    "three aggregations": (
        asking("Meter", aggregations=("Cost", "PreTaxCost", "UsageQuantity")),
        "Invalid dataset aggregation",
    ),
    "two tags": (asking("tag:env", "tag:org"), "Invalid dataset grouping"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_query_is_refused_in_the_services_words(
    running: Running, client: httpx.Client, case: str
) -> None:
    body, words = REFUSED[case]
    url = address(running.simulator.tenant.subscription_scopes[0])
    answer = client.post(url, json=body) if body else client.post(url)

    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_resource_id_is_refused_at_wide_scopes(running: Running, client: httpx.Client) -> None:
    tenant = running.simulator.tenant
    for path in (tenant.billing_account, tenant.management_group):
        answer = client.post(address(path), json=asking("ResourceId"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?api-version=2025-03-01&$top=5001", 400), ("?api-version=2025-03-01&$skiptoken=eHg=", 400)],
    ids=["no version", "top too large", "foreign token"],
)
def test_bad_parameters_are_refused(running: Running, client: httpx.Client, query: str, status: int) -> None:
    path = running.simulator.tenant.subscription_scopes[0]
    url = f"{path}/providers/Microsoft.CostManagement/query{query}"
    assert client.post(url, json=asking("ServiceName")).status_code == status


def test_get_is_refused(running: Running, client: httpx.Client) -> None:
    assert client.get(address(running.simulator.tenant.subscription_scopes[0])).status_code == 405


def test_only_the_configured_token_is_let_in(running: Running, client: httpx.Client) -> None:
    running.simulator.faults = Faults(expired_tokens=("old",))
    url = address(running.simulator.tenant.subscription_scopes[0])
    seen = {}
    for sent in ("Bearer old", "Bearer wrong", "Basic simulator-token", ""):
        answer = client.post(url, json=asking("Meter"), headers={"Authorization": sent})
        assert answer.status_code == 401
        seen[sent] = answer.json()["error"]["code"]
    assert seen.pop("Bearer old") == "ExpiredAuthenticationToken"
    assert set(seen.values()) == {"InvalidAuthenticationToken"}


def test_every_request_is_written_down(running: Running, client: httpx.Client) -> None:
    path, journal = running.simulator.tenant.subscription_scopes[0], running.simulator.journal
    journal.clear()
    pages = read(client, path, asking("ResourceId", "Meter"), 50)
    client.post(address("/subscriptions/nobody"), json=asking("Meter"))

    assert journal.requests == len(pages) + 1
    assert journal.by_status == {200: len(pages), 404: 1}
    assert [entry.skiptoken for entry in journal.entries][:3] == [None, "AQAAAA==", "AgAAAA=="]
    assert {entry.scope for entry in journal.entries[:-1]} == {path}
    assert client.get("/_simulator/log").json()["requests"] == len(pages) + 1


def test_the_truth_can_be_asked_over_http(running: Running, client: httpx.Client) -> None:
    path = running.simulator.tenant.subscription_scopes[0]
    asked = {
        "scope": path,
        "metric": "AmortizedCost",
        "grouping": "ServiceName",
        "from": "2026-05-02",
        "to": "2026-05-02",
    }
    rows = client.get("/_simulator/truth", params=asked).json()

    day = date(2026, 5, 2)
    expected = scope_truth(running.simulator.tenant, path, Metric.AMORTIZED, ["ServiceName"], (day, day))
    assert {
        (r["day"], r["currency"], r["subscription"]): (Decimal(r["amount"]), r["rows"]) for r in rows
    } == {
        (key.day.isoformat(), key.currency, key.subscription): tuple(total) for key, total in expected.items()
    }
    assert client.get("/_simulator/truth", params={"scope": "/nothing"}).status_code == 400


def test_changes_over_http_say_what_they_did() -> None:
    with (
        serve(Tenant(3, subscriptions=2, days=3, rows_per_day=60)) as own,
        httpx.Client(base_url=own.url) as client,
    ):
        asked = {"restate": 2, "withdraw": 1, "add": 3, "days": ["2026-05-02"]}
        done = client.post("/_simulator/change", json=asked).json()

        assert [(change["kind"], change["charges"]) for change in done] == [
            ("restate", 2),
            ("withdraw", 1),
            ("add", 3),
        ]
        assert {delta["day"] for change in done for delta in change["deltas"]} == {"2026-05-02"}
        vanished = {"scope": own.simulator.tenant.subscription_scopes[0], "day": "2026-05-02"}
        assert client.post("/_simulator/vanish", json=vanished).status_code == 200
        assert client.post("/_simulator/change", json={"restate": "many"}).status_code == 400


@pytest.mark.parametrize(("number", "token"), [(1, "AQAAAA=="), (2, "AgAAAA=="), (256, "AAEAAA==")])
def test_a_skiptoken_is_a_little_endian_page_number(number: int, token: str) -> None:
    assert encode_token(number) == token
    assert decode_token(token) == number


@pytest.mark.parametrize("token", ["", "AQ==", "*", "/////w=="])
def test_a_foreign_skiptoken_is_refused(token: str) -> None:
    with pytest.raises(BadTokenError):
        decode_token(token)
