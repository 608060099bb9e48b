from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.plan.schedule import check, last_tick, next_tick, run_id_of

EVERY_FOUR_HOURS = "0 0 */4 * * *"
TICK = datetime(2026, 5, 10, 4, tzinfo=UTC)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis


@pytest.mark.parametrize("early", [0, 1, 3, 999], ids=lambda ms: f"{ms} ms early")
def test_a_host_that_fires_early_or_late_names_one_tick(early: int) -> None:
    assert last_tick(EVERY_FOUR_HOURS, TICK - timedelta(milliseconds=early)) == TICK
    assert last_tick(EVERY_FOUR_HOURS, TICK + timedelta(hours=3, seconds=early)) == TICK


def test_two_seconds_before_a_tick_the_one_before_is_the_last() -> None:
    assert last_tick(EVERY_FOUR_HOURS, TICK - timedelta(seconds=2)) == TICK - timedelta(hours=4)


@given(
    moment=MOMENTS,
    schedule=st.sampled_from(
        [EVERY_FOUR_HOURS, "0 */10 * * * *", "*/7 1,59 3-5 * * mon-fri", "30 0 0 29 2 *"]
    ),
)
def test_now_lies_between_last_and_next(moment: datetime, schedule: str) -> None:
    last, following = last_tick(schedule, moment), next_tick(schedule, moment)
    assert last <= moment + timedelta(seconds=1) < following
    assert last_tick(schedule, last) == last
    assert next_tick(schedule, last) == following
    assert last.tzinfo is UTC


def test_an_early_host_does_not_see_its_own_tick_as_the_next() -> None:
    assert next_tick(EVERY_FOUR_HOURS, TICK - timedelta(milliseconds=3)) == TICK + timedelta(hours=4)


def test_schedules_are_in_utc_whatever_zone_now_comes_in() -> None:
    now = TICK.astimezone(timezone(timedelta(hours=5, minutes=30))) + timedelta(minutes=1)
    assert last_tick(EVERY_FOUR_HOURS, now) == TICK
    assert run_id_of(now) == "20260510T040100Z"


def test_a_run_is_named_after_its_tick() -> None:
    assert run_id_of(TICK) == "20260510T040000Z"


@pytest.mark.parametrize("call", [last_tick, next_tick])
def test_a_time_without_a_zone_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="without a zone"):
        call(EVERY_FOUR_HOURS, TICK.replace(tzinfo=None))


@pytest.mark.parametrize(
    "schedule",
    [
        EVERY_FOUR_HOURS,
        "0 */10 * * * *",
        "0 30 9 * JAN-mar mon",
        "0,30 0 0 1-5/2 * *",
        "5/15 * * * * 0,6",
        "0 0 0 */2 * 1",
    ],
)
def test_ncrontab_is_accepted(schedule: str) -> None:
    assert check(schedule) == schedule


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        ("", "0 fields"),
        ("0 */4 * * *", "5 fields"),
        ("0 0 */4 * * * *", "7 fields"),
        ("@daily", "1 fields"),
        ("04:00:00", "1 fields"),
        ("60 0 * * * *", "Bad second"),
        ("0 0 24 * * *", "Bad hour"),
        ("0 0 0 0 * *", "Bad day-of-month"),
        ("0 0 */0 * * *", "Bad hour"),
        ("0 0 5-3 * * *", "Bad hour"),
        ("0 0 0 31 4 *", "Bad day-of-month"),
        ("0 0 0 L * *", "no schedule"),
        ("0 0 0 * * 1#2", "no schedule"),
        ("0 0 0 * * 7", "no schedule"),
        ("0 0 0 * * ?", "no schedule"),
        ("0 0 0 , * *", "no schedule"),
        ("0 0 0 1 * mon", "not both"),
    ],
)
def test_what_the_host_would_refuse_or_read_differently_is_refused(schedule: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check(schedule)
