from bisect import bisect_left
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.quota.limits import Limit, Used, parse_limits
from shared.quota.places import Gate, Taken, due, learn, pause, take, unpack_places

START = datetime(2026, 5, 10, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
TENANT = parse_limits("12/10s,60/m,600/h")
SCOPE = parse_limits("4/m")


def limits_up_to(seconds: int) -> st.SearchStrategy[list[Limit]]:
    pers = st.integers(1, seconds).map(lambda n: timedelta(seconds=n))
    return st.lists(st.builds(Limit, st.integers(1, 12), pers), min_size=1, max_size=3)


LIMITS = limits_up_to(120)
SHORT_LIMITS = limits_up_to(60)
PAUSES_BETWEEN = st.lists(st.integers(0, 40_000).map(lambda n: timedelta(milliseconds=n)), max_size=60)


def assert_kept(places: Iterable[datetime], limits: Sequence[Limit]) -> None:
    """No half-open window, wherever it starts, holds more than each limit's count."""
    ordered = sorted(places)
    for limit in limits:
        for at, first in enumerate(ordered):
            assert bisect_left(ordered, first + limit.per) - at <= limit.count


def take_one(now: datetime, gate: Gate, limits: Sequence[Limit]) -> tuple[datetime, Gate]:
    taken = take(now, [(gate, limits)])
    return taken.place, taken.gates[0]


def take_many(number: int, limits: Sequence[Limit], now: datetime = START) -> list[datetime]:
    """All at once, as a backlog would."""
    gate, places = Gate(), []
    for _ in range(number):
        place, gate = take_one(now, gate, limits)
        places.append(place)
    return places


@given(limits=LIMITS, waits=PAUSES_BETWEEN)
def test_no_sliding_window_ever_overflows_and_places_never_go_backwards(
    limits: list[Limit], waits: list[timedelta]
) -> None:
    gate, now, places = Gate(), START, []
    for wait in waits:
        now += wait
        place, gate = take_one(now, gate, limits)
        assert place >= now
        places.append(place)
    assert places == sorted(places)
    assert_kept(places, limits)


@given(
    tenant=LIMITS,
    scope=LIMITS,
    asked=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20_000)), max_size=60),
)
def test_gates_taken_together_all_hold_and_each_scope_moves_forward(
    tenant: list[Limit], scope: list[Limit], asked: list[tuple[str, int]]
) -> None:
    whole, scopes, now = Gate(), dict.fromkeys("abc", Gate()), START
    given_to: dict[str, list[datetime]] = {name: [] for name in "abc"}
    for name, wait in asked:
        now += timedelta(milliseconds=wait)
        taken = take(now, [(whole, tenant), (scopes[name], scope)])
        whole, scopes[name] = taken.gates
        given_to[name].append(taken.place)
    assert_kept((place for places in given_to.values() for place in places), tenant)
    for places in given_to.values():
        assert_kept(places, scope)
        assert places == sorted(places)


@given(limits=SHORT_LIMITS, waits=PAUSES_BETWEEN, later=st.integers(0, 200))
def test_no_place_is_later_than_it_must_be(limits: list[Limit], waits: list[timedelta], later: int) -> None:
    """GIVEN any gate WHEN it gives a place THEN each second before it would overflow a stretched window."""
    gate, now = Gate(), START
    for wait in waits[:15]:
        now += wait
        _, gate = take_one(now, gate, limits)
    now += later * SECOND
    place, _ = take_one(now, gate, limits)
    for earlier in range(int((place - now) / SECOND)):
        tried = sorted([*gate.places, now + earlier * SECOND])
        assert any(
            last - first < limit.per * 103 / 100
            for limit in limits
            for first, last in zip(tried, tried[limit.count :], strict=False)
        )


def test_an_idle_gate_gives_its_whole_burst_now() -> None:
    assert take_many(4, SCOPE) == [START] * 4
    assert take_many(12, TENANT) == [START] * 12


def test_the_place_after_a_burst_waits_for_a_whole_window_and_a_little() -> None:
    place = take_many(5, SCOPE)[-1]
    assert timedelta(seconds=60) < place - START < timedelta(seconds=63)


