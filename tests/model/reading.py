"""The protocol of reading, from a seeded run to its close, at the granularity of single outside effects.

Two workers take messages in any order, each from a queue that may hand a message out again while it is worked;
a worker may end before any of its effects, and after its last. The provider's data changes at any moment.

What is left out, and why that is sound, or else a bound:

- Time. A message that is hidden for a while, for a place at the quota gate or after a stumble of the service, is
  a message put back: to the others the same as a worker that did nothing. The limits on tries and restarts are
  there to end what never works; here everything works when it is tried again. The provider's clock is the number
  of its last snapshot, which may be equal to the one before: then time passed and nothing changed.
- Amounts are powers of two, so that equal sums are equal records, but for a cost that changes hands: of that no
  control can tell. Two costs that change hands while one reading is made could make it a mixture of both, which no
  control of its sums could tell either: there is one at most.
- What a worker remembers of a generation. Committed pages never change but for the mark of what was sent, and
  that is asked for anew.
- Equal blobs are one: a blob's name is its own, so which of two equal ones an entity names makes no difference.
- Days in a run: closing looks at slices alone. What it does with days is in `publishing.py`.
- Vanished days, refusals and drifted schemas end a slice as a mismatch does, over the same steps, but for what is
  noted at its days first: that is not looked at here.
- Bounds: two workers, two pages, one fault of a kind or two of different kinds. They are no proof beyond that.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tests.model.reading_state import (
    DONE,
    OPEN,
    RECONCILED,
    Asked,
    Key,
    Message,
    PageMessage,
    Pointer,
    Rows,
    RunRow,
    Scenario,
    SliceRow,
    State,
    Worker,
    Wrong,
    pages_of,
    rows_of,
    said_in,
    verdict_of,
    with_message,
    with_workers,
)
from tests.model.reading_steps import STEPS, forget
from tests.model.search import Model, Move

WORKERS = 2
SEEDING = ("seed first", "seed next", "mark seeded")

MOVED = (((("a", 1),), (("b", 2),)), ((("b", 4),), (("a", 1),)))
"""Two pages. Then b is restated and moves to the first page, and a to the second."""

THERE_AND_BACK = (((("a", 1),),), ((("a", 2),),), ((("a", 1),),))
"""One page whose only record is corrected, and corrected back."""

HANDS = (((("a", 1),), (("b", 2),)), ((("c", 1),), (("b", 2),)))
"""Two pages. Then the cost of a is charged to c: the total stays."""

LATE = (((("a", 1),), (("b", 2),)),) * 2 + (((("a", 1),), (("b", 4),)),)
"""Two pages. Some time passes, then b is restated."""

MOVING = Scenario(MOVED, (Asked(0, 0),))
STILL = Scenario(MOVED[:1], (Asked(0, 0),))
TWO_SLICES = Scenario(THERE_AND_BACK[:1], (Asked(0, 0), Asked(0, 1)))
TWO_RUNS = Scenario(THERE_AND_BACK, (Asked(0, 0), Asked(1, 0)))

SCENARIOS = {
    "pages move, a worker dies": replace(MOVING, crashes=1),
    "pages move, a message is worked twice": replace(MOVING, expiries=1),
    "a worker dies, a message is worked twice": replace(STILL, crashes=1, expiries=1),
    "pages move, a message is lost": replace(MOVING, losses=1),
    "a sweep in haste, a worker dies": replace(STILL, haste=1, crashes=1),
    "two slices, a worker or the seeder dies": replace(TWO_SLICES, crashes=1, seeding=True),
    "two slices, a message is worked twice": replace(TWO_SLICES, expiries=1),
    "two runs on one day": TWO_RUNS,
    "two runs, a cost changes hands": Scenario(HANDS, (Asked(0, 0), Asked(1, 0))),
    "two runs that cross": Scenario(LATE, (Asked(0, 0), Asked(1, 0))),
}

NOT_LOST = "no record is lost: a pointer's pages hold all that the provider said"
NOT_TWICE = "no record counts twice"
COMPLETE = "a pointer names a generation that is closed and agreed"
NEVER_BACK = "an older reading never replaces a newer one"
NEVER_OLDER = "what the provider said before is never believed again"
ALL_ENDED = "no run closes while one of its slices is open"
IN_ORDER = "no page is asked for before the page before it"
NEVER_STALLS = "nothing stalls unless a message was lost"

PAGE_IN_THE_MIDDLE = (
    "table get CostRuns",
    "table query CostHashes",
    "api post",
    "blob put pages",
    "table insert CostHashes",
    "queue send cost-pages",
    "table merge CostHashes",
)
"""The outside effects of a page that has a successor, in their order."""

CLOSING_WITH_CONTROL = (
    "table get CostRuns",
    "table query CostHashes",
    "api post",
    "table insert CostHashes",
    "table query CostDays",
    "table insert CostDays",
    "table replace CostRuns",
    "table query CostRuns",
    "queue send cost-runs",
)
"""The outside effects of the closing of a slice of one day, the last of its run."""


def model(scenario: Scenario) -> Model[State]:
    """Give the model of a scenario."""

    def moves(state: State) -> Iterator[Move[State]]:
        yield from _works(scenario, state)
        yield from _deliveries(state)
        yield from _sweeps(scenario, state)
        yield from _faults(scenario, state)

    return Model(start(scenario), moves, _rules(scenario), lambda state: _is_good_end(scenario, state))


def wrongly(scenario: Scenario, wrong: Wrong) -> Model[State]:
    """Give the model of a scenario in which one thing is done wrongly."""
    return model(replace(scenario, wrong=wrong))


def start(scenario: Scenario) -> State:
    """Give the world in which all rows of the runs are written, and their messages sent or about to be."""
    runs = len({asked.run for asked in scenario.slices})
    days = len({asked.day for asked in scenario.slices})
    first: tuple[Message, ...] = tuple(PageMessage(Key(n, 1, 1)) for n in range(len(scenario.slices)))
    return State(
        time=0,
        slices=(SliceRow(),) * len(scenario.slices),
        runs=(RunRow(seeded=not scenario.seeding),) * runs,
        pages=(),
        verdicts=(),
        staged=(),
        pointers=(None,) * days,
        newest=(None,) * days,
        told=(0,) * days,
        seen=(),
        queue=() if scenario.seeding else first,
        workers=(Worker("seed first", holds=False),) if scenario.seeding else (),
        crashes=scenario.crashes,
        expiries=scenario.expiries,
        losses=scenario.losses,
        haste=scenario.haste,
        excused=False,
    )


def _without(state: State, worker: Worker) -> tuple[Worker, ...]:
    place = state.workers.index(worker)
    return (*state.workers[:place], *state.workers[place + 1 :])


def _works(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    """Let each worker do its next effect; the last is that its message is deleted, if it is still its own."""
    for worker in state.workers:
        others = _without(state, worker)
        if worker.at == DONE:
            yield Move("queue delete", state._replace(workers=others))
        elif worker.at in STEPS:
            effect, step = STEPS[worker.at]
            after, went = step(scenario, state, worker)
            if went.at == DONE:
                # Who holds no message any more has nothing left to do.
                working = [Worker(DONE, went.message)] if went.holds else []
            else:
                working = [forget(scenario, went)]
            after = with_workers(after, *others, *working)
            yield Move(f"{effect} ({worker.at})", _without_orphans(scenario, after))


def _without_orphans(scenario: Scenario, state: State) -> State:
    """Forget blobs that nothing names and nobody is about to name: no step would ever look at them again."""
    if len(state.staged) == len(state.pages) or scenario.wrong is Wrong.BLOBS_ARE_LISTED:
        return state
    named = {(page.key, page.rows) for page in state.pages}
    named.update((worker.page.key, worker.page.rows) for worker in state.workers if worker.page is not None)
    return state._replace(staged=tuple(blob for blob in dict.fromkeys(state.staged) if blob in named))


def _deliveries(state: State) -> Iterator[Move[State]]:
    if len(state.workers) < WORKERS:
        for message in dict.fromkeys(state.queue):
            left = list(state.queue)
            left.remove(message)
            at = "read slice" if isinstance(message, PageMessage) else "read run"
            taken = state._replace(queue=tuple(left))
            yield Move(f"deliver {message}", with_workers(taken, *state.workers, Worker(at, message)))


def _sweeps(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    """Sweep what has stalled: no message is left, and nobody is at work. In haste, sweep what has not."""
    stalled = _is_quiet(state)
    if scenario.wrong is Wrong.NO_SWEEP or len(state.workers) == WORKERS or not (stalled or state.haste):
        return
    left = state if stalled else state._replace(haste=state.haste - 1)
    for number, run in enumerate(state.runs):
        pieces = [piece for piece, asked in enumerate(scenario.slices) if asked.run == number]
        waiting = [piece for piece in pieces if state.slices[piece].state == OPEN]
        if run.closed:
            continue
        begun = []
        if not run.seeded:
            begun.append(Worker("seed first", holds=False, run=run))
        elif not waiting:
            begun.append(Worker("tell", holds=False, slice=pieces[0]))
        begun += [
            Worker("next number", holds=False, slice=piece, row=state.slices[piece]) for piece in waiting
        ]
        for worker in begun:
            label = f"sweep run {number}: {worker.at} of slice {worker.slice}"
            yield Move(label, with_workers(left, *state.workers, worker), fault=not stalled)


def _faults(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    if state.time + 1 < len(scenario.snapshots):
        yield Move("the provider changes its mind", state._replace(time=state.time + 1), fault=True)
    for worker in state.workers:
        others = _without(state, worker)
        if state.crashes:
            seeds = worker.at in SEEDING
            dead = state._replace(crashes=state.crashes - 1, excused=state.excused or seeds)
            if worker.holds and worker.message is not None:
                dead = with_message(dead, worker.message)
            yield Move(f"a worker ends before: {worker.at}", with_workers(dead, *others), fault=True)
        if state.expiries and worker.holds and worker.message is not None:
            again = with_message(state._replace(expiries=state.expiries - 1), worker.message)
            label = f"visibility runs out before: {worker.at}"
            yield Move(label, with_workers(again, *others, worker._replace(holds=False)), fault=True)
    if state.losses:
        for message in dict.fromkeys(state.queue):
            left_over = list(state.queue)
            left_over.remove(message)
            lost = state._replace(queue=tuple(left_over), losses=state.losses - 1, excused=True)
            yield Move(f"{message} is lost", lost, fault=True)


def _is_quiet(state: State) -> bool:
    return not state.queue and not state.workers


def _rules(scenario: Scenario) -> Mapping[str, Callable[[State], bool]]:
    def said_and_counted(state: State) -> Iterator[tuple[Mapping[int, Rows], Rows]]:
        """Give, for each pointer, what the provider said while it was read, and what its pages hold."""
        for pointer in state.pointers:
            if pointer is not None:
                order = pointer.order
                held = rows_of(scenario, state, order.slice, order.generation)
                yield said_in(scenario, state, order), held

    def never_older(state: State) -> bool:
        believed = zip(state.told, state.pointers, strict=True)
        return all(
            any(time >= told and set(rows) == set(held) for time, rows in said.items())
            for told, pointer in believed
            if pointer is not None
            for said, held in [(said_in(scenario, state, pointer.order), _held(scenario, state, pointer))]
        )

    def complete(state: State) -> bool:
        for pointer in state.pointers:
            if pointer is not None:
                *_, piece, generation = pointer.order
                pages = pages_of(scenario, state, piece, generation)
                verdict = verdict_of(scenario, state, piece, generation)
                if verdict is None or not verdict.agreed or not pages[-1].last:
                    return False
        return True

    def all_ended(state: State) -> bool:
        rows = zip(scenario.slices, state.slices, strict=True)
        return not any(state.runs[asked.run].closed and row.state == OPEN for asked, row in rows)

    return {
        NOT_LOST: lambda state: all(
            any(set(rows) <= set(held) for rows in said.values()) for said, held in said_and_counted(state)
        ),
        NOT_TWICE: lambda state: all(
            any(len(held) <= len(rows) for rows in said.values()) for said, held in said_and_counted(state)
        ),
        COMPLETE: complete,
        NEVER_BACK: lambda state: [p and p.order for p in state.pointers] == list(state.newest),
        NEVER_OLDER: never_older,
        ALL_ENDED: all_ended,
        IN_ORDER: lambda state: all(worker.at != "lost" for worker in state.workers),
        NEVER_STALLS: lambda state: (
            state.excused or not _is_quiet(state) or all(run.closed for run in state.runs)
        ),
    }


def _held(scenario: Scenario, state: State, pointer: Pointer) -> Rows:
    return rows_of(scenario, state, pointer.order.slice, pointer.order.generation)


def _is_good_end(scenario: Scenario, state: State) -> bool:
    ended = all(run.closed for run in state.runs) and all(row.state == RECONCILED for row in state.slices)
    return _is_quiet(state) and ended
