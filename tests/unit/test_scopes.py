import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scopes import Scope, ScopeError, ScopeKind

SUBSCRIPTION = "/subscriptions/6d1f0f6e-0000-4000-8000-00000000000A"
GROUP = f"{SUBSCRIPTION}/resourceGroups/Shop-(test)_1.eu"
MANAGEMENT_GROUP = "/providers/Microsoft.Management/managementGroups/contoso"
ACCOUNT = "/providers/Microsoft.Billing/billingAccounts/aaaa-1:bbbb-2_2019-05-31"
PROFILE = f"{ACCOUNT}/billingProfiles/ABCD-EF12-BG7-PGB"
SECTION = f"{PROFILE}/invoiceSections/1234-SEC"

SHAPES = {
    SUBSCRIPTION: ScopeKind.SUBSCRIPTION,
    GROUP: ScopeKind.RESOURCE_GROUP,
    MANAGEMENT_GROUP: ScopeKind.MANAGEMENT_GROUP,
    ACCOUNT: ScopeKind.BILLING_ACCOUNT,
    f"{ACCOUNT}/departments/7": ScopeKind.DEPARTMENT,
    f"{ACCOUNT}/enrollmentAccounts/8": ScopeKind.ENROLLMENT_ACCOUNT,
    f"{ACCOUNT}/customers/9": ScopeKind.CUSTOMER,
    PROFILE: ScopeKind.BILLING_PROFILE,
    SECTION: ScopeKind.INVOICE_SECTION,
}


@pytest.mark.parametrize(("path", "kind"), SHAPES.items(), ids=SHAPES.values())
def test_every_kind_of_the_query_api_is_known(path: str, kind: ScopeKind) -> None:
    scope = Scope.parse(path)
    assert (scope.kind, scope.path, str(scope)) == (kind, path, path)


def test_slashes_at_the_ends_are_put_right_and_the_case_is_kept() -> None:
    assert Scope.parse(SUBSCRIPTION.removeprefix("/") + "/").path == SUBSCRIPTION


@given(st.sampled_from(sorted(SHAPES)), st.data())
def test_scopes_that_differ_in_case_only_are_one(path: str, data: st.DataObject) -> None:
    cased = "".join(data.draw(st.sampled_from([mark.lower(), mark.upper()])) for mark in path)
    one, other = Scope.parse(path), Scope.parse(cased)
    assert one == other
    assert len({one, other}) == 1
    assert one.key == other.key
    assert one.kind == other.kind


def test_the_key_is_the_start_of_the_lower_case_paths_sha256() -> None:
    assert Scope.parse("/SUBSCRIPTIONS/A").key == "702eee64b581f645d678126c00e770e1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/subscriptions",
        "/subscriptions/",
        "/subscriptions//a",
        "/subscriptions/a//",
        "/subscriptions/a/b",
        "/subscriptions/a/resourceGroups",
        "/subscriptions/a/resourceGroups/b/providers/Microsoft.Compute/virtualMachines/c",
        "https://management.azure.com/subscriptions/a",
        "//evil.example/subscriptions/a",
        "/subscriptions/a?x=1",
        "/subscriptions/a#x",
        "/subscriptions/..",
        "/subscriptions/a/resourceGroups/..",
        "/subscriptions/./resourceGroups/a",
        "/subscriptions/../subscriptions/a",
        "/subscriptions/a%2e",
        "/subscriptions/a b",
        " /subscriptions/a",
        "/subscriptions/a\n",
        "/subscriptions/a\x00",
        "/subscriptions/a\u200b",
        "\\subscriptions\\a",
        "/subscriptions/a\\b",
        "/subscriptions/a@evil.example",
        "/providers/Microsoft.Billing/billingAccounts/a/invoiceSections/b",
        "/providers/Microsoft.Billing/billingAccounts/a/departments/b/enrollmentAccounts/c",
    ],
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ScopeError):
        Scope.parse(text)


def test_a_refusal_names_the_text_and_what_is_allowed() -> None:
    with pytest.raises(
        ScopeError, match=r"'/tenants/a' is no scope; allowed are /subscriptions/\{id\}, .*customers"
    ):
        Scope.parse("/tenants/a")


