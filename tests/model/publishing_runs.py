"""What a run does with a day: compare it, have it published, close; and what sweep does for both.

Each function is one outside effect, in the order of `shared/orchestrate.py` and `shared/sweep.py`.
"""

from tests.model.publishing_state import (
    CLOSED,
    DAYS,
    DONE,
    Message,
    Run,
    Scenario,
    State,
    Stepped,
    Task,
    Worker,
    Wrong,
    differs,
    etag_of,
    is_open,
    with_message,
    with_row,
)


def read_run(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    run = state.runs[worker.message.run]
    if run.closed:
        return state, worker._replace(at=DONE)
    return state, worker._replace(at="open days" if run.publishing else "compare", run=run)


def compare(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Compare the day's pointers with its publication: both come with one query."""
    if differs(scenario, len(state.runs) - 1, state.publication):
        return state, worker._replace(at="plan day")
    if scenario.wrong is Wrong.RUN_LOOKS_AT_NO_FILES:
        return state, worker._replace(at="mark publishing")
    return state, worker._replace(at="look at files", publication=state.publication)


def look_at_files(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """See whether the day's files are those that its publication left."""
    assert worker.publication is not None
    left = worker.publication.files == tuple(map(etag_of, state.blobs))
    return state, worker._replace(at="mark publishing" if left else "plan day", publication=None)


def plan_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Write the day's row, unless it is there already."""
    run = worker.message.run
    if state.tasks[run] is None:
        state = state._replace(tasks=with_row(state.tasks, run, Task()))
    return state, worker._replace(at="mark publishing")


def mark_publishing(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    if state.runs[worker.message.run] != worker.run:
        return state, worker._replace(at="read run", run=Run())
    run = Run(publishing=True)
    state = state._replace(runs=with_row(state.runs, worker.message.run, run))
    return state, worker._replace(at="open days", run=run)


def open_days(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return state, worker._replace(at="send day" if is_open(state, worker.message.run) else "close run")


def send_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return with_message(state, Message(DAYS, worker.message.run)), worker._replace(at=DONE)


def close_run(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    if state.runs[worker.message.run] != worker.run:
        return state, worker._replace(at="read run", run=Run())
    return state._replace(runs=with_row(state.runs, worker.message.run, CLOSED)), worker._replace(at=DONE)


def restart_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    run = worker.message.run
    standing = state.tasks[run]
    if standing is None or standing != worker.task:
        return state, worker._replace(at=DONE)
    touched = standing._replace(etag=standing.etag + 1)
    return state._replace(tasks=with_row(state.tasks, run, touched)), worker._replace(at="send day")
