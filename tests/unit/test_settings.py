import json
from datetime import timedelta
from decimal import Decimal

import pytest

from shared.quota.limits import Limit
from shared.scopes import Scope
from shared.settings import Settings, SettingsError, load

NARROW = "/subscriptions/6d1f0f6e-0000-4000-8000-00000000000a"
GROUP = f"{NARROW}/resourceGroups/shop"
WIDE = "/providers/Microsoft.Management/managementGroups/contoso"
ACCOUNT = "/providers/Microsoft.Billing/billingAccounts/aaaa-1:bbbb-2_2019-05-31"
TOKEN = "eyJ-this-must-never-be-shown"
COMMON = (
    "ResourceGuid",
    "ServiceName",
    "MeterCategory",
    "Meter",
    "ChargeType",
    "PricingModel",
    "ResourceLocation",
)


def loaded(**environ: str) -> Settings:
    return load({"COST_SCOPES": NARROW, **environ})


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        loaded(**environ)
    return caught.value.problems


def problem(**environ: str) -> str:
    found = problems(**environ)
    assert len(found) == 1, found
    return found[0]


def test_one_scope_is_all_that_must_be_told() -> None:
    settings = loaded()
    [entry] = settings.scopes
    assert (entry.scope, entry.source, entry.metrics) == (Scope.parse(NARROW), "query", ("ActualCost",))
    assert settings.metrics == ("ActualCost",)
    assert (settings.lookback_days, settings.window_days) == (37, 31)
    assert (settings.page_size, settings.max_pages) == (5000, 2000)
    assert (settings.max_readings, settings.max_attempts) == (4, 8)
    assert (settings.throttle_floor, settings.retry_delay) == (timedelta(seconds=30), timedelta(seconds=2))
    assert settings.lease == timedelta(seconds=60)
    assert settings.registry_days == 45
    assert settings.settle == timedelta(hours=48)
    assert settings.control_tolerance == Decimal("0.000000001")
    assert settings.publish_unreconciled is False
    assert settings.reconcile_tolerance == Decimal("0.005")
    assert settings.reconcile_floor == Decimal("0.01")
    assert [limit.count for limit in settings.quota_tenant] == [12, 60, 600]
    assert settings.quota_scope == (Limit(4, timedelta(minutes=1)),)
    assert (settings.seed_schedule, settings.sweep_schedule) == ("0 0 */4 * * *", "0 */10 * * * *")
    assert settings.stall == timedelta(minutes=30)
    assert settings.arm_endpoint == "https://management.azure.com"
    assert settings.arm_token is None
    assert (settings.container, settings.staging_container) == ("costs", "cost-staging")


def test_every_problem_is_listed_at_once_and_names_its_variable() -> None:
    environ = {
        "COST_SCOPES": "/tenants/a",
        "COST_SOURCE": "export",
        "COST_METRICS": "Usage",
        "COST_GROUPING": "ServiceName",
        "COST_PAGE_SIZE": "5001",
        "COST_RETRY_DELAY": "soon",
        "COST_PUBLISH_UNRECONCILED": "maybe",
        "COST_QUOTA_SCOPE": "four",
        "COST_SEED_SCHEDULE": "daily",
        "COST_CONTAINER": "My_Costs",
        "ARM_ENDPOINT": "management.azure.com",
        "COST_LOKBACK_DAYS": "3",
    }
    with pytest.raises(SettingsError) as caught:
        load(environ)
    for name in environ:
        assert sum(text.startswith(f"`{name}` ") for text in caught.value.problems) == 1
        assert f"`{name}` " in str(caught.value)
    assert len(caught.value.problems) == len(environ)


def test_no_scopes_is_a_problem_and_an_empty_text_is_none() -> None:
    for environ in ({}, {"COST_SCOPES": ""}, {"COST_SCOPES": " \n"}):
        with pytest.raises(SettingsError, match="`COST_SCOPES` is not set"):
            load(environ)
    assert problem(COST_SCOPES="[]") == "`COST_SCOPES` holds no scope: give at least one"
    assert problem(COST_SCOPES=",") == "`COST_SCOPES` holds no scope: give at least one"


def test_an_empty_variable_means_its_default() -> None:
    assert loaded(COST_PAGE_SIZE="", ARM_TOKEN="", COST_GROUPING="") == loaded()


