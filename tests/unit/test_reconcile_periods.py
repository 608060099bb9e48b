"""Which month may be compared, and which days a bill is about."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.plan.windows import MONTHS_KEPT
from shared.reconcile.periods import Period, last_closed, lately_closed, month_before, month_of, parse_month

TODAY = date(2026, 6, 20)
DAYS = st.dates(date(2000, 1, 1), date(2100, 12, 31))


@pytest.mark.parametrize(
    ("today", "closed"),
    [
        pytest.param(date(2026, 6, 5), date(2026, 4, 1), id="the_fifth_day_may_still_change_the_month"),
        pytest.param(date(2026, 6, 6), date(2026, 5, 1), id="the_sixth_may_not"),
        pytest.param(date(2026, 1, 5), date(2025, 11, 1), id="over_the_end_of_a_year"),
        pytest.param(date(2024, 3, 6), date(2024, 2, 1), id="a_february_of_29_days"),
    ],
)
def test_a_month_is_closed_once_it_is_over_for_more_than_five_days(today: date, closed: date) -> None:
    assert last_closed(today).first == closed


@given(today=DAYS)
def test_the_last_closed_month_is_the_latest_that_is_not_open(today: date) -> None:
    month = last_closed(today)
    assert not month.is_open(today)
    assert month_of(month.last + timedelta(days=1)).is_open(today)


@given(today=DAYS)
def test_the_months_that_closed_lately_are_the_last_three(today: date) -> None:
    months = lately_closed(today)
    assert months[-1] == last_closed(today)
    assert [month_before(month) for month in months[1:]] == months[:-1]
    assert len(months) == 3


@given(day=DAYS)
def test_months_follow_each_other_without_a_gap(day: date) -> None:
    month = month_of(day)
    assert month.first <= day <= month.last
    assert month_before(month).last + timedelta(days=1) == month.first
    assert month.days[0] == month.first
    assert month.days[-1] == month.last


def test_a_month_is_read_as_it_is_written() -> None:
    assert parse_month("2026-02", TODAY) == Period(date(2026, 2, 1), date(2026, 2, 28))
    assert parse_month("2026-06", TODAY) == Period(date(2026, 6, 1), date(2026, 6, 30))
    assert parse_month("2023-06", TODAY).first == date(2023, 6, 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("2026-7", "no month", id="one_digit"),
        pytest.param("202605", "no month", id="no_hyphen"),
        pytest.param("2026-05-01", "no month", id="a_day"),
        pytest.param("May 2026", "no month", id="words"),
        pytest.param("\u0662\u0660\u0662\u0666-\u0660\u0665", "no month", id="digits_of_another_script"),
        pytest.param("2026-13", "no month of the calendar", id="thirteenth"),
        pytest.param("2026-00", "no month of the calendar", id="noughth"),
        pytest.param("0000-05", "no month of the calendar", id="year_nought"),
        pytest.param("2026-07", "in the future", id="future"),
        pytest.param("2023-05", "too long ago: the service keeps 37 months", id="too_long_ago"),
    ],
)
def test_any_other_text_is_refused_with_the_months_that_are_allowed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        parse_month(text, TODAY)
    assert str(refused.value).endswith("give a month from 2023-06 to 2026-06, as YYYY-MM")


@given(today=DAYS, before=st.integers(0, 60))
def test_the_last_37_months_are_allowed_and_no_other(today: date, before: int) -> None:
    month = month_of(today)
    for _ in range(before):
        month = month_before(month)
    written = f"{month.first:%Y-%m}"
    if before < MONTHS_KEPT:
        assert parse_month(written, today) == month
    else:
        with pytest.raises(ValueError, match="too long ago"):
            parse_month(written, today)


def test_periods_hold_and_overlap_each_other_by_their_days() -> None:
    may = month_of(date(2026, 5, 10))
    own = Period(date(2026, 4, 12), date(2026, 5, 11))
    assert may.overlaps(own)
    assert own.overlaps(may)
    assert not may.contains(own)
    assert may.contains(Period(date(2026, 5, 31), date(2026, 5, 31)))
    assert not may.overlaps(month_before(may))
    with pytest.raises(ValueError, match="no period"):
        Period(date(2026, 5, 2), date(2026, 5, 1))
