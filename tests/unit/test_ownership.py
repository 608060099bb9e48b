"""Whose reading counts: the rule of the design, case by case, and what must hold for any set of scopes."""

from collections import Counter
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.ledger.cells import ChargeClass
from shared.ledger.columns import STAGED
from shared.ledger.manifest import alike
from shared.ledger.overlaps import shadows
from shared.ledger.ownership import Assignment, Claim, Overlap, assign
from shared.scopes import Scope

A, B = "aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000"
SUB = f"/subscriptions/{A}"
GROUP = f"{SUB}/resourceGroups/Web"
OTHER_GROUP = f"{SUB}/resourceGroups/data"
ACCOUNT = "/providers/Microsoft.Billing/billingAccounts/acct"
PROFILE = f"{ACCOUNT}/billingProfiles/p1"
SECOND_PROFILE = f"{ACCOUNT}/billingProfiles/p2"
OTHER_ACCOUNT = "/providers/Microsoft.Billing/billingAccounts/zeta"
TENANT = "/providers/Microsoft.Management/managementGroups/all"
SECOND_TENANT = "/providers/Microsoft.Management/managementGroups/part"

SCHEMA = {**STAGED, "x_SourceScope": pl.String()}
DAY = date(2026, 5, 10)
TOLERANCE = Decimal("1e-9")


def row(
    scope: str,
    cost: str = "1",
    *,
    sub: str = A,
    charge: str | None = "Usage",
    group: str = "x",
    currency: str = "USD",
) -> dict[str, Any]:
    return dict.fromkeys(SCHEMA) | {
        "usage_date": DAY,
        "subscription_id": sub,
        "BillingCurrency": currency,
        "BilledCost": Decimal(cost),
        "x_ChargeType": charge,
        "x_ResourceGroup": group,
        "x_SourceScope": scope,
    }


def decide(rows: list[dict[str, Any]], *claims: Claim | str) -> Assignment:
    """Assign rows; claims default to those of the rows' scopes, listed and reconciled."""
    frame = pl.DataFrame(rows, schema=SCHEMA)
    said = [Claim(Scope.parse(claim)) if isinstance(claim, str) else claim for claim in claims]
    known = {claim.scope.lower_path for claim in said}
    rest = dict.fromkeys(path for path in frame["x_SourceScope"] if path.lower() not in known)
    return assign(
        frame, [*said, *(Claim(Scope.parse(path)) for path in rest)], cost="BilledCost", tolerance=TOLERANCE
    )


def owned(rows: list[dict[str, Any]], *claims: Claim | str) -> list[bool]:
    result: list[bool] = decide(rows, *claims).owned.to_list()
    return result


def lost(path: str) -> Claim:
    """A scope that left the settings."""
    return Claim(Scope.parse(path), listed=False)


def failed(path: str) -> Claim:
    """A scope that has failed for too long."""
    return Claim(Scope.parse(path), lapsed=True)


def unproven(path: str) -> Claim:
    """A scope whose reading no control total confirms, published all the same."""
    return Claim(Scope.parse(path), proven=False)


def test_a_scope_alone_owns_all() -> None:
    rows = [row(SUB), row(SUB, charge="Refund"), row(ACCOUNT, sub="none"), row(ACCOUNT, sub=B)]

    result = decide(rows)

    assert result.owned.to_list() == [True] * 4
    assert result.shadowed == {}
    assert result.overlaps == ()


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (SUB, PROFILE),
        (SUB, ACCOUNT),
        (SUB, TENANT),
        (PROFILE, ACCOUNT),
        (PROFILE, TENANT),
        (ACCOUNT, TENANT),
        (GROUP, SUB),
        (GROUP, TENANT),
        (TENANT, SECOND_TENANT),
    ],
)
@pytest.mark.parametrize("charge", ["Usage", "usage", "UnusedReservation", "UnusedSavingsPlan"])
def test_usage_belongs_to_the_most_specific_scope(narrow: str, wide: str, charge: str) -> None:
    """Ties between management groups go to the lower id."""
    rows = [row(wide, charge=charge, group="web"), row(narrow, charge=charge, group="web")]

    assert owned(rows) == [False, True]