@pytest.mark.parametrize(
    "text",
    [
        f"{NARROW},{WIDE}",
        f"{NARROW}\n{WIDE}\n",
        f" {NARROW} ,\r\n {WIDE}",
        json.dumps([NARROW, {"scope": WIDE}]),
    ],
    ids=["commas", "lines", "both", "json"],
)
def test_scopes_come_as_a_plain_list_or_as_json(text: str) -> None:
    assert [str(entry.scope) for entry in loaded(COST_SCOPES=text).scopes] == [NARROW, WIDE]


def test_a_scope_may_have_its_own_metrics_and_grouping() -> None:
    entry = {
        "scope": NARROW,
        "metrics": ["AmortizedCost"],
        "grouping": "ServiceName, ChargeType, tag:env",
        "source": "query",
    }
    own, other = loaded(COST_SCOPES=json.dumps([entry, WIDE])).scopes
    assert own.metrics == ("AmortizedCost",)
    assert own.grouping == ("ServiceName", "ChargeType", "tag:env")
    assert other.metrics == ("ActualCost",)


def test_the_default_grouping_goes_by_the_scopes_kind() -> None:
    text = f"{NARROW},{GROUP},{WIDE},{ACCOUNT}"
    groupings = [entry.grouping for entry in loaded(COST_SCOPES=text).scopes]
    assert groupings[:2] == [("ResourceId", *COMMON)] * 2
    assert groupings[2:] == [("SubscriptionId", "ResourceGroupName", *COMMON)] * 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('["/subscriptions/a"', "looks like JSON"),
        ('{"scope": "/subscriptions/a"}', "give an array"),
        ("[3]", "has the entry 3"),
        ('[{"metrics": []}]', 'an object with "scope"'),
        ('[{"scope": "/subscriptions/a", "metric": "ActualCost"}]', "the field 'metric'"),
        ('[{"scope": "/subscriptions/a", "metrics": ["Usage"]}]', "at /subscriptions/a: metrics is 'Usage'"),
        ('[{"scope": "/subscriptions/a", "metrics": []}]', "at /subscriptions/a: metrics is ''"),
        ('[{"scope": "/subscriptions/a", "metrics": 3}]', "at /subscriptions/a: metrics is 3"),
        ('[{"scope": "/subscriptions/a", "grouping": ["Meter"]}]', "grouping must name ServiceName"),
        ("/subscriptions/a,/SUBSCRIPTIONS/A/", "names /SUBSCRIPTIONS/A twice"),
        (
            f"{ACCOUNT}/departments/7,{ACCOUNT}/enrollmentAccounts/8",
            f"which may be billed the same costs: keep one kind of the two, or list {ACCOUNT.lower()}",
        ),
        ("/subscriptions/a?b", "is no scope|identifier"),
    ],
)
def test_a_bad_list_of_scopes_says_what_is_bad(text: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        loaded(COST_SCOPES=text)


@pytest.mark.parametrize(
    ("grouping", "why"),
    [
        ("ServiceName,Meter", "must name ChargeType"),
        ("ServiceName,ChargeType,ServiceNam", "did you mean ServiceName"),
        ("ServiceName,ChargeType,xyz", "known are SubscriptionId"),
        ("ServiceName,ChargeType,Meter,Meter", "names Meter twice"),
        ("ServiceName,ChargeType,tag:a,tag:b", "more than one tag"),
        ("ServiceName,ChargeType,tag:", "a tag without its key"),
    ],
)
def test_a_grouping_that_no_scope_can_be_read_with_is_refused(grouping: str, why: str) -> None:
    found = problem(COST_GROUPING=grouping)
    assert found.startswith("`COST_GROUPING` ")
    assert why in found


def test_wide_scopes_are_grouped_by_subscription_and_never_by_resource() -> None:
    text = problem(COST_SCOPES=WIDE, COST_GROUPING="ServiceName,ChargeType,ResourceId")
    assert "ResourceId is refused by the service" in text
    assert "must be grouped by SubscriptionId" in text
    assert len(loaded(COST_GROUPING="ServiceName,ChargeType,ResourceId").scopes) == 1


@pytest.mark.parametrize("wide", [NARROW, WIDE, ACCOUNT])
def test_beside_a_resource_group_the_wider_scope_must_show_groups(wide: str) -> None:
    bare = ["SubscriptionId", "ServiceName", "ChargeType"]
    text = problem(COST_SCOPES=json.dumps([GROUP, {"scope": wide, "grouping": bare}]))
    assert (
        f"{wide} must be grouped by ResourceGroupName or ResourceId, because {GROUP} is a scope too" in text
    )
    enough = {"scope": wide, "grouping": [*bare, "ResourceGroupName"]}
    assert len(loaded(COST_SCOPES=json.dumps([GROUP, enough])).scopes) == 2


def test_a_resource_group_asks_nothing_of_another_subscription() -> None:
    other = {"scope": "/subscriptions/other", "grouping": ["ServiceName", "ChargeType"]}
    assert len(loaded(COST_SCOPES=json.dumps([GROUP, other])).scopes) == 2


@pytest.mark.parametrize(
    ("scope", "period"),
    [
        (NARROW, "filter"),
        (WIDE, "filter"),
        (ACCOUNT, "filter"),
        (f"{ACCOUNT}/billingProfiles/p", "dates"),
        (f"{ACCOUNT}/billingProfiles/p/invoiceSections/s", "dates"),
        (f"{ACCOUNT}/customers/c", "dates"),
    ],
)
def test_usage_details_is_told_the_days_as_the_scopes_agreement_wants_them(scope: str, period: str) -> None:
    [entry] = loaded(COST_SCOPES=scope, COST_SOURCE="usage_details").scopes
    assert (entry.source, entry.period, entry.grouping) == ("usage_details", period, ())


def details(**entry: object) -> str:
    return json.dumps([{"scope": NARROW, "source": "usage_details", **entry}])


def test_the_dialect_of_a_scope_can_be_given() -> None:
    [entry] = loaded(COST_SCOPES=details(period="billing_period")).scopes
    assert entry.period == "billing_period"
    assert loaded().scopes[0].period is None


@pytest.mark.parametrize(
    ("scopes", "why"),
    [
        (details(period="monthly"), "period is 'monthly': give dates, filter, billing_period"),
        (details(scope=WIDE, period="billing_period"), "only a subscription is read by billing period"),
        (details(grouping=["ServiceName", "ChargeType"]), "read by usage_details: that has no grouping"),
        (json.dumps([{"scope": NARROW, "period": "dates"}]), "read by query: that has no period"),
    ],
)
def test_what_means_nothing_to_a_source_is_refused_by_name(scopes: str, why: str) -> None:
    assert why in problem(COST_SCOPES=scopes)


def test_a_grouping_that_no_scope_heeds_is_refused() -> None:
    grouping = "ServiceName,ChargeType"
    assert "every scope is read by usage_details" in problem(COST_SCOPES=details(), COST_GROUPING=grouping)
    both = json.dumps([{"scope": NARROW, "source": "usage_details"}, "/subscriptions/other"])
    assert [len(entry.grouping) for entry in loaded(COST_SCOPES=both, COST_GROUPING=grouping).scopes] == [
        0,
        2,
    ]


def test_beside_a_resource_group_records_show_their_group_in_any_case() -> None:
    wide = {"scope": WIDE, "source": "usage_details"}
    assert len(loaded(COST_SCOPES=json.dumps([GROUP, wide])).scopes) == 2


def test_the_quota_of_usage_details_is_that_of_the_kind_of_scope_unless_it_is_given() -> None:
    assert loaded().quota_details is None
    assert loaded(COST_QUOTA_DETAILS="5/m").quota_details == (Limit(5, timedelta(minutes=1)),)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("COST_WINDOW_DAYS", 1, 31),
        ("COST_PAGE_SIZE", 1, 5000),
        ("COST_REGISTRY_DAYS", 30, 45),
    ],
)
def test_whole_numbers_have_bounds(name: str, least: int, most: int) -> None:
    field = name.removeprefix("COST_").lower()
    for good in (least, most):
        assert getattr(loaded(**{name: str(good)}), field) == good
    for bad in (str(least - 1), str(most + 1), "1.5", "1e1", "\u0663", "9" * 5000):
        assert f"give a whole number from {least} to {most}" in problem(**{name: bad})