def test_subscription_and_group_are_given_in_lower_case() -> None:
    group = Scope.parse(GROUP)
    assert group.subscription_id == "6d1f0f6e-0000-4000-8000-00000000000a"
    assert group.resource_group == "shop-(test)_1.eu"
    assert Scope.parse(SUBSCRIPTION).resource_group is None
    assert Scope.parse(ACCOUNT).subscription_id is None
    assert Scope.parse(MANAGEMENT_GROUP).subscription_id is None


def test_widths_run_from_the_resource_group_to_the_management_group() -> None:
    order = [GROUP, SUBSCRIPTION, SECTION, PROFILE, ACCOUNT, MANAGEMENT_GROUP]
    scopes = [Scope.parse(path) for path in order]
    widths = [scope.width for scope in scopes]
    assert widths == sorted(set(widths))
    assert [scope.is_wide for scope in scopes] == [False, False, True, True, True, True]
    assert [scope.is_billing for scope in scopes] == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (SUBSCRIPTION, GROUP),
        (SUBSCRIPTION, GROUP.upper()),
        (ACCOUNT, PROFILE),
        (ACCOUNT, SECTION),
        (PROFILE, SECTION),
        (ACCOUNT, f"{ACCOUNT}/customers/9"),
    ],
)
def test_a_path_below_is_contained(outer: str, inner: str) -> None:
    assert Scope.parse(outer).contains(Scope.parse(inner))
    assert not Scope.parse(inner).contains(Scope.parse(outer))
    assert Scope.parse(outer).width > Scope.parse(inner).width


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (SUBSCRIPTION, SUBSCRIPTION),
        ("/subscriptions/a", "/subscriptions/ab"),
        ("/subscriptions/a", "/subscriptions/ab/resourceGroups/c"),
        (ACCOUNT, SUBSCRIPTION),
        (MANAGEMENT_GROUP, SUBSCRIPTION),
        (PROFILE, f"{ACCOUNT}/customers/9"),
    ],
)
def test_what_no_path_shows_is_not_contained(outer: str, inner: str) -> None:
    assert not Scope.parse(outer).contains(Scope.parse(inner))


DEPARTMENT, ENROLLMENT, CUSTOMER = (
    f"{ACCOUNT}/{below}" for below in ("departments/7", "enrollmentAccounts/8", "customers/9")
)


@pytest.mark.parametrize(
    ("one", "other"), [(DEPARTMENT, ENROLLMENT), (PROFILE, CUSTOMER), (SECTION, CUSTOMER)]
)
def test_scopes_side_by_side_of_which_one_may_hold_the_other_may_share_costs(one: str, other: str) -> None:
    assert Scope.parse(one).may_share(Scope.parse(other.upper()))
    assert Scope.parse(other).may_share(Scope.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (PROFILE, f"{ACCOUNT}/billingProfiles/other"),
        (DEPARTMENT, f"{ACCOUNT}/departments/8"),
        (PROFILE, SECTION),
        (ACCOUNT, CUSTOMER),
        (DEPARTMENT, "/providers/Microsoft.Billing/billingAccounts/other/enrollmentAccounts/8"),
    ],
)
def test_scopes_of_one_kind_or_of_two_accounts_share_none_and_what_holds_the_other_is_told_by_its_path(
    one: str, other: str
) -> None:
    assert not Scope.parse(one).may_share(Scope.parse(other))


def test_any_wide_scope_might_hold_any_subscription_or_group() -> None:
    for wide in (SECTION, PROFILE, ACCOUNT, MANAGEMENT_GROUP):
        assert Scope.parse(wide).may_contain(Scope.parse(SUBSCRIPTION))
        assert Scope.parse(wide).may_contain(Scope.parse(GROUP))
    assert not Scope.parse("/subscriptions/other").may_contain(Scope.parse(GROUP))
    assert not Scope.parse(GROUP).may_contain(Scope.parse(SUBSCRIPTION))
    assert not Scope.parse(MANAGEMENT_GROUP).may_contain(Scope.parse(ACCOUNT))