@pytest.mark.parametrize(
    ("owner", "other"),
    [
        (ACCOUNT, PROFILE),
        (ACCOUNT, SUB),
        (ACCOUNT, GROUP),
        (ACCOUNT, TENANT),
        (PROFILE, TENANT),
        (PROFILE, SUB),
        (SUB, TENANT),
        (GROUP, SUB),
        (TENANT, SECOND_TENANT),
    ],
)
@pytest.mark.parametrize("charge", ["Purchase", "Refund", None])
def test_other_charges_belong_to_the_widest_billing_scope(owner: str, other: str, charge: str | None) -> None:
    """Only it sees all purchases; a management group is no billing scope and sees none."""
    rows = [row(other, charge=charge, group="web"), row(owner, charge=charge, group="web")]

    assert owned(rows) == [False, True]


@pytest.mark.parametrize(
    ("owner", "other"), [(ACCOUNT, PROFILE), (ACCOUNT, TENANT), (PROFILE, TENANT), (TENANT, SECOND_TENANT)]
)
def test_usage_without_a_subscription_is_like_a_purchase(owner: str, other: str) -> None:
    assert owned([row(other, sub="none"), row(owner, sub="none")]) == [False, True]


def test_each_class_has_an_owner_of_its_own() -> None:
    """GIVEN an account that sees purchases the subscription misses THEN usage and purchases are split."""
    rows = [row(SUB), row(SUB, charge="Purchase"), row(ACCOUNT), row(ACCOUNT, charge="Purchase")]

    assert owned(rows) == [True, False, False, True]


def test_other_charges_stay_where_no_billing_scope_brings_them() -> None:
    rows = [row(SUB), row(SUB, charge="Purchase"), row(ACCOUNT)]

    assert owned(rows) == [True, True, False]


@pytest.mark.parametrize("charge", ["Usage", "Purchase"])
@pytest.mark.parametrize("second", [SECOND_PROFILE, OTHER_ACCOUNT])
def test_billing_scopes_apart_never_shadow_each_other(second: str, charge: str) -> None:
    """A subscription that moved between profiles has a part of its cost in each."""
    rows = [row(PROFILE, charge=charge), row(second, charge=charge)]

    assert owned(rows) == [True, True]


@pytest.mark.parametrize("charge", ["Usage", "Purchase"])
def test_enrollment_account_that_replaced_its_department_in_the_settings_counts_alone(charge: str) -> None:
    """The settings refuse the two side by side, but a reading of one that left may still be there."""
    rows = [
        row(f"{ACCOUNT}/departments/7", charge=charge),
        row(f"{ACCOUNT}/enrollmentAccounts/8", charge=charge),
    ]

    assert owned(rows, lost(f"{ACCOUNT}/departments/7")) == [False, True]


def test_what_a_shadowed_scope_would_shadow_still_counts() -> None:
    """GIVEN an account shadowed by one profile THEN it takes nothing from the other, unproven one."""
    rows = [row(PROFILE), row(ACCOUNT), row(SECOND_PROFILE)]

    assert owned(rows, failed(SECOND_PROFILE)) == [True, False, True]


def test_a_group_owns_its_usage_and_the_subscription_the_rest() -> None:
    """Names are compared without regard to case; the group's own rows need not name it."""
    rows = [
        row(GROUP, group="WEB"),
        row(GROUP, group=""),
        row(SUB, group="web"),
        row(SUB, group="data"),
        row(TENANT, group="Web"),
        row(TENANT, group="data"),
    ]

    assert owned(rows) == [True, True, False, True, False, False]


def test_a_group_owns_nothing_of_the_same_name_elsewhere() -> None:
    rows = [row(GROUP, group="web"), row(TENANT, sub=B, group="web")]

    assert owned(rows) == [True, True]


def test_two_groups_and_the_wider_rest() -> None:
    rows = [row(GROUP, group="web"), row(OTHER_GROUP, group="data")]
    rows += [row(TENANT, group=group) for group in ("web", "data", "rest")]

    assert owned(rows) == [True, True, False, False, True]


def test_a_subscription_speaks_for_its_groups() -> None:
    """GIVEN a subscription without a row of a group THEN a management group's row of it does not count."""
    rows = [row(SUB, group="data"), row(TENANT, group="data"), row(TENANT, group="web")]

    assert owned(rows, GROUP) == [True, False, False]