def test_seconds_may_have_fractions_and_tolerances_are_exact() -> None:
    settings = loaded(COST_THROTTLE_FLOOR="0.05", COST_RETRY_DELAY="1.5", COST_CONTROL_TOLERANCE="1e-12")
    assert settings.throttle_floor == timedelta(milliseconds=50)
    assert settings.retry_delay == timedelta(milliseconds=1500)
    assert settings.control_tolerance == Decimal("0.000000000001")


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "1e999999", "x"])
def test_a_number_that_is_none_is_refused(text: str) -> None:
    assert "`COST_THROTTLE_FLOOR` is " in problem(COST_THROTTLE_FLOOR=text)


@pytest.mark.parametrize(("text", "value"), [("true", True), ("1", True), ("FALSE", False), ("0", False)])
def test_booleans_are_true_false_1_or_0(text: str, value: bool) -> None:  # noqa: FBT001 - the value is the point
    assert loaded(COST_PUBLISH_UNRECONCILED=text).publish_unreconciled is value


def test_an_unknown_setting_is_named_with_the_closest_known_one() -> None:
    assert problem(COST_PAGESIZE="10") == "`COST_PAGESIZE` is no setting: did you mean `COST_PAGE_SIZE`?"


def test_the_storage_and_other_programs_variables_are_left_alone() -> None:
    others = {"COST_STORAGE__blobServiceUri": "x", "COST_STORAGE": "y", "PATH": "z", "ARM_CLIENT_ID": "c"}
    assert loaded(**others) == loaded()


