"""The line of days: what counts as its moving for a day that waits in it."""

from dataclasses import replace
from datetime import date, timedelta

from shared.line import Planned, moved
from shared.runs import DayTask, Run
from tests.unit.test_refused_entities import NOW, RUN

DAY = date(2026, 5, 1)
MINUTE = timedelta(minutes=1)


def run_of(name: str, begun: int) -> Run:
    return replace(RUN, id=name, created_at=NOW + begun * MINUTE)


def task_of(run: Run, number: int, touched: int, state: str = "open") -> DayTask:
    day = DAY + timedelta(days=number)
    return DayTask(run.id, run.seeding, "ActualCost", day, state=state, touched_at=NOW + touched * MINUTE)


def test_day_that_ends_is_progress_of_those_that_wait_in_its_run_and_in_others_of_its_time() -> None:
    older, run = run_of("older", 0), run_of("run", 5)
    waits = task_of(run, 1, 10)
    line = [
        Planned(older, [task_of(older, 0, 30, "published"), task_of(older, 1, 40)]),
        Planned(run, [task_of(run, 0, 20, "failed"), waits]),
    ]

    assert moved(line, waits) == NOW + 30 * MINUTE
    assert moved(line[1:], waits) == NOW + 20 * MINUTE
    assert [planned.waiting for planned in line] == [[line[0].tasks[1]], [waits]]


def test_day_waits_for_none_of_a_run_that_began_after_it_was_sent() -> None:
    """Else a message that is lost would not be sought before nobody publishes any more."""
    run, younger = run_of("run", 0), run_of("younger", 11)
    waits = task_of(run, 0, 10)
    line = [Planned(run, [waits]), Planned(younger, [task_of(younger, 0, 30, "published")])]

    assert moved(line, waits) is None


def test_day_that_is_still_being_published_is_no_progress() -> None:
    run = run_of("run", 0)
    line = [Planned(run, [task_of(run, 0, 10), task_of(run, 1, 20)])]

    assert moved(line, line[0].tasks[0]) is None