def test_an_empty_reading_is_no_proof_of_zero() -> None:
    """GIVEN a subscription that says nothing THEN the wider rows count, and both figures are told."""
    result = decide([row(TENANT, "5"), row(TENANT, "-2")], SUB)

    assert result.owned.to_list() == [True, True]
    assert result.overlaps == (Overlap(SUB, A, ChargeClass.USAGE, "USD", Decimal(3), Decimal(0), Decimal(7)),)
    assert not result.overlaps[0].agrees(TOLERANCE)


def test_an_empty_group_disagrees_with_the_subscription() -> None:
    result = decide([row(SUB, "5", group="web"), row(SUB, "9", group="data")], GROUP)

    assert result.owned.to_list() == [True, True]
    assert [(overlap.scope, overlap.owner_total) for overlap in result.overlaps] == [(GROUP, Decimal(5))]


def test_a_reading_without_usage_is_empty_of_usage() -> None:
    """GIVEN a subscription that brings a purchase only THEN a wider scope's usage contradicts it."""
    result = decide([row(SUB, charge="Purchase"), row(TENANT, "5")])

    assert result.owned.to_list() == [True, True]
    assert [(overlap.scope, overlap.owner_total) for overlap in result.overlaps] == [(SUB, Decimal(5))]


def test_an_empty_subscription_beside_its_own_group_is_no_news() -> None:
    """Only a wider scope's rows say that an empty reading is wrong."""
    result = decide([row(GROUP, group="web")], SUB)

    assert result.owned.to_list() == [True]
    assert result.overlaps == ()


@pytest.mark.parametrize("gone", [lost, failed])
def test_an_empty_reading_that_counts_for_nothing_disagrees_with_nobody(gone: Any) -> None:  # noqa: ANN401
    assert decide([row(TENANT)], gone(SUB)).overlaps == ()


@pytest.mark.parametrize("wide", [TENANT, ACCOUNT])
def test_a_failed_owner_loses_to_the_next(wide: str) -> None:
    assert owned([row(SUB), row(wide)], failed(SUB)) == [False, True]


def test_a_failed_owner_stays_where_nobody_else_is() -> None:
    assert owned([row(SUB), row(TENANT, sub=B)], failed(SUB)) == [True, True]


@pytest.mark.parametrize("out", [failed, unproven])
@pytest.mark.parametrize("there", [SUB, PROFILE, TENANT])
def test_purchases_that_a_failed_account_alone_has_told_stay_beside_anothers_refund(
    there: str,
    out: Any,  # noqa: ANN401
) -> None:
    """Its refund goes to who reports it now; nobody reports the purchase."""
    rows = [row(ACCOUNT, "1000", charge="Purchase"), row(ACCOUNT, "-5", charge="Refund")]
    rows += [row(there, "-5", charge="Refund")]

    assert owned(rows, out(ACCOUNT)) == [True, False, True]


@pytest.mark.parametrize(("out", "stays"), [(failed, True), (unproven, False)])
def test_a_part_replaces_a_failed_accounts_whole_only_where_that_was_never_proven(
    out: Any,  # noqa: ANN401
    *,
    stays: bool,
) -> None:
    """A profile sees its part of what belongs to no subscription; an unproven sum may be any."""
    rows = [
        row(ACCOUNT, "1000", sub="none", charge="Purchase"),
        row(PROFILE, "300", sub="none", charge="Purchase"),
    ]

    assert owned(rows, out(ACCOUNT)) == [stays, not stays]


def test_a_failed_subscriptions_refund_is_still_its_accounts_to_tell() -> None:
    """Only who sees more than those that count keeps what they do not report."""
    rows = [row(SUB, "-5", charge="Refund"), row(ACCOUNT, "100", charge="Purchase")]

    assert owned(rows, failed(SUB)) == [False, True]


def test_a_scope_that_left_keeps_what_nobody_else_reports() -> None:
    rows = [row(SUB), row(TENANT, sub=B)]

    assert owned(rows, lost(SUB)) == [True, True]


