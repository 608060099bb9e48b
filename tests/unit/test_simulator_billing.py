"""The simulated provider's invoices and balances: true to its own costs, and odd only where it was told to be."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest

from infra.local.simulator import BillingFaults, Faults, Metric, Running, Tenant, scope_truth, serve
from infra.local.simulator.control import parse_faults

AUTH = {"Authorization": "Bearer simulator-token"}
VERSION = "api-version=2024-04-01"
CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serve(Tenant(11, subscriptions=3, days=40, rows_per_day=30, first_day=date(2026, 4, 25))) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    running.simulator.faults = Faults()
    with httpx.Client(base_url=running.url, headers=AUTH) as client:
        yield client


def own_invoices(subscription: str) -> str:
    return (
        f"/providers/Microsoft.Billing/billingAccounts/default/billingSubscriptions/{subscription}/invoices"
    )


def documents(client: httpx.Client, path: str) -> list[dict[str, Any]]:
    link: str | None = f"{path}?{VERSION}"
    found: list[dict[str, Any]] = []
    while link:
        answer = client.get(link)
        assert answer.status_code == 200, answer.text
        said = json.loads(answer.text, parse_float=Decimal)
        found += [document["properties"] for document in said["value"]]
        link = said["nextLink"]
    return found


def truth(tenant: Tenant, path: str, first: date, last: date) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    for key, total in scope_truth(tenant, path, Metric.ACTUAL, period=(first, last)).items():
        totals[key.currency] = totals.get(key.currency, Decimal(0)) + total.amount
    return totals


def period(document: dict[str, Any]) -> tuple[date, date]:
    return (
        date.fromisoformat(document["invoicePeriodStartDate"][:10]),
        date.fromisoformat(document["invoicePeriodEndDate"][:10]),
    )


def before_tax(document: dict[str, Any]) -> Decimal:
    """What a subscription's own document comes to: it has no `subTotal`."""
    assert document["subTotal"] is None
    assert document["billingProfileId"] is None
    return Decimal(document["billedAmount"]["value"]) - Decimal(document["taxAmount"]["value"])


def test_a_profile_has_one_invoice_a_month_and_currency_over_its_own_costs(
    running: Running, client: httpx.Client
) -> None:
    profile = running.simulator.tenant.billing_profiles[0]
    found = documents(client, f"{profile}/invoices")

    assert {period(one) for one in found} == {
        (date(2026, 4, 1), date(2026, 4, 30)),
        (date(2026, 5, 1), date(2026, 5, 31)),
        (date(2026, 6, 1), date(2026, 6, 30)),
    }
    for one in found:
        total = one["subTotal"]
        assert one["billingProfileId"].lower() == profile.lower()
        true = truth(running.simulator.tenant, profile, *period(one))[total["currency"]]
        assert abs(Decimal(total["value"]) - true) <= CENT / 2
        assert one["totalAmount"]["value"] > total["value"] or total["value"] <= 0


