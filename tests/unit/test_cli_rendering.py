"""What the commands print, from plain values."""

import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from rich.console import Console

from shared import events
from shared.cli import logs
from shared.cli.output import aligned, amounts, moment
from shared.cli.progress import Bars, Lines, Standing, line
from shared.cli.published import describe, not_reconciled_lines
from shared.cli.run import summary_lines
from shared.cli.status import latest
from shared.days import Attempt, Day, Pointer, Publication, Reading, ScopeState
from shared.runs import Run, RunStatus

DAY = date(2026, 5, 10)
READ_AT = datetime(2026, 5, 13, 4, 10, tzinfo=UTC)
SETTLE = timedelta(hours=48)
HALF_WAY = Standing(1, 4, 20, 90000, 3, 0, None)

READING = Reading(
    run="r",
    slice="s",
    generation="g",
    digest="d",
    shape="query",
    records=2,
    totals={"USD": Decimal(3)},
    absolutes={"USD": Decimal(3)},
    control={},
    control_kind="single_page",
    agreed=True,
    read_at=READ_AT,
)
POINTER = Pointer("ActualCost", DAY, "/subscriptions/A", "a", reading=READING, changed_at=READ_AT)
PUBLICATION = Publication(
    metric="ActualCost",
    day=DAY,
    view={"a": ("/subscriptions/a", "d", "query", "reconciled")},
    listed=("a",),
    scopes_at=READ_AT,
    as_of=READ_AT,
    status="reconciled",
    totals={"USD": Decimal("0.1")},
    published_at=READ_AT + timedelta(minutes=2),
)
FAILED = Attempt("r2", ScopeState.FAILED, "RBACAccessDenied", READ_AT + timedelta(hours=4), (READ_AT,))


def test_columns_stand_under_each_other_and_lines_end_without_blanks() -> None:
    assert aligned([("a", "bb", ""), ("ccc", "d", "e")]) == ["a    bb", "ccc  d   e"]


def test_amounts_of_two_currencies_stand_beside_each_other() -> None:
    assert amounts({"USD": "1.50", "EUR": "2.00"}) == "2.00 EUR, 1.50 USD"
    assert amounts({}) == "-"


def test_times_are_utc_in_whole_seconds() -> None:
    assert moment(READ_AT.replace(microsecond=999_999)) == "2026-05-13T04:10:00Z"
    assert moment(None) is None


def test_days_are_left_out_of_the_line_until_they_are_planned() -> None:
    assert line(HALF_WAY) == "slices 1/4 ended, 20 pages, 90,000 rows, 3 throttles"
    planned = replace(HALF_WAY, days_published=2, days_total=9)
    assert line(planned).endswith("3 throttles, days 2/9 published")


def test_a_line_is_printed_only_when_something_changed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    for standing in (HALF_WAY, HALF_WAY, replace(HALF_WAY, slices_ended=2), HALF_WAY):
        lines.show(standing)
    assert [text[:10] for text in capsys.readouterr().out.splitlines()] == [
        "slices 1/4",
        "slices 2/4",
        "slices 1/4",
    ]


def test_a_terminal_shows_slices_and_days_as_bars() -> None:
    screen = io.StringIO()
    with Bars(Console(file=screen, force_terminal=True, width=100, color_system=None)) as bars:
        bars.show(HALF_WAY)
        assert "days" not in screen.getvalue()
        bars.show(replace(HALF_WAY, slices_ended=4, days_published=5, days_total=9))
    slices, days = screen.getvalue().splitlines()[-3:-1]
    assert "4/4 20 pages, 90,000 rows, 3 throttles" in slices
    assert "5/9 published" in days


SUMMARY: dict[str, Any] = {
    "run_id": "r1",
    "status": "partial",
    "slices": {"total": 8, "reconciled": 7, "failed": 1},
    "pages": 120,
    "rows_read": 90000,
    "duplicates_dropped": 310,
    "generations_discarded": 2,
    "requests": 130,
    "throttled": 3,
    "days": [
        {"metric": "ActualCost", "day": "2026-05-10", "state": "published"},
        {"metric": "ActualCost", "day": "2026-05-11", "state": "incomplete"},
    ],
    "totals": {"ActualCost": {"USD": "12345.678900000000000000"}},
    "failures": [
        {
            "scope": "/subscriptions/a",
            "metric": "ActualCost",
            "from": "2026-05-01",
            "to": "2026-05-31",
            "state": "failed",
            "cause": "RBACAccessDenied",
            "cure": "grant Cost Management Reader on /subscriptions/a",
        },
        {
            "scope": None,
            "metric": "ActualCost",
            "from": "2026-05-11",
            "to": "2026-05-11",
            "state": "failed",
            "cause": "TotalError",
            "cure": "see the cause",
        },
    ],
}


def test_a_summary_names_every_day_and_slice_that_is_missing_with_its_cure() -> None:
    text = "\n".join(summary_lines(SUMMARY))
    assert text.startswith("run r1: partial\n")
    assert "12345.678900000000000000 USD" in text
    assert "not reconciled: ActualCost 2026-05-11" in text
    assert "failed: /subscriptions/a ActualCost 2026-05-01 to 2026-05-31\n  cause: RBACAccessDenied\n" in text
    assert "cure:  grant Cost Management Reader on /subscriptions/a" in text
    assert "failed: the day ActualCost 2026-05-11 to 2026-05-11" in text


