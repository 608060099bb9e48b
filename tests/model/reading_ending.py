"""How a slice goes on or ends, how its run is told and closes, how a run is seeded and swept.

Each function is one outside effect, in the order of `shared/read/ending.py`, `shared/orchestrate.py`,
`shared/plan/seed.py` and `shared/sweep.py`.
"""

from tests.model.reading_state import (
    DONE,
    OPEN,
    RECONCILED,
    UNRECONCILED,
    Key,
    PageMessage,
    RunMessage,
    Scenario,
    SliceRow,
    State,
    Step,
    Stepped,
    Worker,
    Wrong,
    fetched,
    pages_of,
    with_message,
    with_row,
)


def end(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    agreed = worker.verdict is not None and worker.verdict.agreed
    following = worker.row._replace(state=RECONCILED if agreed else UNRECONCILED)
    saved = _save(scenario, state, worker, following)
    if saved is None:
        return state, worker._replace(at="read row to end")
    if scenario.wrong is Wrong.OTHERS_ARE_LOOKED_AT_BEFORE_THE_END:
        return saved, worker._replace(at="tell" if worker.run.closed else DONE)
    return saved, worker._replace(at="any open")


def start_over(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    following = worker.row._replace(generation=worker.row.generation + 1)
    saved = _save(scenario, state, worker, following)
    if saved is None:
        return state, worker._replace(at="read row to start over")
    return saved, worker._replace(at="send first", row=following)


def _save(scenario: Scenario, state: State, worker: Worker, following: SliceRow) -> State | None:
    standing = state.slices[worker.slice]
    if standing.etag != worker.row.etag and scenario.wrong is not Wrong.SLICE_WITHOUT_ETAG:
        return None
    row = following._replace(etag=standing.etag + 1)
    return state._replace(slices=with_row(state.slices, worker.slice, row))


def read_row(then: str) -> Step:
    def read(scenario: Scenario, state: State, worker: Worker) -> Stepped:
        """After a lost condition: a change that left the slice open in this generation stands not against ours."""
        row = state.slices[worker.slice]
        if row.state != OPEN or row.generation != worker.row.generation:
            return state, worker._replace(at="take up")
        return state, worker._replace(at=then, row=row)

    return read


def take_up(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    row = state.slices[worker.slice]
    worker = worker._replace(row=row, page=None, verdict=None)
    if row.state == OPEN:
        return state, worker._replace(at="any page")
    stops = scenario.wrong is Wrong.ENDED_SLICE_IS_NOT_TOLD_AGAIN
    return state, worker._replace(at=DONE if stops else "any open")


def any_page(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    begun = pages_of(scenario, state, worker.slice, worker.row.generation)
    stops = scenario.wrong is Wrong.LOST_START_IS_NOT_SENT_AGAIN
    return state, worker._replace(at=DONE if begun or stops else "send first")


def send_first(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    message = PageMessage(Key(worker.slice, worker.row.generation, 1))
    return with_message(state, message), worker._replace(at=DONE)


def any_open(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    run = scenario.slices[worker.slice].run
    if scenario.wrong is Wrong.OTHERS_ARE_LOOKED_AT_BEFORE_THE_END and worker.verdict is not None:
        others = [
            row
            for number, row in enumerate(state.slices)
            if number != worker.slice and scenario.slices[number].run == run and row.state == OPEN
        ]
        return state, worker._replace(at="end", run=worker.run._replace(closed=not others))
    waits = _open_slices(scenario, state, run) and scenario.wrong is not Wrong.RUN_LOOKS_AT_NO_SLICE
    return state, worker._replace(at=DONE if waits else "tell")


def _open_slices(scenario: Scenario, state: State, run: int) -> bool:
    rows = zip(scenario.slices, state.slices, strict=True)
    return any(asked.run == run and row.state == OPEN for asked, row in rows)


def tell(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return with_message(state, RunMessage(scenario.slices[worker.slice].run)), worker._replace(at=DONE)


def _told(worker: Worker) -> int:
    assert isinstance(worker.message, RunMessage)
    return worker.message.run


def read_run(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    run = state.runs[_told(worker)]
    return state, worker._replace(at=DONE if run.closed else "open slices", run=run)


def open_slices(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    waits = _open_slices(scenario, state, _told(worker)) and scenario.wrong is not Wrong.RUN_LOOKS_AT_NO_SLICE
    return state, worker._replace(at=DONE if waits else "close run")


def close_run(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    standing = state.runs[_told(worker)]
    if standing.etag != worker.run.etag:
        return state, worker._replace(at="read run")
    closed = standing._replace(closed=True, etag=standing.etag + 1)
    return state._replace(runs=with_row(state.runs, _told(worker), closed)), worker._replace(at=DONE)


def seed_first(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Send the first page of one slice after the other, then say on the run's row that all are sent."""
    message = PageMessage(Key(worker.slice, 1, 1))
    at = "seed next" if worker.slice + 1 < len(scenario.slices) else "mark seeded"
    return with_message(state, message), worker._replace(at=at)


def seed_next(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return seed_first(scenario, state, worker._replace(slice=worker.slice + 1))


def mark_seeded(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    run = scenario.slices[worker.slice].run
    standing = state.runs[run]
    if standing.etag == worker.run.etag:
        seeded = standing._replace(seeded=True, etag=standing.etag + 1)
        state = state._replace(runs=with_row(state.runs, run, seeded))
    return state, worker._replace(at=DONE)


def next_number(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    pages = pages_of(scenario, state, worker.slice, worker.row.generation)
    key = Key(worker.slice, worker.row.generation, len(pages) + 1)
    return state, worker._replace(at="restart", message=PageMessage(key), holds=False)


def restart(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    saved = _save(scenario, state, worker, worker.row)
    return (state, worker._replace(at=DONE)) if saved is None else (saved, worker._replace(at="send again"))


def send_again(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return with_message(state, PageMessage(fetched(worker))), worker._replace(at=DONE)
