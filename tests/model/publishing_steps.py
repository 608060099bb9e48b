"""What one worker does: each function is one outside effect with what is decided in memory on its answer.

`STEPS` names the outside effect of each place that a worker can be at; the order is that of
`shared/ledger/publish_day.py`, `standing.py`, `restore_row.py`, `hold.py` and `partitions.py`.
"""

from collections.abc import Mapping

from tests.model import publishing_runs as runs
from tests.model.publishing_state import (
    DAILY,
    DONE,
    LEDGER,
    MANIFEST,
    NOBODY,
    READINGS,
    RUNS,
    Blob,
    Content,
    Etags,
    Message,
    Publication,
    Scenario,
    State,
    Step,
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


def read_run_of_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Read the run's row for its list of scopes, which never changes."""
    return state, worker._replace(at="read day")


def read_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    task = state.tasks[worker.message.run]
    if task is None or task.done:
        return state, worker._replace(at="any open")
    if scenario.wrong is Wrong.DAY_IS_ENDED_FIRST:
        return state, worker._replace(at="end day", task=task)
    return state, _from_the_start(scenario, worker._replace(task=task))


def _from_the_start(scenario: Scenario, worker: Worker) -> Worker:
    """Forget what was read: a lost condition starts over."""
    first = scenario.wrong is Wrong.POINTERS_ARE_READ_FIRST
    at = "read pointers" if first else "read publication"
    return Worker(at, worker.message, worker.holds, task=worker.task)


def read_publication(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    last = scenario.wrong is Wrong.BLOBS_ARE_LISTED_LAST
    return state, worker._replace(
        at="read pointers" if last else "list ledger", publication=state.publication
    )


def list_ledger(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    listed = tuple(etag_of(state.blobs[path]) for path in LEDGER)
    return state, worker._replace(at="list daily", listed=listed)


def list_daily(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return state, worker._replace(at="list manifest", listed=(*worker.listed, etag_of(state.blobs[DAILY])))


def list_manifest(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    worker = worker._replace(listed=(*worker.listed, etag_of(state.blobs[MANIFEST])))
    if scenario.wrong in {Wrong.POINTERS_ARE_READ_FIRST, Wrong.BLOBS_ARE_LISTED_LAST}:
        return state, _compared(scenario, worker)
    return state, worker._replace(at="read pointers")


def read_pointers(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    worker = worker._replace(reading=len(state.runs) - 1)
    if scenario.wrong is Wrong.POINTERS_ARE_READ_FIRST:
        return state, worker._replace(at="read publication")
    if scenario.wrong is Wrong.BLOBS_ARE_LISTED_LAST:
        return state, worker._replace(at="list ledger")
    return state, _compared(scenario, worker)


def _compared(scenario: Scenario, worker: Worker) -> Worker:
    """Go on as the day stands: published already, every blob as it was left, or not."""
    left = worker.publication is not None and worker.publication.files == worker.listed
    looked = left or scenario.wrong is Wrong.FILES_ARE_NOT_LOOKED_AT
    if looked and not differs(scenario, worker.reading, worker.publication):
        return _published(scenario, worker)
    known = None if worker.publication is None else worker.publication.files[MANIFEST]
    if worker.listed[MANIFEST] not in {None, known}:
        return worker._replace(at="get announced")
    return _reading_ledger(scenario, worker)


def get_announced(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Read what was announced: the manifest is not the row's, so its publisher died, or is about to save its own."""
    if state.announced is None:
        return state, _reading_ledger(scenario, worker)
    return state, worker._replace(at="get manifest", announced=state.announced)


def get_manifest(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    blob = state.blobs[MANIFEST]
    if blob is None or blob.etag != worker.listed[MANIFEST]:
        return state, _from_the_start(scenario, worker)
    assert worker.announced is not None
    over = worker.announced.etag == (_etag(worker.publication) or 0)
    if blob.content != worker.announced.digest or not (
        over or scenario.wrong is Wrong.ANY_ROW_IS_RESTORED_OVER
    ):
        return state, _reading_ledger(scenario, worker._replace(announced=None))
    return state, worker._replace(at="restore row")


def restore_row(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Save the row of the publication that has its manifest, as it was announced, and start over from there."""
    assert worker.announced is not None
    standing = state.publication
    blind = scenario.wrong is Wrong.ROW_IS_RESTORED_WITHOUT_ETAG
    if _etag(standing) != _etag(worker.publication) and not blind:
        return state, _from_the_start(scenario, worker)
    older = standing is not None and standing.by > worker.announced.by
    etag = 1 if standing is None else standing.etag + 1
    files = (*worker.announced.files[:MANIFEST], worker.listed[MANIFEST])
    row = worker.announced._replace(files=files, etag=etag)
    state = state._replace(publication=row, replaced=state.replaced or older)
    return state, _from_the_start(scenario, worker)


def _etag(publication: Publication | None) -> int | None:
    return None if publication is None else publication.etag


def _published(scenario: Scenario, worker: Worker) -> Worker:
    early = scenario.wrong is Wrong.DAY_IS_ENDED_FIRST
    return Worker("any open" if early else "end day", worker.message, worker.holds, task=worker.task)


def _reading_ledger(scenario: Scenario, worker: Worker) -> Worker:
    """Go to the next listed partition, or, when all were read, to what has to be written."""
    while len(worker.prior) < len(LEDGER):
        if worker.listed[len(worker.prior)] is not None:
            return worker._replace(at="get partition")
        worker = worker._replace(prior=(*worker.prior, None))
    return _planned(scenario, worker)


def get_partition(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    path = len(worker.prior)
    blob = state.blobs[path]
    if blob is None or blob.etag != worker.listed[path]:
        return state, _from_the_start(scenario, worker)
    return state, _reading_ledger(scenario, worker._replace(prior=(*worker.prior, blob.content)))


def _planned(scenario: Scenario, worker: Worker) -> Worker:
    """Lay what is believed over what lies there: what changed is written, shrinking partitions first."""
    believed: tuple[Content | None, ...] = READINGS[scenario.readings[worker.reading]]
    unseen = scenario.wrong is Wrong.LEDGER_IS_BELIEVED_UNSEEN
    if unseen and not differs(scenario, worker.reading, worker.publication):
        believed = worker.prior
    growth: list[tuple[int, int, Content]] = []
    for path, prior in zip(LEDGER, worker.prior, strict=True):
        content = believed[path] or ""
        if content != (prior or ""):
            growth.append((len(content) - len(prior or ""), path, content))
    growth.sort(reverse=scenario.wrong is Wrong.GROWING_PARTITIONS_FIRST)
    todo = tuple((path, content) for _, path, content in growth)
    expected = None if worker.publication is None else worker.publication.etag
    planned = worker._replace(todo=todo, prior=(), expected=expected, left=_left(worker))
    if todo and _is_half_written(worker) and scenario.wrong is not Wrong.NOBODY_IS_SHUT_OUT:
        return planned._replace(at="hold row")
    return _writing(planned._replace(publication=None))


def _is_half_written(worker: Worker) -> bool:
    """Tell whether a partition lies there that the publication did not leave so."""
    return any(_is_anothers(worker, path) for path in LEDGER)


def _is_anothers(worker: Worker, path: int) -> bool:
    return worker.listed[path] not in {None, _left(worker)[path]}


def _left(worker: Worker) -> Etags:
    return (None,) * len(LEDGER) if worker.publication is None else worker.publication.files[: len(LEDGER)]


def hold_row(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Change the row, so that whoever wrote what lies there can neither save its own nor have it restored."""
    standing = state.publication
    if _etag(standing) != worker.expected:
        return state, _from_the_start(scenario, worker)
    row = Publication("", (None,) * len(state.blobs), 0, NOBODY) if standing is None else standing
    row = row._replace(etag=row.etag + 1)
    held = worker._replace(publication=None, expected=row.etag)
    return state._replace(publication=row), _writing(held)


def _writing(worker: Worker) -> Worker:
    if worker.todo:
        return worker._replace(at="put partition")
    return worker._replace(at="put daily" if worker.listed[DAILY] is None else "get daily")


def _past(standing: Blob | None, left: int | None) -> tuple[int, ...]:
    """Give what stays of a partition's history: what the publication left, as far as that can be found."""
    told = () if standing is None else standing.told
    return told[: told.index(left) + 1] if left in told else ()


def _put(scenario: Scenario, state: State, worker: Worker, path: int, content: Content) -> Stepped | None:
    """Replace a blob under the ETag it was listed with; None if it is another by now."""
    standing = state.blobs[path]
    if etag_of(standing) != worker.listed[path] and scenario.wrong is not Wrong.BLOBS_WITHOUT_ETAG:
        return None
    past = _past(standing, worker.left[path]) if path in LEDGER else ()
    blob = Blob(content, 1 if standing is None else standing.etag + 1, worker.reading, past)
    older = standing is not None and standing.by > worker.reading
    state = state._replace(blobs=with_row(state.blobs, path, blob), replaced=state.replaced or older)
    return state, worker._replace(listed=with_row(worker.listed, path, blob.etag))


def put_partition(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    (path, content), *later = worker.todo
    done = _put(scenario, state, worker, path, content)
    if done is None:
        return state, _from_the_start(scenario, worker)
    return done[0], _writing(done[1]._replace(todo=tuple(later)))


def get_daily(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    blob = state.blobs[DAILY]
    if blob is None or blob.etag != worker.listed[DAILY]:
        return state, _from_the_start(scenario, worker)
    same = blob.content == scenario.readings[worker.reading]
    return state, worker._replace(at="announce" if same else "put daily")


def put_daily(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    done = _put(scenario, state, worker, DAILY, scenario.readings[worker.reading])
    if done is None:
        return state, _from_the_start(scenario, worker)
    return done[0], done[1]._replace(at="announce")


def announce(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Write what the row will say, over what anybody has announced before."""
    digest = scenario.readings[worker.reading]
    announced = Publication(digest, (*worker.listed[:MANIFEST], None), worker.expected or 0, worker.reading)
    return state._replace(announced=announced), worker._replace(at="put manifest")


def put_manifest(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    done = _put(scenario, state, worker, MANIFEST, scenario.readings[worker.reading])
    if done is None:
        return state, _from_the_start(scenario, worker)
    return done[0], done[1]._replace(at="save publication")


def save_publication(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    standing = state.publication
    blind = scenario.wrong is Wrong.PUBLICATION_WITHOUT_ETAG
    if _etag(standing) != worker.expected and not blind:
        return state, _from_the_start(scenario, worker)
    digest = scenario.readings[worker.reading]
    etag = 1 if standing is None else standing.etag + 1
    older = standing is not None and standing.by > worker.reading
    publication = Publication(digest, worker.listed, etag, worker.reading)
    state = state._replace(publication=publication, replaced=state.replaced or older)
    if scenario.wrong is Wrong.NO_SECOND_LOOK_AT_THE_POINTERS:
        return state, _published(scenario, worker)
    reading = worker.reading
    return state, Worker("look again", worker.message, worker.holds, reading=reading, task=worker.task)


def look_again(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    now = len(state.runs) - 1
    if scenario.readings[now] != scenario.readings[worker.reading]:
        return state, _from_the_start(scenario, worker)
    return state, _published(scenario, worker)


def end_day(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """End the day's row; if it is another by now, what was written to it counts."""
    run = worker.message.run
    standing = state.tasks[run]
    if standing is not None and standing == worker.task:
        state = state._replace(tasks=with_row(state.tasks, run, Task(done=True)))
    if scenario.wrong is Wrong.DAY_IS_ENDED_FIRST:
        return state, _from_the_start(scenario, worker)
    return state, Worker("any open", worker.message, worker.holds)


def any_open(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return state, worker._replace(at=DONE if is_open(state, worker.message.run) else "tell")


def tell(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return with_message(state, Message(RUNS, worker.message.run)), worker._replace(at=DONE)


STEPS: Mapping[str, tuple[str, Step]] = {
    "read run of day": ("table get CostRuns", read_run_of_day),
    "read day": ("table get CostRuns", read_day),
    "read publication": ("table get CostDays", read_publication),
    "list ledger": ("blob list ledger", list_ledger),
    "list daily": ("blob list daily", list_daily),
    "list manifest": ("blob list manifests", list_manifest),
    "read pointers": ("table query CostDays", read_pointers),
    "get announced": ("table get CostDays", get_announced),
    "get manifest": ("blob get manifests", get_manifest),
    "get partition": ("blob get ledger", get_partition),
    "restore row": ("table replace CostDays", restore_row),
    "hold row": ("table replace CostDays", hold_row),
    "put partition": ("blob put ledger", put_partition),
    "get daily": ("blob get daily", get_daily),
    "put daily": ("blob put daily", put_daily),
    "announce": ("table upsert CostDays", announce),
    "put manifest": ("blob put manifests", put_manifest),
    "save publication": ("table replace CostDays", save_publication),
    "look again": ("table query CostDays", look_again),
    "end day": ("table replace CostRuns", end_day),
    "any open": ("table query CostRuns", any_open),
    "tell": ("queue send cost-runs", tell),
    "read run": ("table get CostRuns", runs.read_run),
    "compare": ("table query CostDays", runs.compare),
    "look at files": ("blob list", runs.look_at_files),
    "plan day": ("table insert CostRuns", runs.plan_day),
    "mark publishing": ("table replace CostRuns", runs.mark_publishing),
    "open days": ("table query CostRuns", runs.open_days),
    "send day": ("queue send cost-days", runs.send_day),
    "close run": ("table replace CostRuns", runs.close_run),
    "restart day": ("table replace CostRuns", runs.restart_day),
}
"""Where a worker can be: what it does there to the world outside, and what becomes of it."""
