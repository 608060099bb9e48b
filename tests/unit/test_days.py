"""Pointers move forward only, whoever moves them and in whatever order."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.days import LAPSE, Attempt, Pointer, Reading, ScopeState, moved, noted
from shared.days.model import EARLIER

START = datetime(2026, 5, 10, 12, tzinfo=UTC)
BLANK = Pointer("ActualCost", date(2026, 5, 9), "/subscriptions/x", "x")


def reading(
    minute: int, generation: str = "g", digest: str = "a", *, agreed: bool = True, lasted: int = 0
) -> Reading:
    return Reading(
        run="r",
        slice="s",
        generation=generation,
        digest=digest,
        shape="query|1|Meter",
        records=1,
        totals={"USD": Decimal(1)},
        absolutes={"USD": Decimal(1)},
        control={},
        control_kind="query",
        agreed=agreed,
        read_at=START + timedelta(minutes=minute),
        began=START + timedelta(minutes=minute - lasted) if lasted else None,
    )


def attempt(minute: int, state: ScopeState = ScopeState.FAILED) -> Attempt:
    at = START + timedelta(minutes=minute)
    return Attempt("r", state, "cause", at)


def noted_all(facts: Iterable[Reading | Attempt]) -> Pointer:
    pointer = BLANK
    for fact in facts:
        pointer = moved(pointer, fact) if isinstance(fact, Reading) else noted(pointer, fact)
    return pointer


readings = st.builds(
    reading,
    st.integers(0, 5),
    st.sampled_from(["g1", "g2", "g3"]),
    st.sampled_from("ab"),
    agreed=st.booleans(),
    lasted=st.integers(0, 3),
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(reading(10, lasted=10), reading(5), id="one_answer_while_the_other_took_pages"),
        pytest.param(reading(10, lasted=10), reading(12, lasted=4), id="one_begins_before_the_other_ends"),
    ],
)
def test_readings_of_one_time_that_differ_cross(one: Reading, other: Reading) -> None:
    other = replace(other, digest="b")

    assert one.crosses(other)
    assert other.crosses(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(reading(10, lasted=10), reading(5), id="they_say_the_same"),
        pytest.param(reading(10, lasted=5), reading(15, digest="b", lasted=5), id="one_after_the_other"),
        pytest.param(reading(5), reading(5, digest="b"), id="two_answers_of_one_second"),
        pytest.param(reading(10, lasted=5), reading(10, digest="b"), id="an_answer_in_the_last_second"),
    ],
)
def test_readings_one_after_the_other_or_that_say_the_same_do_not_cross(one: Reading, other: Reading) -> None:
    assert not one.crosses(other)
    assert not other.crosses(one)


def test_reading_that_began_later_is_later_though_the_other_took_longer() -> None:
    """Its pages may all be older than the first of the other."""
    slow, quick = reading(10, lasted=10), reading(5, digest="b")

    assert moved(moved(BLANK, slow), quick).reading == quick
    assert moved(moved(BLANK, quick), slow).reading == quick


@given(st.lists(readings, min_size=1, max_size=6, unique_by=lambda one: one.order))
def test_last_reading_stands_whatever_the_order_in_which_they_come(several: list[Reading]) -> None:
    pointer = BLANK
    for one in several:
        pointer = moved(pointer, one)

    assert pointer.reading == max(several, key=lambda one: one.order)


@given(st.lists(readings, max_size=6))
def test_changed_at_never_goes_back_and_no_reading_is_replaced_by_an_earlier_one(
    several: list[Reading],
) -> None:
    pointer = BLANK
    for one in several:
        after = moved(pointer, one)
        if pointer.reading is not None and pointer.changed_at is not None:
            assert after.reading is not None
            assert after.changed_at is not None
            assert after.reading.order >= pointer.reading.order
            assert after.changed_at >= pointer.changed_at
        pointer = after


@given(st.lists(readings, max_size=4, unique_by=lambda one: one.order))
def test_every_delivery_order_ends_at_the_same_reading(several: list[Reading]) -> None:
    ends = set()
    for order in permutations(several):
        pointer = BLANK
        for one in order:
            pointer = moved(pointer, one)
        ends.add(None if pointer.reading is None else pointer.reading.order)
    assert len(ends) == 1


hours = st.sampled_from([0, 1, 20, 24, 25, 26, 49]).map(lambda hour: 60 * hour)
facts = st.one_of(
    st.builds(reading, hours, st.sampled_from(["g1", "g2"])),
    st.builds(attempt, hours, st.sampled_from([ScopeState.FAILED, ScopeState.VANISHED])),
    # Of the same second as a reading, and after the service's Date of it.
    st.builds(lambda one: replace(one, at=one.at + timedelta(milliseconds=400)), st.builds(attempt, hours)),
)


@given(st.lists(facts, max_size=7).flatmap(lambda some: st.tuples(st.just(some), st.permutations(some))))
def test_readings_and_failures_in_any_order_leave_the_same_reading_state_and_lapse(
    orders: tuple[list[Reading | Attempt], list[Reading | Attempt]],
) -> None:
    """An owner keeps or loses a day for what happened, not for which worker was first to say so."""
    one, other = map(noted_all, orders)

    assert (one.reading, one.attempt, one.state) == (other.reading, other.attempt, other.state)


def failures_that_take_the_day(failed: Iterable[datetime], answered: Iterable[datetime]) -> list[datetime]:
    """Say by plain words which failures came when a row of them had lasted a day, no answer among them."""
    return [
        last
        for first, last in combinations(sorted(failed), 2)
        if last - first >= LAPSE and not any(first <= time <= last for time in answered)
    ]


@given(st.lists(facts, max_size=7))
def test_day_is_lost_by_a_day_of_failures_that_no_reading_and_no_vanished_cost_came_between(
    several: list[Reading | Attempt],
) -> None:
    last = max((one.since for one in several if isinstance(one, Reading)), default=None)
    open_ones = [
        one
        for one in several
        if isinstance(one, Attempt) and (last is None or one.at.replace(microsecond=0) > last)
    ]
    answered = {one.at for one in open_ones if one.state is ScopeState.VANISHED}
    lost = failures_that_take_the_day({one.at for one in open_ones} - answered, answered)

    told = noted_all(several).attempt

    assert (told is None) == (not open_ones)
    if told is not None:
        assert told.at == max(one.at for one in open_ones)
        assert told.lapsed_at == min(lost, default=None)


def test_one_failure_after_days_of_vanished_cost_takes_no_day_away() -> None:
    """Its scope answered an hour before; nobody has confirmed what it says."""
    vanished = [attempt(60 * hours, ScopeState.VANISHED) for hours in (1, 30, 60)]

    told = noted_all([reading(0), *vanished, attempt(60 * 61)]).attempt

    assert told is not None
    assert told.lapsed_at is None


def test_lost_day_stays_lost_when_its_cost_is_suddenly_gone() -> None:
    """No reading gives the day back: none counts."""
    failures = [attempt(60 * hours) for hours in (1, 10, 26, 40)]

    told = noted_all([reading(0), *failures, attempt(60 * 50, ScopeState.VANISHED)]).attempt

    assert told is not None
    assert told.lapsed_at == attempt(60 * 26).at


def test_of_two_failures_at_one_moment_the_same_one_stands_in_either_order() -> None:
    failures = [attempt(1), attempt(1, ScopeState.VANISHED)]

    assert noted_all(failures) == noted_all(reversed(failures))


def test_failures_in_a_row_are_known_to_a_number_and_the_first_always() -> None:
    told = noted_all(attempt(minute) for minute in range(3 * EARLIER)).attempt

    assert told is not None
    assert told.failures == (attempt(0).at, attempt(3 * EARLIER - 1).at)
    latest = [attempt(minute).at for minute in range(2 * EARLIER + 1, 3 * EARLIER - 1)]
    assert list(told.failed) == [attempt(0).at, *latest]


@pytest.mark.parametrize("last", [ScopeState.FAILED, ScopeState.VANISHED])
def test_failure_that_took_the_day_away_is_known_however_many_follow(last: ScopeState) -> None:
    hours = [attempt(60 * hour) for hour in range(2 * EARLIER)]

    told = noted_all([*hours, attempt(60 * 2 * EARLIER, last)]).attempt

    assert told is not None
    assert told.lapsed_at == attempt(60 * 24).at
    assert len(told.failed) <= EARLIER


def test_reading_noted_late_begins_the_failures_in_a_row_anew_and_says_that_the_day_was_got_back() -> None:
    lapsed = noted_all([reading(0), attempt(60), attempt(60 * 20), attempt(60 * 26)])

    back = moved(lapsed, reading(60 * 10, "h"))

    assert lapsed.attempt is not None
    assert lapsed.attempt.lapsed_at == attempt(60 * 26).at
    assert back.attempt is not None
    assert back.attempt.failures == (attempt(60 * 20).at, attempt(60 * 26).at)
    assert back.attempt.lapsed_at is None
    assert back.changed_at == reading(60 * 10).read_at


def test_same_reading_again_changes_nothing() -> None:
    once = moved(BLANK, reading(1))

    assert moved(once, reading(1)) == once


def test_reading_of_the_same_content_keeps_the_time_of_the_change() -> None:
    once = moved(BLANK, reading(1))

    again = moved(once, reading(9, "h"))

    assert again.changed_at == once.changed_at == START + timedelta(minutes=1)
    assert again.reading == reading(9, "h")


@pytest.mark.parametrize(
    "other",
    [reading(9, digest="b"), replace(reading(9), shape="query|1|ResourceId"), reading(9, agreed=False)],
    ids=["other content", "other shape", "no longer agreed"],
)
def test_other_content_shape_or_proof_is_a_change(other: Reading) -> None:
    assert moved(moved(BLANK, reading(1)), other).changed_at == START + timedelta(minutes=9)


def test_change_is_never_dated_before_an_earlier_one() -> None:
    changed = replace(BLANK, changed_at=START + timedelta(minutes=9))

    assert moved(changed, reading(1)).changed_at == START + timedelta(minutes=9)


def test_generation_decides_between_two_readings_of_one_second() -> None:
    """The Date header of an answer knows whole seconds."""
    later = moved(moved(BLANK, reading(1, "g1")), reading(1, "g2", "b"))

    assert later.reading == reading(1, "g2", "b")
    assert moved(later, reading(1, "g1")) == later


def test_failed_attempt_leaves_the_reading_and_makes_it_stale() -> None:
    pointer = noted(moved(BLANK, reading(1)), attempt(2))

    assert (pointer.reading, pointer.state) == (reading(1), ScopeState.STALE)


def test_attempt_from_before_a_reading_says_nothing_about_it() -> None:
    pointer = moved(BLANK, reading(3))

    assert noted(pointer, attempt(2)) == pointer


def test_earlier_attempt_does_not_replace_a_later_one() -> None:
    pointer = noted(BLANK, attempt(5, ScopeState.VANISHED))

    after = noted(pointer, attempt(2))

    assert after.attempt == replace(attempt(5, ScopeState.VANISHED), failed=(attempt(2).at,))


def test_later_reading_clears_an_attempt_and_an_earlier_one_does_not() -> None:
    pointer = noted(moved(BLANK, reading(1)), attempt(5))

    assert moved(pointer, reading(6, "h")).state is ScopeState.RECONCILED
    assert moved(pointer, reading(4, "h")).state is ScopeState.STALE


def test_reading_of_the_attempts_own_second_clears_it() -> None:
    """The service dates its answers in whole seconds: a redelivery at once must not look older than the failure."""
    half_past = replace(attempt(5), at=START + timedelta(minutes=5, milliseconds=500))

    assert moved(noted(BLANK, half_past), reading(5)).state is ScopeState.RECONCILED


@pytest.mark.parametrize(
    ("pointer", "state"),
    [
        (BLANK, ScopeState.MISSING),
        (noted(BLANK, attempt(1)), ScopeState.FAILED),
        (noted(BLANK, attempt(1, ScopeState.UNRECONCILED)), ScopeState.UNRECONCILED),
        (moved(BLANK, reading(1)), ScopeState.RECONCILED),
        (moved(BLANK, reading(1, agreed=False)), ScopeState.UNRECONCILED),
        (noted(moved(BLANK, reading(1)), attempt(2)), ScopeState.STALE),
        (noted(moved(BLANK, reading(1)), attempt(2, ScopeState.VANISHED)), ScopeState.VANISHED),
    ],
)
def test_state_is_in_the_manifests_words(pointer: Pointer, state: ScopeState) -> None:
    assert pointer.state is state
