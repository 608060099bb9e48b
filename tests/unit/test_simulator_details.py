"""The simulated usageDetails: links that must come back as they were, three shapes, twins, its own throttles."""

import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from infra.local.simulator import (
    DEFAULT_TOKEN,
    Faults,
    Metric,
    Running,
    Shape,
    Tenant,
    details_truth,
    scope_truth,
    serve,
)
from infra.local.simulator.charges import exact_sum

FILTER = "properties/usageStart ge '2026-05-01' and properties/usageEnd le '2026-05-02'"
COSTS = {"legacy": "cost", "modern": "costInBillingCurrency", "before 2019": "pretaxCost"}


@pytest.fixture
def running() -> Iterator[Running]:
    with serve(Tenant(3, subscriptions=2, days=2, rows_per_day=80)) as running:
        yield running


def get(running: Running, path: str, **said: str) -> httpx.Response:
    query = {"api-version": "2024-08-01", "metric": "actualcost", "$top": "20", **said}
    url = f"{running.url}{path}/providers/Microsoft.Consumption/usageDetails"
    return httpx.get(url, params=query, headers={"Authorization": f"Bearer {DEFAULT_TOKEN}"})


def follow(answer: httpx.Response) -> list[dict[str, Any]]:
    """Read all pages, numbers exact, each link followed as it is."""
    found: list[dict[str, Any]] = []
    while True:
        assert answer.status_code == 200, answer.text
        said = json.loads(answer.text, parse_float=Decimal)
        found += said["value"]
        if "nextLink" not in said:
            return found
        answer = httpx.get(said["nextLink"], headers={"Authorization": f"Bearer {DEFAULT_TOKEN}"})


@pytest.mark.parametrize("shape", list(Shape))
def test_records_of_every_shape_add_up_to_what_query_says(running: Running, shape: Shape) -> None:
    running.simulator.shape = shape
    scope = running.simulator.tenant.subscription_scopes[0]
    asked = (
        {"startDate": "2026-05-01", "endDate": "2026-05-02"} if shape is Shape.MODERN else {"$filter": FILTER}
    )

    found = follow(get(running, scope, **asked))

    total = exact_sum(Decimal(record["properties"][COSTS[shape]]) for record in found)
    truth = scope_truth(running.simulator.tenant, scope, Metric.ACTUAL).values()
    assert abs(total - exact_sum(one.amount for one in truth)) < Decimal("1e-9")
    told = details_truth(running.simulator.tenant, scope, Metric.ACTUAL).values()
    assert len(found) == sum(one.rows for one in told)
    assert abs(total - exact_sum(one.amount for one in told)) < Decimal("1e-12")


def test_some_records_of_a_day_are_equal_and_all_count(running: Running) -> None:
    scope = running.simulator.tenant.subscription_scopes[0]

    found = Counter(
        json.dumps(record, default=str) for record in follow(get(running, scope, **{"$filter": FILTER}))
    )

    assert set(found.values()) >= {1, 2, 4}


def test_link_that_was_rebuilt_is_refused(running: Running) -> None:
    scope = running.simulator.tenant.subscription_scopes[0]
    link = get(running, scope, **{"$filter": FILTER}).json()["nextLink"]
    headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}

    assert httpx.get(link, headers=headers).status_code == 200
    assert httpx.get(link.replace("top=20", "top=19"), headers=headers).status_code == 400
    assert (
        httpx.get(link.split("&sessiontoken")[0] + "&$skiptoken=AQAAAA%3D%3D", headers=headers).status_code
        == 400
    )
    assert httpx.post(link, headers=headers).status_code == 405


def test_each_agreement_takes_its_period_in_its_own_words(running: Running) -> None:
    tenant = running.simulator.tenant
    dates = {"startDate": "2026-05-01", "endDate": "2026-05-02"}
    scope, profile = tenant.subscription_scopes[0], tenant.billing_profiles[0]

    assert get(running, scope, **dates).status_code == 400
    assert get(running, profile, **{"$filter": FILTER}).status_code == 400
    assert get(running, profile, **dates).status_code == 200
    assert get(running, scope).status_code == 400


def test_billing_period_gives_its_month(running: Running) -> None:
    scope = running.simulator.tenant.subscription_scopes[0]
    periods = f"{scope}/providers/Microsoft.Billing/billingPeriods"

    assert follow(get(running, f"{periods}/202605")) == follow(get(running, scope, **{"$filter": FILTER}))
    assert get(running, f"{periods}/202604").status_code == 204


def test_throttle_is_its_own_and_says_so_in_its_own_header(running: Running) -> None:
    running.simulator.faults = Faults(details_limits=((1, 60),))
    scope = running.simulator.tenant.subscription_scopes[0]
    assert get(running, scope, **{"$filter": FILTER}).status_code == 200

    answer = get(running, scope, **{"$filter": FILTER})

    assert answer.status_code == 429
    assert float(answer.headers["x-ms-ratelimit-microsoft.consumption-retry-after"]) > 50