def test_an_accounts_invoices_are_those_of_its_profiles_page_by_page(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    running.simulator.faults = Faults(billing=BillingFaults(page_size=2))

    found = documents(client, f"{tenant.modern_account}/invoices")

    may = [one["subTotal"] for one in found if period(one)[1] == date(2026, 5, 31)]
    for currency, true in truth(tenant, tenant.billing_account, date(2026, 5, 1), date(2026, 5, 31)).items():
        total = sum(Decimal(one["value"]) for one in may if one["currency"] == currency)
        assert abs(total - true) <= CENT


def test_a_subscription_that_is_billed_to_a_profile_lists_that_profiles_invoices(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    profile = tenant.billing_profiles[0]
    billed_to = {tenant.subscription_scopes[0]: profile}
    running.simulator.faults = Faults(billing=BillingFaults(billed_to=billed_to))
    found = documents(client, own_invoices(tenant.subscriptions[0]))
    assert found == documents(client, f"{profile}/invoices")


def test_periods_of_a_subscription_follow_its_anniversary(running: Running, client: httpx.Client) -> None:
    running.simulator.faults = Faults(billing=BillingFaults(anniversary=12))
    found = documents(client, own_invoices(running.simulator.tenant.subscriptions[0]))
    assert [period(one) for one in found] == [
        (date(2026, 4, 12), date(2026, 5, 11)),
        (date(2026, 5, 12), date(2026, 6, 11)),
    ]


def test_an_enrollments_balance_adds_up_to_its_costs_in_a_currency_with_blanks(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    path = (
        f"{tenant.billing_account}/billingPeriods/202605/providers/Microsoft.Consumption/balances?{VERSION}"
    )
    said = json.loads(client.get(path).text, parse_float=Decimal)["properties"]
    true = truth(tenant, tenant.billing_account, date(2026, 5, 1), date(2026, 5, 31))
    assert said["currency"].endswith("  ")
    total = Decimal(said["totalUsage"]) + Decimal(said["azureMarketplaceServiceCharges"])
    assert abs(total - true[said["currency"].strip()]) <= CENT
    assert said["newPurchases"] > total


def test_what_counts_of_voided_credited_and_supported_invoices_is_still_the_truth(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    scope, subscription = tenant.subscription_scopes[0], tenant.subscriptions[0]
    odd = BillingFaults(voided=(scope,), credited={scope: "7.5"}, supported=(scope,))
    running.simulator.faults = Faults(billing=odd)

    found = [
        one for one in documents(client, own_invoices(subscription)) if period(one)[1] == date(2026, 5, 31)
    ]

    assert sorted((one["documentType"], one["status"], one["invoiceType"]) for one in found) == [
        ("CreditNote", "Due", "AzureServices"),
        ("CreditNote", "Due", "AzureServices"),
        ("Invoice", "Due", "AzureServices"),
        ("Invoice", "Due", "AzureSupport"),
        ("Invoice", "Void", "AzureServices"),
        ("VoidNote", "Due", "AzureServices"),
    ]
    net = sum(
        before_tax(one) * (-1 if one["documentType"] == "CreditNote" else 1)
        for one in found
        if one["invoiceType"] == "AzureServices"
        and one["status"] != "Void"
        and "creditForDocumentId" not in one
        if one["documentType"] != "VoidNote"
    )
    (true,) = truth(tenant, scope, date(2026, 5, 1), date(2026, 5, 31)).values()
    assert abs(net - true) <= CENT


def test_faults_of_billing_are_told_in_json_and_refuse_what_makes_no_sense() -> None:
    assert parse_faults('{"billing": {"off_by": {"/subscriptions/a": "1.5"}}}') == Faults(
        billing=BillingFaults(off_by={"/subscriptions/a": "1.5"})
    )
    with pytest.raises(ValueError, match="anniversary"):
        BillingFaults(anniversary=29)
    with pytest.raises(ValueError, match="page_size"):
        BillingFaults(page_size=-1)


def test_forbidden_unissued_and_unknown_are_403_nothing_and_404(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    north, south = tenant.billing_profiles
    running.simulator.faults = Faults(billing=BillingFaults(forbidden=(north,), unissued=(south,)))
    assert client.get(f"{north}/invoices?{VERSION}").status_code == 403
    assert documents(client, f"{south}/invoices") == []
    assert client.get(f"{tenant.management_group}/invoices?{VERSION}").status_code == 404
    assert client.get(f"{own_invoices('nobody')}?{VERSION}").status_code == 404
    assert client.get(f"{north}/invoices").status_code == 400
    assert client.post(f"{north}/invoices?{VERSION}").status_code == 405


def test_a_purchase_is_billed_on_its_day_and_later_documents_are_not_there_yet(
    running: Running, client: httpx.Client
) -> None:
    tenant = running.simulator.tenant
    subscription, path = tenant.subscriptions[0], tenant.subscription_scopes[0]
    (whole,) = (one for one in documents(client, own_invoices(subscription)) if period(one)[0].month == 5)
    billing = BillingFaults(bought={path: "2026-05-20"})
    running.simulator.faults = Faults(billing=billing)
    day, rest = (one for one in documents(client, own_invoices(subscription)) if period(one)[0].month == 5)
    assert period(day) == (date(2026, 5, 20), date(2026, 5, 20))
    assert before_tax(day) + before_tax(rest) == before_tax(whole)

    running.simulator.faults = Faults(billing=replace(billing, today="2026-06-04"))
    there = documents(client, own_invoices(subscription))
    assert [one for one in there if period(one)[0].month == 5] == [day]