@pytest.mark.parametrize("there", [TENANT, ACCOUNT, GROUP])
@pytest.mark.parametrize("charge", ["Usage", "UnusedReservation", "Refund", None])
def test_a_scope_that_left_loses_to_any_that_is_there(charge: str | None, there: str) -> None:
    """Whatever its width and its amount, once somebody reports charges of that kind."""
    rows = [row(SUB, "9", charge=charge, group="web"), row(there, charge=charge, group="web")]

    assert owned(rows, lost(SUB)) == [False, True]


@pytest.mark.parametrize(("kept", "brought"), [("Usage", "Purchase"), ("Purchase", "Usage"), ("Tax", None)])
@pytest.mark.parametrize(("left", "there"), [(SUB, PROFILE), (ACCOUNT, SUB), (GROUP, SUB), (PROFILE, TENANT)])
def test_a_charge_of_another_kind_replaces_nothing_of_a_scope_that_left(
    left: str, there: str, kept: str, brought: str | None
) -> None:
    """GIVEN a profile that bought something for a subscription THEN the subscription's usage stays."""
    rows = [row(left, charge=kept, group="web"), row(there, charge=brought, group="web")]

    assert owned(rows, lost(left)) == [True, True]


def test_a_profile_replaces_nothing_of_another_that_left() -> None:
    rows = [row(PROFILE), row(SECOND_PROFILE)]

    assert owned(rows, lost(PROFILE)) == [True, True]


def test_a_subscription_without_rows_of_a_group_that_left_says_that_it_costs_nothing() -> None:
    """It speaks for all its groups, in each kind of charge that it reports."""
    rows = [row(GROUP, charge=charge, group="web") for charge in ("Usage", "Refund", "Tax")]
    rows += [row(SUB, charge=charge, group="data") for charge in ("Usage", "Refund")]

    assert owned(rows, lost(GROUP)) == [False, False, True, True, True]


@pytest.mark.parametrize(("part", "counts"), [("4", False), ("4.999999999", True), ("5", True), ("6", True)])
@pytest.mark.parametrize(
    ("there", "sub", "charge"),
    [(PROFILE, "none", "Purchase"), (PROFILE, "none", "Usage"), (SUB, A, "Refund"), (TENANT, A, "Refund")],
)
def test_a_part_is_no_replacement_of_the_whole_that_a_billing_scope_left(
    there: str, sub: str, charge: str, part: str, *, counts: bool
) -> None:
    """GIVEN two profiles' purchases in an account that left THEN one profile's do not replace them."""
    rows = [row(ACCOUNT, "5", sub=sub, charge=charge), row(there, part, sub=sub, charge=charge)]

    assert owned(rows, lost(ACCOUNT)) == [not counts, counts]


def test_the_parts_together_replace_the_whole_that_left() -> None:
    """In each currency by itself: what is there in one is no replacement in another."""
    rows = [row(ACCOUNT, "5", sub="none", currency=currency) for currency in ("USD", "EUR")]
    rows += [row(PROFILE, "3", sub="none"), row(SECOND_PROFILE, "2", sub="none")]

    assert owned(rows, lost(ACCOUNT)) == [False, True, True, True]


def test_a_scope_that_left_disagrees_with_nobody() -> None:
    """It is not asked any more, so nothing could put that right."""
    result = decide([row(SUB, "5"), row(TENANT, "4")], lost(SUB))

    assert result.owned.to_list() == [False, True]
    assert result.overlaps == ()


def test_a_group_that_is_there_does_not_take_the_whole_subscription() -> None:
    """GIVEN a subscription that left the settings THEN its listed group replaces the group's part only."""
    rows = [row(SUB, group="web"), row(SUB, group="data"), row(GROUP, group="web")]

    assert owned(rows, lost(SUB)) == [False, True, True]


def test_shadowed_rows_are_counted_by_scope_and_currency() -> None:
    rows = [row(SUB), row(TENANT, "2"), row(TENANT, "0.000000000000000003"), row(TENANT, "4", currency="EUR")]

    result = decide(rows)

    assert result.shadowed == {TENANT: {"EUR": Decimal(4), "USD": Decimal("2.000000000000000003")}}


