"""Who is asked first: no scope stands last for ever."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from shared.reconcile.periods import month_of
from shared.reconcile.turns import in_turn
from shared.scopes import Scope

PROFILES = [
    Scope.parse(f"/providers/Microsoft.Billing/billingAccounts/x/billingProfiles/P{n}") for n in range(2)
]
TODAY = date(2026, 6, 6)


def subscriptions(number: int) -> list[Scope]:
    return [Scope.parse(f"/subscriptions/92cdc4dd-8520-5ee9-8904-{n:012d}") for n in range(number)]


def later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, day.day)


@given(st.integers(0, 9), st.integers(0, 50))
def test_every_scope_has_one_turn_profiles_and_accounts_before_subscriptions(number: int, month: int) -> None:
    some = subscriptions(number)
    asked = in_turn([*some[:2], *PROFILES, *some[2:]], later(TODAY, month))
    assert set(asked[:2]) == set(PROFILES)
    assert sorted(asked[2:], key=lambda scope: scope.path) == some


@given(st.integers(1, 60), st.integers(0, 50))
def test_three_timers_that_reach_more_than_a_third_each_reach_all(number: int, month: int) -> None:
    some = subscriptions(number)
    reached = {
        scope for timer in range(3) for scope in in_turn(some, later(TODAY, month + timer))[: number // 3 + 2]
    }
    assert reached == set(some)


@given(st.integers(1, 60))
def test_every_scope_comes_first_in_time(number: int) -> None:
    some = subscriptions(number)
    assert {in_turn(some, later(TODAY, month))[0] for month in range(3 * number)} == set(some)


def test_the_turn_is_the_same_all_month() -> None:
    some = subscriptions(7)
    assert len({tuple(in_turn(some, day)) for day in month_of(TODAY).days}) == 1