def test_saturation_reaches_95_percent_of_the_tightest_limit_over_an_hour() -> None:
    # GIVEN a gate busy for an hour already, so that no first burst flatters the figure
    places = take_many(1300, TENANT)
    second_hour = [place for place in places if HOUR <= place - START < 2 * HOUR]
    assert 0.95 * 600 <= len(second_hour) <= 600
    assert_kept(places, TENANT)


def test_a_limit_above_the_kept_burst_is_held_in_shorter_windows_at_the_same_rate() -> None:
    limits = parse_limits("1500/10s")
    places = take_many(2000, limits)
    assert_kept(places, limits)
    assert places[1500] - START < timedelta(seconds=10.5)


def test_a_gate_forgets_places_that_no_longer_count() -> None:
    gate, now = Gate(), START
    for _ in range(200):
        _, gate = take_one(now, gate, SCOPE)
        now += timedelta(seconds=30)
    assert len(gate.places) <= 5


def test_a_scope_booked_far_ahead_holds_up_no_other_scope() -> None:
    """GIVEN one scope with ten minutes of places WHEN another one asks THEN it goes at once."""
    tenant, busy = Gate(), Gate()
    for _ in range(40):
        taken = take(START, [(tenant, TENANT), (busy, SCOPE)])
        tenant, busy = taken.gates
    assert taken.place > START + timedelta(minutes=9)
    other = take(START, [(tenant, TENANT), (Gate(), SCOPE)])
    assert other.place == START


def test_a_place_once_given_is_kept_free_of_others_that_fit_in_between() -> None:
    """GIVEN a place ahead WHEN the gap before it is filled THEN its windows stay within their count."""
    limits = [Limit(1, timedelta(seconds=10))]
    gate = Gate(places=(START + timedelta(seconds=15),))
    first, gate = take_one(START, gate, limits)
    second, gate = take_one(START, gate, limits)
    assert first == START
    assert second > START + timedelta(seconds=25)


def test_a_place_that_one_gate_moves_is_asked_of_the_other_again() -> None:
    """GIVEN a scope free in a minute WHEN the tenant is taken just then THEN the place goes beyond both."""
    tenant = Gate(places=(START + timedelta(seconds=65),))
    scope = Gate(places=(START,))
    taken = take(
        START, [(tenant, [Limit(1, timedelta(seconds=10))]), (scope, [Limit(1, timedelta(minutes=1))])]
    )
    assert taken.place > START + timedelta(seconds=75)


def test_the_same_question_has_the_same_answer() -> None:
    gate = Gate(places=tuple(take_many(30, TENANT)))
    assert take(START, [(gate, TENANT)]) == take(START, [(gate, TENANT)])


def test_a_pause_moves_what_is_to_come_and_keeps_its_distances() -> None:
    # GIVEN a burst that went out and four places a minute later
    places = take_many(8, SCOPE)
    gate = Gate(places=tuple(places))
    # WHEN an answer says to wait for 45 seconds
    now = START + SECOND
    paused = pause(gate, now, 45 * SECOND)
    # THEN the past stands, the rest is later by the pause, and nothing new goes before its end
    assert paused.places == (*places[:4], *(place + 45 * SECOND for place in places[4:]))
    assert paused.resume_at == now + 45 * SECOND
    assert take_one(now, Gate(resume_at=paused.resume_at), SCOPE)[0] == now + 45 * SECOND


def test_several_answers_to_one_overload_add_up_to_the_longest() -> None:
    gate = pause(Gate(), START, 30 * SECOND)
    gate = pause(gate, START + SECOND, 30 * SECOND)
    gate = pause(gate, START + SECOND, 5 * SECOND)
    assert gate.shift == 31 * SECOND
    assert gate.resume_at == START + 31 * SECOND


def test_a_pause_after_the_last_one_ended_counts_in_full() -> None:
    gate = pause(pause(Gate(), START, 10 * SECOND), START + 60 * SECOND, 10 * SECOND)
    assert gate.shift == 20 * SECOND
    assert gate.resume_at == START + 70 * SECOND