def test_both_figures_are_compared_where_both_bring_rows() -> None:
    """Per subscription, class and currency; the scope that does not count is the one that disagrees."""
    rows = [
        row(SUB, "10"),
        row(SUB, "-3", group="web"),
        row(SUB, "1", charge="Refund"),
        row(ACCOUNT, "8"),
        row(ACCOUNT, "1", charge="Refund"),
        row(ACCOUNT, "9", sub=B),
    ]

    result = decide(rows)

    assert set(result.overlaps) == {
        Overlap(ACCOUNT, A, ChargeClass.USAGE, "USD", Decimal(7), Decimal(8), Decimal(13)),
        Overlap(SUB, A, ChargeClass.OTHER, "USD", Decimal(1), Decimal(1), Decimal(1)),
    }


def test_only_the_shadowed_part_is_compared() -> None:
    """GIVEN a group taken out of a subscription THEN only that group's totals stand beside each other."""
    rows = [row(GROUP, "5", group="web"), row(SUB, "5", group="web"), row(SUB, "100", group="data")]

    (overlap,) = decide(rows).overlaps

    assert (overlap.scope, overlap.owner_total, overlap.shadowed_total) == (SUB, Decimal(5), Decimal(5))


@pytest.mark.parametrize(
    ("rows", "seen"),
    [
        pytest.param([row(SUB, "7"), row(ACCOUNT, "7")], {ACCOUNT: (A,)}, id="the_same_usage"),
        pytest.param([row(SUB, "7"), row(ACCOUNT, "5")], {}, id="other_usage"),
        pytest.param(
            [row(SUB, "7"), row(ACCOUNT, "7"), row(SUB, "2", currency="EUR")], {}, id="a_currency_more"
        ),
        pytest.param([row(SUB, "7"), row(TENANT, "7")], {}, id="a_management_group_is_not_billed"),
        pytest.param([row(ACCOUNT, "7"), row(ACCOUNT, "9", sub=B)], {}, id="its_own"),
        pytest.param(
            [row(SUB, "1", charge="Refund"), row(ACCOUNT, "1", charge="Refund")], {}, id="other_charges"
        ),
        pytest.param(
            [row(SUB, "7"), row(PROFILE, "3"), row(SECOND_PROFILE, "4")], {}, id="parts_on_two_bills"
        ),
    ],
)
def test_a_billing_scope_sees_alike_what_it_says_to_the_same_amount_as_those_who_count(
    rows: Any,  # noqa: ANN401
    seen: Any,  # noqa: ANN401
) -> None:
    found = alike(decide(rows), Decimal("1e-9"))
    assert found == {scope.lower(): subscriptions for scope, subscriptions in seen.items()}


def test_a_type_of_charge_that_a_scope_does_not_see_is_no_disagreement() -> None:
    """GIVEN a subscription that is told of its refund and not of a purchase THEN the refunds are compared."""
    rows = [row(SUB, "-2", charge="Refund"), row(ACCOUNT, "-2", charge="Refund")]
    rows += [row(ACCOUNT, "100", charge="Purchase")]

    assert decide(rows).overlaps == (
        Overlap(SUB, A, ChargeClass.OTHER, "USD", Decimal(-2), Decimal(-2), Decimal(2)),
    )


def test_a_type_of_charge_that_the_owner_does_not_see_is_a_disagreement() -> None:
    """Else its cost would be shadowed by nothing, and nobody would be told."""
    rows = [row(SUB, "5", charge="Tax"), row(ACCOUNT, "-2", charge="Refund")]

    (overlap,) = decide(rows).overlaps

    assert (overlap.scope, overlap.owner_total, overlap.shadowed_total) == (SUB, Decimal(0), Decimal(5))
    assert not overlap.agrees(TOLERANCE)


@pytest.mark.parametrize(("part", "told"), [("4", False), ("5", True), ("6", True)])
@pytest.mark.parametrize(
    ("narrow", "sub", "charge"),
    [(PROFILE, "none", "Refund"), (PROFILE, "none", "Usage"), (SUB, A, "Purchase")],
)
def test_a_part_may_be_smaller_than_the_whole_and_never_larger(
    narrow: str, sub: str, charge: str, part: str, *, told: bool
) -> None:
    """Purchases, and what belongs to no subscription, only a billing account sees all of."""
    rows = [row(ACCOUNT, "5", sub=sub, charge=charge), row(narrow, part, sub=sub, charge=charge)]

    overlaps = decide(rows).overlaps

    assert [overlap.scope for overlap in overlaps] == ([narrow] if told else [])
    assert all(overlap.agrees(TOLERANCE) == (part == "5") for overlap in overlaps)