def test_a_day_that_nobody_read_is_missing() -> None:
    said = describe("ActualCost", DAY, None, SETTLE)
    assert (said["state"], said["settled"], said["totals"]) == ("missing", False, {})


def test_a_published_day_tells_its_totals_whole_and_how_fresh_it_is() -> None:
    said = describe("ActualCost", DAY, Day((POINTER,), PUBLICATION), SETTLE)
    assert said == {
        "metric": "ActualCost",
        "day": "2026-05-10",
        "state": "reconciled",
        "settled": True,
        "pending": False,
        "totals": {"USD": "0.100000000000000000"},
        "data_as_of": "2026-05-13T04:10:00Z",
        "published_at": "2026-05-13T04:12:00Z",
        "scopes": [],
    }


@pytest.mark.parametrize(("seconds", "settled"), [(0, True), (-1, False)])
def test_a_day_is_settled_from_the_second_that_is_48_hours_after_its_end(seconds: int, settled: bool) -> None:  # noqa: FBT001
    as_of = datetime(2026, 5, 13, tzinfo=UTC) + timedelta(seconds=seconds)
    said = describe("ActualCost", DAY, Day((POINTER,), replace(PUBLICATION, as_of=as_of)), SETTLE)
    assert said["settled"] is settled


def test_an_older_reading_that_stands_after_a_failure_is_stale_with_the_cause() -> None:
    said = describe("ActualCost", DAY, Day((replace(POINTER, attempt=FAILED),), PUBLICATION), SETTLE)
    assert said["scopes"] == [{"scope": "/subscriptions/A", "state": "stale", "cause": "RBACAccessDenied"}]


def test_a_listed_scope_that_nobody_tried_to_read_is_missing() -> None:
    view = {**PUBLICATION.view, "b": ("/subscriptions/b", "", "", "missing")}
    said = describe("ActualCost", DAY, Day((POINTER,), replace(PUBLICATION, view=view)), SETTLE)
    assert said["scopes"] == [{"scope": "/subscriptions/b", "state": "missing", "cause": None}]


def test_a_scope_that_disagrees_is_told_with_both_figures() -> None:
    publication = replace(PUBLICATION, disagrees={"/subscriptions/a": "Disagrees: 1 and 2"})
    said = describe("ActualCost", DAY, Day((POINTER,), publication), SETTLE)
    assert said["scopes"] == [
        {"scope": "/subscriptions/A", "state": "disagrees", "cause": "Disagrees: 1 and 2"}
    ]


def test_a_reading_that_waits_to_be_published_leaves_the_freshness_open() -> None:
    pointer = replace(POINTER, reading=replace(READING, digest="newer"))
    said = describe("ActualCost", DAY, Day((pointer,), PUBLICATION), SETTLE)
    assert (said["pending"], said["data_as_of"]) == (True, None)


def test_one_cause_over_many_days_is_one_line() -> None:
    days = [
        {**describe("ActualCost", DAY + timedelta(n), None, SETTLE), "scopes": [scope]}
        for n in range(3)
        for scope in [{"scope": "/s", "state": "stale", "cause": "RBACAccessDenied"}]
    ]
    assert not_reconciled_lines(days) == [
        "ActualCost /s, 3 days from 2026-05-10 to 2026-05-12: stale: RBACAccessDenied"
    ]


def closed_run(number: int) -> Run:
    return Run(
        id=f"r{number}",
        kind="run",
        first=DAY,
        last=DAY,
        full=True,
        seeding="x",
        planned=1,
        scopes=(),
        created_at=READ_AT,
        status=RunStatus.COMPLETE,
        # The first begun is the last to end.
        closed_at=READ_AT + timedelta(hours=24 - number),
    )


def test_the_ten_runs_that_closed_last_are_shown_the_latest_first() -> None:
    still_open = replace(closed_run(99), status=RunStatus.OPEN, closed_at=None)
    shown = latest([*(closed_run(number) for number in range(12)), still_open])
    assert [run.id for run in shown] == [f"r{number}" for number in range(10)]


@pytest.fixture
def engine_logger() -> Iterator[logging.Logger]:
    """The engine's logger, put back as it was: other tests listen to it in their own way."""
    logger = logging.getLogger(logs.ENGINE)
    handlers, propagate, level = logger.handlers[:], logger.propagate, logger.level
    yield logger
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.mark.usefixtures("engine_logger")
def test_events_are_silent_unless_they_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.to_stderr(wanted=False)
    events.emit(events.STEP_FAILED, cause="loud")
    assert capsys.readouterr() == ("", "")

    logs.to_stderr(wanted=True)
    events.emit(events.RUN_SEEDED, run="r", slices=2)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert msgspec.json.decode(printed.err) == {"event": "run_seeded", "run": "r", "slices": 2}


def test_events_of_a_block_are_kept_by_name_and_no_longer(engine_logger: logging.Logger) -> None:
    engine_logger.setLevel(logging.INFO)
    with logs.Events() as happened:
        events.emit(events.DAY_RESTARTED, run="r")
        events.emit(events.RUN_CLOSED, run="r")
    events.emit(events.DAY_RESTARTED, run="later")
    assert happened.named(events.DAY_RESTARTED) == [{"event": "day_restarted", "run": "r"}]