def taken_at(place: datetime, *gates: Gate) -> Taken:
    return Taken(place, gates)


def test_a_holder_goes_at_its_place_when_nothing_moved() -> None:
    gate = pause(Gate(), START, 30 * SECOND)
    taken = take(START, [(gate, SCOPE)])
    assert taken.place == START + 30 * SECOND
    assert due(taken.place, taken.shifts, taken.gates) == taken.place


def test_a_holder_waits_for_its_place_plus_the_pauses_since() -> None:
    taken = taken_at(START + 100 * SECOND, Gate(), Gate())
    tenant = pause(pause(Gate(), START, 30 * SECOND), START + 60 * SECOND, 20 * SECOND)
    assert due(taken.place, taken.shifts, (tenant, Gate())) == START + 150 * SECOND


def test_a_holder_that_woke_late_still_waits_for_the_end_of_the_pause() -> None:
    taken = taken_at(START, Gate())
    gate = pause(Gate(), START + 5 * SECOND, 30 * SECOND)
    assert due(taken.place, taken.shifts, (gate,)) == START + 35 * SECOND


@given(limits=LIMITS, before=st.integers(0, 200), wait=st.integers(1, 300))
def test_limits_hold_across_a_pause(limits: list[Limit], before: int, wait: int) -> None:
    gate = Gate(places=tuple(take_many(20, limits)))
    now = START + before * SECOND
    gate = pause(gate, now, wait * SECOND)
    for _ in range(10):
        _, gate = take_one(now, gate, limits)
    assert_kept(gate.places, limits)
    assert not [place for place in gate.places if now <= place < now + wait * SECOND]


@given(st.lists(st.datetimes(timezones=st.just(UTC))))
def test_packed_places_come_back(places: list[datetime]) -> None:
    gate = Gate(places=tuple(sorted(places)))
    assert unpack_places(gate.pack_places()) == gate.places
    assert len(gate.pack_places()) == 8 * len(places)


@given(
    limit=st.builds(Limit, st.integers(1, 60), st.just(HOUR)), own=st.integers(0, 60), left=st.integers(0, 60)
)
def test_what_others_used_is_kept_free_of_places_as_far_as_it_is_more_than_a_fifth(
    limit: Limit, own: int, left: int
) -> None:
    """GIVEN own places and fewer left than that leaves THEN as many more stand in the span as are missing."""
    times = sorted(START - HOUR * number / 61 for number in range(own))
    others = limit.count - left - own

    learned = learn(Gate(tuple(times)), [limit], START, Used(left={HOUR: left}))

    kept = others if others * 5 > limit.count else 0
    assert len(learned.places) == own + kept
    assert list(learned.places) == sorted(learned.places)
    assert all(START - HOUR < place <= START for place in learned.places)
    if kept and not left:
        assert take_one(START, learned, [limit])[0] > START


def test_what_others_used_in_an_hour_does_not_use_up_the_minute() -> None:
    """It is spread over the span that it was counted in, since nobody knows when it was."""
    gate = learn(Gate(), TENANT, START, Used(left={HOUR: 300}))

    assert len(gate.places) == 300
    assert take_one(START, gate, TENANT)[0] == START


def test_units_of_a_request_beyond_the_first_take_places_too() -> None:
    _, gate = take_one(START, Gate(), TENANT)

    gate = learn(gate, TENANT, START, Used(units=12))

    assert take_one(START, gate, TENANT)[0] >= START + 10 * SECOND


def test_what_the_gate_knows_and_spans_that_are_no_limit_of_its_own_change_nothing() -> None:
    _, gate = take_one(START, Gate(), TENANT)

    known = {HOUR: 599, timedelta(minutes=1): 59, 10 * SECOND: 11}

    assert learn(gate, TENANT, START, Used(left=known)) is gate
    assert learn(gate, SCOPE, START, Used(left={HOUR: 0, 10 * SECOND: 0})) is gate


def test_absurd_figures_fill_no_memory() -> None:
    limits = [Limit(10**9, HOUR)]

    assert len(learn(Gate(), limits, START, Used(units=10**6, left={HOUR: 0})).places) <= 2000
