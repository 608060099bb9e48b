"""What is asked of the Query API, and which links may be followed."""

from datetime import date

import msgspec
import pytest

from shared.read.query import ForeignLinkError, body, columns, first_url, same_host

ARM = "https://management.azure.com"


def test_query_asks_cost_and_quantity_per_day_and_group() -> None:
    asked = body("AmortizedCost", ("ResourceId", "tag:env"), date(2026, 5, 1), date(2026, 5, 31))

    assert msgspec.json.decode(asked) == {
        "type": "AmortizedCost",
        "timeframe": "Custom",
        "timePeriod": {"from": "2026-05-01T00:00:00Z", "to": "2026-05-31T23:59:59Z"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {
                "totalCost": {"name": "Cost", "function": "Sum"},
                "usage": {"name": "UsageQuantity", "function": "Sum"},
            },
            "grouping": [{"type": "Dimension", "name": "ResourceId"}, {"type": "TagKey", "name": "env"}],
        },
    }


def test_query_without_a_grouping_asks_for_the_control_totals() -> None:
    asked = msgspec.json.decode(body("ActualCost", (), date(2026, 5, 1), date(2026, 5, 1)))

    assert "grouping" not in asked["dataset"]


def test_same_question_has_the_same_bytes() -> None:
    """A nextLink is followed with the identical body."""
    once, again = (body("ActualCost", ("Meter",), date(2026, 5, 1), date(2026, 5, 2)) for _ in range(2))
    assert once == again


def test_first_page_names_scope_version_and_page_size() -> None:
    assert first_url(ARM, "/subscriptions/x", 5000) == (
        f"{ARM}/subscriptions/x/providers/Microsoft.CostManagement/query?api-version=2025-03-01&$top=5000"
    )


def test_tag_comes_in_two_columns_and_the_currency_always() -> None:
    assert columns(("Meter", "tag:env")) == ("Meter", "TagKey", "TagValue", "Currency")


@pytest.mark.parametrize(
    "url",
    [
        f"{ARM}/subscriptions/x?$skiptoken=AQAAAA%3D%3D",
        "https://MANAGEMENT.azure.com/subscriptions/x",
        "HTTPS://management.azure.com/Subscriptions/x",
    ],
)
def test_link_to_the_same_host_is_given_back_unchanged(url: str) -> None:
    assert same_host(ARM, url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://collector.invalid/subscriptions/x",
        "https://management.azure.com.collector.invalid/x",
        "https://management.azure.com@collector.invalid/x",
        "https://token@management.azure.com/x",
        "https://user:secret@management.azure.com/x",
        "http://management.azure.com/x",
        "https://management.azure.com:8443/x",
        "https://management.azure.com:99999999/x",
        "//management.azure.com/x",
        "/subscriptions/x",
        "https://[management.azure.com/x",
        "",
    ],
)
def test_link_that_leads_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(ForeignLinkError):
        same_host(ARM, url)
