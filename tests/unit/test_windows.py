from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.plan.windows import Window, lookback, parse_day, windows

DAYS = st.dates(date(2019, 1, 1), date(2031, 12, 31))


@given(first=DAYS, span=st.integers(0, 800), longest=st.integers(1, 40))
def test_windows_cover_each_day_once_in_order_within_months(first: date, span: int, longest: int) -> None:
    last = first + timedelta(days=span)
    found = windows(first, last, longest)
    covered = [day for window in found for day in window.days]
    assert covered == [first + timedelta(days=n) for n in range(span + 1)]
    for window in found:
        assert window.days[0] == window.first
        assert window.days[-1] == window.last
        assert (window.first.year, window.first.month) == (window.last.year, window.last.month)
        assert len(window.days) <= min(longest, 31)


@given(first=DAYS, span=st.integers(0, 400))
def test_no_more_windows_than_months(first: date, span: int) -> None:
    last = first + timedelta(days=span)
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    assert len(windows(first, last, 31)) == months


def test_a_month_is_cut_from_its_first_day_on() -> None:
    assert windows(date(2026, 1, 30), date(2026, 2, 17), 10) == [
        Window(date(2026, 1, 30), date(2026, 1, 31)),
        Window(date(2026, 2, 1), date(2026, 2, 10)),
        Window(date(2026, 2, 11), date(2026, 2, 17)),
    ]


def test_the_calendars_last_day_is_a_day_like_any_other() -> None:
    assert windows(date.max, date.max, 31) == [Window(date.max, date.max)]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (date(2026, 5, 2), date(2026, 5, 1)),
        (date(2026, 5, 31), date(2026, 6, 1)),
        (date(2026, 5, 1), date(2027, 5, 1)),
    ],
    ids=["backwards", "two months", "the same month of two years"],
)
def test_a_window_is_a_range_inside_one_month(first: date, last: date) -> None:
    with pytest.raises(ValueError, match="inside one calendar month"):
        Window(first, last)


def test_a_range_that_runs_backwards_is_refused_rather_than_empty() -> None:
    with pytest.raises(ValueError, match="before the first"):
        windows(date(2026, 5, 2), date(2026, 5, 1), 31)


def test_windows_without_days_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one day"):
        windows(date(2026, 5, 1), date(2026, 5, 2), 0)


@given(DAYS)
def test_the_default_look_back_holds_the_month_before_until_the_fifth(today: date) -> None:
    first, last = lookback(today, 37)
    assert last == today
    assert (last - first).days + 1 == 37
    if today.day <= 5:
        assert first <= (today.replace(day=1) - timedelta(days=1)).replace(day=1)


def test_a_look_back_of_one_day_is_today() -> None:
    assert lookback(date(2026, 5, 1), 1) == (date(2026, 5, 1), date(2026, 5, 1))


def test_a_look_back_of_no_day_is_refused() -> None:
    with pytest.raises(ValueError, match="at least today"):
        lookback(date(2026, 5, 1), 0)


def test_a_day_is_read_as_it_is_written() -> None:
    assert parse_day("2028-02-29") == date(2028, 2, 29)


@pytest.mark.parametrize(
    "text", ["20260510", "2026-W19-7", "2026-5-1", "2026-05-10 ", "", "today", "2026-05-1\u0660"]
)
def test_a_day_written_in_another_way_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        parse_day(text)


def test_a_day_that_no_calendar_has_is_refused() -> None:
    with pytest.raises(ValueError, match="2026-02-29 is no day of the calendar"):
        parse_day("2026-02-29")