@pytest.mark.parametrize("name", ["ab", "-ab", "a--b", "Costs", "a_b", "a" * 64, "abc\n/x"])
def test_a_container_has_a_name_that_storage_takes(name: str) -> None:
    assert "`COST_CONTAINER` is " in problem(COST_CONTAINER=name)


def test_published_and_staged_files_have_two_containers() -> None:
    assert "`COST_STAGING_CONTAINER` is `COST_CONTAINER`" in problem(COST_CONTAINER="cost-staging")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("https://management.usgovcloudapi.net/", "https://management.usgovcloudapi.net"),
        ("HTTPS://Management.Azure.com:443", "https://management.azure.com:443"),
        ("http://127.0.0.1:8123", "http://127.0.0.1:8123"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:8123/", "http://[::1]:8123"),
    ],
)
def test_the_endpoint_is_a_scheme_a_host_and_a_port(text: str, endpoint: str) -> None:
    assert loaded(ARM_ENDPOINT=text).arm_endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "management.azure.com",
        "//management.azure.com",
        "https://",
        "https:///subscriptions",
        "https://management.azure.com/subscriptions",
        "https://management.azure.com?x=1",
        "https://management.azure.com?",
        "https://management.azure.com#x",
        "https://name:pass-word@management.azure.com",
        "https://management.azure.com\\@evil.example",
        "https://management.azure.com:99999",
        "https://[::1",
        "https://manage ment.azure.com",
        "https://xn\u00e4.example",
        "ftp://127.0.0.1",
        "http://management.azure.com",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://127.1",
        "http://[::2]",
    ],
)
def test_any_other_endpoint_is_refused_without_repeating_it(text: str) -> None:
    found = problem(ARM_ENDPOINT=text)
    assert found.startswith("`ARM_ENDPOINT` ")
    assert "pass-word" not in found


@pytest.mark.parametrize(
    "endpoint", ["https://management.azure.com", "https://10.0.0.1", "https://localhost.example"]
)
def test_a_static_token_never_goes_to_another_computer(endpoint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        loaded(ARM_ENDPOINT=endpoint, ARM_TOKEN=TOKEN)
    assert "`ARM_TOKEN` is allowed beside a loopback `ARM_ENDPOINT` only" in str(caught.value)
    assert TOKEN not in str(caught.value) + repr(caught.value)


def test_a_static_token_beside_a_loopback_endpoint_is_kept_and_never_shown() -> None:
    settings = loaded(ARM_ENDPOINT="http://127.0.0.1:8123", ARM_TOKEN=TOKEN)
    assert settings.arm_token == TOKEN
    assert TOKEN not in repr(settings)


def test_a_token_that_would_break_a_header_is_refused_unseen() -> None:
    text = problem(ARM_ENDPOINT="http://127.0.0.1:8123", ARM_TOKEN=f"{TOKEN}\r\nHost: evil.example")
    assert text.startswith("`ARM_TOKEN` ")
    assert TOKEN not in text


@pytest.mark.parametrize(
    ("endpoint", "scope"),
    [
        ("https://management.azure.com", "https://management.azure.com/.default"),
        ("https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/.default"),
        ("https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
    ],
)
def test_a_token_is_asked_for_in_the_endpoints_cloud(endpoint: str, scope: str) -> None:
    assert loaded(ARM_ENDPOINT=endpoint).token_scope == scope