def test_a_billing_scope_is_compared_with_what_lies_inside_it() -> None:
    """GIVEN a stranger that counts as well THEN it is not set against the account."""
    rows = [row(PROFILE, "5"), row(SECOND_PROFILE, "6"), row(OTHER_ACCOUNT, "70"), row(ACCOUNT, "11")]

    (overlap,) = decide(rows).overlaps

    assert (overlap.scope, overlap.owner_total, overlap.shadowed_total) == (ACCOUNT, Decimal(11), Decimal(11))


@pytest.mark.parametrize(
    ("shadowed", "agrees"),
    [
        ("12345678901234567890.123456789012345678", True),
        ("12345678901234567891.123456790012345678", True),
        ("12345678901234567889.123456788012345678", True),
        ("12345678901234567891.123456790012345679", False),
    ],
)
def test_figures_agree_within_the_tolerance_and_a_floor(shadowed: str, *, agrees: bool) -> None:
    """The bound, 1.000000001 here, is exact also where the default decimal context rounds to 28 digits."""
    owner = Decimal("12345678901234567890.123456789012345678")
    overlap = Overlap("s", A, ChargeClass.USAGE, "USD", owner, Decimal(shadowed), Decimal(10**9))

    assert overlap.agrees(TOLERANCE) is agrees


def test_a_scope_is_the_same_in_any_case() -> None:
    rows = [row(SUB.upper().replace("SUBSCRIPTIONS", "Subscriptions")), row(TENANT)]

    result = decide(rows, SUB, TENANT)

    assert result.owned.to_list() == [True, False]


def test_rows_without_a_claim_are_refused() -> None:
    with pytest.raises(ValueError, match="without its claim"):
        assign(pl.DataFrame([row(SUB)], schema=SCHEMA), [], cost="BilledCost", tolerance=TOLERANCE)


@pytest.mark.parametrize("claims", [(), (SUB,), (SUB, GROUP, TENANT)])
def test_a_day_without_rows_has_no_owner(claims: tuple[str, ...]) -> None:
    result = decide([], *claims)

    assert result.owned.to_list() == []
    assert result.owned.dtype == pl.Boolean
    assert (result.shadowed, result.overlaps) == ({}, ())


PATHS = [GROUP, OTHER_GROUP, SUB, PROFILE, SECOND_PROFILE, ACCOUNT, OTHER_ACCOUNT, TENANT, SECOND_TENANT]
TYPES = ["Usage", "Purchase", "Refund"]
some_rows = st.lists(
    st.builds(
        lambda path, sub, charge, group: row(
            path, sub=A if path.startswith(SUB) else sub, charge=charge, group=group
        ),
        st.sampled_from(PATHS),
        st.sampled_from([A, B, "none"]),
        st.sampled_from(TYPES),
        st.sampled_from(["web", "data", "rest"]),
    ),
    max_size=25,
)


def contains(one: str, other: str) -> bool:
    return one != other and other.startswith(one)


def cell_of(said: dict[str, Any]) -> tuple[str, str, str]:
    """Subscription, usage or the type of another charge, and resource group where that has a scope."""
    sub, path, charge = said["subscription_id"], said["x_SourceScope"], said["x_ChargeType"]
    group = said["x_ResourceGroup"] if sub == A and said["x_ResourceGroup"] != "rest" else ""
    group = {GROUP: "web", OTHER_GROUP: "data"}.get(path, group)
    return sub, "usage" if charge == "Usage" and sub != "none" else f"other: {charge}", group


