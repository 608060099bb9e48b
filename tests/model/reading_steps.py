"""What one worker does: each function is one outside effect with what is decided in memory on its answer.

`EFFECTS` names the outside effect of each place that a worker can be at; the order is that of
`shared/read/fetch_page.py`, `closing.py`, `ending.py`, `shared/orchestrate.py` and `shared/sweep.py`.
"""

from collections.abc import Mapping

from tests.model import reading_ending as ending
from tests.model.reading_state import (
    DONE,
    OPEN,
    Key,
    Order,
    Page,
    PageMessage,
    Pointer,
    Scenario,
    SliceRow,
    State,
    Step,
    Stepped,
    Verdict,
    Worker,
    Wrong,
    fetched,
    key_of,
    pages_of,
    rows_of,
    said_in,
    verdict_of,
    with_message,
    with_row,
)


def _own(scenario: Scenario, worker: Worker, page: int) -> Key:
    return key_of(scenario, worker.slice, worker.row.generation, page)


def read_slice(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    key = fetched(worker)
    row = state.slices[key.slice]
    worker = worker._replace(slice=key.slice)
    if row.state != OPEN or row.generation != key.generation:
        return state, worker._replace(at="take up")
    return state, worker._replace(at="read pages", row=row)


def read_pages(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    number = fetched(worker).page
    known = pages_of(scenario, state, worker.slice, worker.row.generation)
    verdict = verdict_of(scenario, state, worker.slice, worker.row.generation)
    if verdict is not None and verdict.key.page == number:
        return state, worker._replace(at="read pointer", verdict=verdict)
    entry = next((page for page in known if page.key.page == number), None)
    if entry is not None:
        return state, _succeed(worker, entry)
    previous = next((page for page in known if page.key.page == number - 1), None)
    if previous is None and number != 1:
        return state, worker._replace(at="lost")
    worker = worker._replace(known=known)
    if previous is None or not previous.last:
        return state, worker._replace(at="ask page")
    if number == 2 and previous.last:
        # One answer is one execution of the query: it needs no control.
        ruled = Verdict(_own(scenario, worker, number), agreed=True, read_at=previous.read_at)
        return state, worker._replace(at="decide", verdict=ruled, known=())
    return state, worker._replace(at="ask control")


def _succeed(worker: Worker, entry: Page) -> Worker:
    at = DONE if entry.sent else "look if sent"
    return worker._replace(at=at, page=entry, known=())


def ask_page(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    number = fetched(worker).page
    snapshot = scenario.snapshots[state.time]
    rows = snapshot[number - 1] if number <= len(snapshot) else ()
    before = {identity: amount for page in worker.known for identity, amount in page.rows}
    if any(before.get(identity, amount) != amount for identity, amount in rows):
        return state, _read_again(scenario, worker._replace(known=()))
    fresh = tuple(row for row in rows if row[0] not in before)
    if scenario.wrong is Wrong.HASHES_OUTLIVE_THEIR_WORKER:
        fresh = tuple(row for row in fresh if row[0] not in state.seen)
    page = Page(_own(scenario, worker, number), fresh, number >= len(snapshot), state.time)
    worker = worker._replace(page=page, known=())
    if scenario.wrong is Wrong.HASHES_OUTLIVE_THEIR_WORKER:
        return state, worker._replace(at="note hashes")
    blob_first = fresh and scenario.wrong is not Wrong.PAGE_IS_COMMITTED_BEFORE_ITS_BLOB
    return state, worker._replace(at="stage" if blob_first else "commit")


def note_hashes(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    assert worker.page is not None
    seen = {*state.seen, *(identity for identity, _ in worker.page.rows)}
    at = "stage" if worker.page.rows else "commit"
    return state._replace(seen=tuple(sorted(seen))), worker._replace(at=at)


def stage(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    assert worker.page is not None
    staged = tuple(sorted((*state.staged, (worker.page.key, worker.page.rows))))
    late = scenario.wrong is Wrong.PAGE_IS_COMMITTED_BEFORE_ITS_BLOB
    return state._replace(staged=staged), worker._replace(at="send next" if late else "commit")


def commit(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    assert worker.page is not None
    others = tuple(page for page in state.pages if page.key != worker.page.key)
    if len(others) < len(state.pages) and scenario.wrong is not Wrong.PAGE_IS_OVERWRITTEN:
        stops = scenario.wrong is Wrong.LOSER_OF_THE_INSERT_STOPS
        return state, worker._replace(at=DONE if stops else "read winner")
    state = state._replace(pages=tuple(sorted((*others, worker.page))))
    if scenario.wrong is Wrong.PAGE_IS_COMMITTED_BEFORE_ITS_BLOB and worker.page.rows:
        return state, worker._replace(at="stage")
    marks_first = scenario.wrong is Wrong.SENT_IS_MARKED_BEFORE_SENDING
    return state, worker._replace(at="mark sent" if marks_first else "send next")


def _standing(state: State, worker: Worker) -> Page:
    assert worker.page is not None
    return next(page for page in state.pages if page.key == worker.page.key)


def read_winner(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return state, _succeed(worker, _standing(state, worker))


def look_if_sent(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    return state, worker._replace(at=DONE if _standing(state, worker).sent else "send next")


def send_next(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    assert worker.page is not None
    key = Key(worker.slice, worker.row.generation, worker.page.key.page + 1)
    marked = scenario.wrong is Wrong.SENT_IS_MARKED_BEFORE_SENDING
    return with_message(state, PageMessage(key)), worker._replace(at=DONE if marked else "mark sent")


def mark_sent(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    standing = _standing(state, worker)
    pages = tuple(page._replace(sent=True) if page is standing else page for page in state.pages)
    first = scenario.wrong is Wrong.SENT_IS_MARKED_BEFORE_SENDING
    return state._replace(pages=pages), worker._replace(at="send next" if first else DONE)


def ask_control(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    ours = sum(amount for page in worker.known for _, amount in page.rows)
    theirs = sum(amount for rows in scenario.snapshots[state.time] for _, amount in rows)
    agreed = ours == theirs or scenario.wrong is Wrong.NO_CONTROL
    verdict = Verdict(_own(scenario, worker, fetched(worker).page), agreed, state.time)
    follows = scenario.wrong is Wrong.VERDICT_IS_STORED_LAST
    return state, worker._replace(at="read pointer" if follows else "decide", verdict=verdict, known=())


def decide(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    assert worker.verdict is not None
    if any(verdict.key == worker.verdict.key for verdict in state.verdicts):
        return state, worker._replace(at="read verdict")
    state = state._replace(verdicts=tuple(sorted((*state.verdicts, worker.verdict))))
    last = scenario.wrong is Wrong.VERDICT_IS_STORED_LAST
    return state, worker._replace(at="end" if last else "read pointer")


def read_verdict(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    verdict = verdict_of(scenario, state, worker.slice, worker.row.generation)
    return state, worker._replace(at="read pointer", verdict=verdict)


def read_pointer(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    """Read the day's pointer and see whether it has to move: only from an older reading to a newer one."""
    assert worker.verdict is not None
    if not worker.verdict.agreed:
        return state, _read_again(scenario, worker)
    pointer = state.pointers[scenario.slices[worker.slice].day]
    blind = scenario.wrong is Wrong.POINTER_WITHOUT_ORDER
    order = _order(scenario, state, worker)
    if pointer is not None and _crosses(scenario, state, order, pointer.order):
        return state, _read_again(scenario, worker)
    if pointer is not None and pointer.order >= order and not blind:
        return state, _after_the_move(scenario, worker)
    return state, worker._replace(at="move pointer", pointer=pointer)


def move_pointer(scenario: Scenario, state: State, worker: Worker) -> Stepped:
    day = scenario.slices[worker.slice].day
    standing, read = state.pointers[day], worker.pointer
    if standing != read and scenario.wrong is not Wrong.POINTER_WITHOUT_ETAG:
        return state, worker._replace(at="read pointer", pointer=None)
    order, newest = _order(scenario, state, worker), state.newest[day]
    moved = Pointer(order, 0 if standing is None else standing.etag + 1)
    held = set(rows_of(scenario, state, order.slice, order.generation))
    told = [time for time, said in said_in(scenario, state, order).items() if set(said) == held]
    state = state._replace(
        pointers=with_row(state.pointers, day, moved),
        newest=with_row(state.newest, day, order if newest is None else max(newest, order)),
        told=with_row(state.told, day, max(state.told[day], min(told, default=0))),
    )
    return state, _after_the_move(scenario, worker._replace(pointer=None))


def _order(scenario: Scenario, state: State, worker: Worker) -> Order:
    assert worker.verdict is not None
    times = [page.read_at for page in pages_of(scenario, state, worker.slice, worker.row.generation)]
    if scenario.wrong is Wrong.CONTROL_DATES_THE_READING:
        times = [worker.verdict.read_at]
    return Order(min(times), max(times), worker.slice, worker.row.generation)


def _crosses(scenario: Scenario, state: State, order: Order, other: Order) -> bool:
    """Tell whether a reading must be made once more, since nobody can say which of the two is newer."""
    if order.generation >= scenario.readings or scenario.wrong is Wrong.CROSSING_READINGS_COUNT:
        return False
    held, theirs = (rows_of(scenario, state, one.slice, one.generation) for one in (order, other))
    return order.crosses(other) and set(held) != set(theirs)


def _after_the_move(scenario: Scenario, worker: Worker) -> Worker:
    if scenario.wrong is Wrong.OTHERS_ARE_LOOKED_AT_BEFORE_THE_END:
        return worker._replace(at="any open")
    return worker._replace(at="decide" if scenario.wrong is Wrong.VERDICT_IS_STORED_LAST else "end")


def _read_again(scenario: Scenario, worker: Worker) -> Worker:
    exhausted = worker.row.generation >= scenario.readings
    return worker._replace(at="end" if exhausted else "start over", page=None)


def forget(scenario: Scenario, worker: Worker) -> Worker:
    """Give the worker without what it will never look at again, so that equal futures are one state."""
    match worker.at:
        case "any open" | "tell" if scenario.wrong is not Wrong.OTHERS_ARE_LOOKED_AT_BEFORE_THE_END:
            return Worker(worker.at, worker.message, worker.holds, worker.slice)
        case "take up":
            return Worker(worker.at, worker.message, worker.holds, worker.slice)
        case "any page" | "send first":
            row = SliceRow(generation=worker.row.generation)
            return Worker(worker.at, worker.message, worker.holds, worker.slice, row)
        case "stage" | "commit" | "read winner" | "look if sent" | "send next" | "mark sent" if worker.page:
            ahead = worker.at in {"stage", "commit"}
            page = worker.page if ahead else Page(worker.page.key, (), last=False, read_at=0)
            row = SliceRow(generation=worker.row.generation)
            return Worker(worker.at, worker.message, worker.holds, worker.slice, row, page=page)
        case _:
            return worker


STEPS: Mapping[str, tuple[str, Step]] = {
    "read slice": ("table get CostRuns", read_slice),
    "read pages": ("table query CostHashes", read_pages),
    "ask page": ("api post", ask_page),
    "note hashes": ("table insert CostHashes", note_hashes),
    "stage": ("blob put pages", stage),
    "commit": ("table insert CostHashes", commit),
    "read winner": ("table query CostHashes", read_winner),
    "look if sent": ("table get CostHashes", look_if_sent),
    "send next": ("queue send cost-pages", send_next),
    "mark sent": ("table merge CostHashes", mark_sent),
    "ask control": ("api post", ask_control),
    "decide": ("table insert CostHashes", decide),
    "read verdict": ("table query CostHashes", read_verdict),
    "read pointer": ("table query CostDays", read_pointer),
    "move pointer": ("table insert CostDays", move_pointer),
    "end": ("table replace CostRuns", ending.end),
    "read row to end": ("table get CostRuns", ending.read_row("end")),
    "start over": ("table replace CostRuns", ending.start_over),
    "read row to start over": ("table get CostRuns", ending.read_row("start over")),
    "take up": ("table get CostRuns", ending.take_up),
    "any page": ("table query CostHashes", ending.any_page),
    "send first": ("queue send cost-pages", ending.send_first),
    "any open": ("table query CostRuns", ending.any_open),
    "tell": ("queue send cost-runs", ending.tell),
    "read run": ("table get CostRuns", ending.read_run),
    "open slices": ("table query CostRuns", ending.open_slices),
    "close run": ("table replace CostRuns", ending.close_run),
    "seed first": ("queue send cost-pages", ending.seed_first),
    "seed next": ("queue send cost-pages", ending.seed_next),
    "mark seeded": ("table replace CostRuns", ending.mark_seeded),
    "next number": ("table query CostHashes", ending.next_number),
    "restart": ("table replace CostRuns", ending.restart),
    "send again": ("queue send cost-pages", ending.send_again),
}
"""Where a worker can be: what it does there to the world outside, and what becomes of it."""