@given(
    some_rows,
    st.sets(st.sampled_from(PATHS)),
    st.sets(st.sampled_from(PATHS)),
    st.randoms(use_true_random=False),
)
def test_no_cost_counts_twice_and_none_is_lost(
    rows: list[dict[str, Any]], unproven: set[str], left: set[str], random: Random
) -> None:
    """Every subscription and class that has rows has an owner; owners never see the same cost.

    Whatever was proven and whoever left. Of who left every kind of charge is there still, or somebody's who is
    there and sees the same.
    """
    claims = [Claim(Scope.parse(path), path not in left, path not in unproven) for path in PATHS]

    mask = owned(rows, *claims)

    said = {(*cell_of(each), each["x_SourceScope"]) for each in rows}
    counts = {(*cell_of(each), each["x_SourceScope"]) for each, mine in zip(rows, mask, strict=True) if mine}
    classes = {(sub, kind.split(":")[0]) for sub, kind, _, _ in said}
    assert classes == {(sub, kind.split(":")[0]) for sub, kind, _, _ in counts}
    for cell in {one[:3] for one in counts}:
        owners = {one[3] for one in counts if one[:3] == cell}
        wide = {path for path in owners if not path.startswith(SUB)}
        assert not any(contains(one, other) for one in wide for other in wide)
        assert not wide & {TENANT, SECOND_TENANT} or len(wide) == 1
        assert not (SUB in owners and wide)
    for sub, kind, _, path in said - counts:
        rivals = {rival for *where, _, rival in said if where == [sub, kind] and rival != path}
        assert path not in left or any(shadows(Scope.parse(rival), Scope.parse(path)) for rival in rivals)
    order = list(range(len(rows)))
    random.shuffle(order)
    assert owned([rows[place] for place in order], *claims) == [mask[place] for place in order]


class Charge(NamedTuple):
    """What something cost: who it names, its kind and group, and the profile that pays for it."""

    sub: str
    kind: str
    group: str
    payer: str

    def is_seen_by(self, scope: str) -> bool:
        """Purchases, and what names no subscription, only those see who are billed for them."""
        if scope in (PROFILE, SECOND_PROFILE, ACCOUNT):
            return contains(scope, self.payer) or scope == self.payer
        if self.kind == "Purchase" or self.sub == "none":
            return False
        return scope == TENANT or (self.sub == A and scope in (SUB, f"{SUB}/resourceGroups/{self.group}"))


def usage_of(sub: str, group: str, kind: str) -> Charge:
    """Each subscription is paid for by one profile."""
    return Charge(sub, kind, group, PROFILE if sub == A else SECOND_PROFILE)


ASKED = [GROUP, SUB, PROFILE, SECOND_PROFILE, ACCOUNT, TENANT]
groups = st.sampled_from(["Web", "data"])
some_charges = st.lists(
    st.one_of(
        st.builds(usage_of, st.sampled_from([A, B]), groups, st.sampled_from(["Usage", "Refund"])),
        st.builds(
            Charge,
            st.sampled_from([A, B, "none"]),
            st.just("Purchase"),
            groups,
            st.sampled_from([PROFILE, SECOND_PROFILE]),
        ),
    ),
    max_size=12,
)


@settings(max_examples=200)
@given(some_charges, st.lists(st.sets(st.sampled_from(ASKED), min_size=1), min_size=2, max_size=4))
def test_whoever_leaves_and_comes_each_charge_counts_once(
    charges: list[Charge], lists: list[set[str]]
) -> None:
    """GIVEN scopes that see what they do by their nature THEN a charge that counted counts once, ever after.

    Unless the scopes that are there disagree, which is told. Of a scope that left no more is left than what
    counted of it.
    """
    counted: dict[str, set[int]] = {}
    for asked in lists:
        seen = {path: {n for n, one in enumerate(charges) if one.is_seen_by(path)} for path in asked}
        seen = {path: numbers for path, numbers in counted.items() if path not in asked} | seen
        claims = [Claim(Scope.parse(path), listed=path in asked) for path in seen]
        said = [(path, n) for path, numbers in seen.items() for n in sorted(numbers)]
        rows = [
            row(path, str(n + 1), sub=charges[n].sub, charge=charges[n].kind, group=charges[n].group)
            for path, n in said
        ]

        result = decide(rows, *claims)

        counts = Counter(n for (_, n), mine in zip(said, result.owned, strict=True) if mine)
        assert set(counts.values()) <= {1}
        before: set[int] = set().union(*counted.values()) if counted else set()
        if all(overlap.agrees(TOLERANCE) for overlap in result.overlaps):
            assert set(counts) >= before.union(*(seen[path] for path in asked))
        counted = {
            path: {n for (teller, n), mine in zip(said, result.owned, strict=True) if mine and teller == path}
            for path in seen
        }
