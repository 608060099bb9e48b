"""The protocol of publishing a day, at the granularity of single outside effects.

The readings of several runs move the day's pointer, one after the other; each run then compares pointer and
publication, has the day published if they differ, and closes. A cost moves from one partition to the other and
back. Publishers may pause anywhere, end before any of their effects, and be handed one message twice.

What is left out, and why that is sound, or else a bound:

- How a reading comes to move the pointer is in `reading.py`; here it is one effect, and pointers only go on.
- Staged pages never change, so to read them is to know what the pointer's reading says.
- The scope list: a change of it is to a publisher the same as a pointer that moved.
- A settled day's history, but for one thing: which earlier files a partition can be taken back to.
- That a publisher starts over a bounded number of times, and that sweep gives a day up in the end: both are there
  to end what never works, and leave the day marked as unfinished.
- Two publishers at once are no assumption but a scenario; but that no cost is seen twice *at any moment* is
  promised for one at a time. One that was paused between two partitions and is overtaken may put its second one
  beside the other's, until its next condition is lost and it starts over.
- Bounds: two workers, two partitions, a day read three times, one fault of a kind or two of different kinds.
- A reader sees both partitions at one moment. One that reads them one after the other, while the cost moves
  between them, can see it twice or not at all whatever the order of writing is, and needs the manifest.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tests.model.publishing_state import (
    CLOSED,
    DAILY,
    DAYS,
    DONE,
    FIRST,
    MANIFEST,
    READINGS,
    RUNS,
    SECOND,
    Blob,
    Message,
    Publication,
    Run,
    Scenario,
    State,
    Worker,
    Wrong,
    in_short,
    with_message,
    with_workers,
)
from tests.model.publishing_steps import STEPS
from tests.model.search import Model, Move

JOINED = frozenset(
    {
        *(
            "read run",
            "compare",
            "look at files",
            "plan day",
            "mark publishing",
            "open days",
            "send day",
            "close run",
        ),
        *("read run of day", "read day", "get partition", "get daily", "end day", "any open", "tell"),
        "restart day",
    }
)
"""Places where nobody else comes in between, in the scenarios of two workers: alone, all are looked at.

What orchestrate does, and how a day ends, concerns rows of its own run alone, but for one look at the day. A blob
is read under the ETag that it was listed with: read at once or later, it is the same or the condition is lost.
"""

LISTINGS = frozenset({"list daily", "list manifest"})

OVERTAKEN = "overtaken by its own message, a worker dies"
"""A publisher is paused until another has worked its message, wakes, and dies half-way.

No message is left that would have the day looked at again, so what it left cannot be right when all have come to
their end: it is put right by the next run, since that looks at the files.
"""

FROM_NOTHING = Scenario("AB")
THERE_AND_BACK = Scenario("ABA", stands=True)

SCENARIOS = {
    "one after the other, from nothing": replace(FROM_NOTHING, workers=1, crashes=1, losses=1),
    "one after the other, dying twice": replace(THERE_AND_BACK, workers=1, crashes=2),
    "two at once, from nothing, a worker dies": replace(FROM_NOTHING, crashes=1),
    "two at once, a worker dies": replace(THERE_AND_BACK, crashes=1),
    "two at once, a message is worked twice": replace(THERE_AND_BACK, expiries=1, at_once=LISTINGS),
    "two at once, a sweep in haste": replace(THERE_AND_BACK, haste=1, at_once=LISTINGS),
    OVERTAKEN: replace(THERE_AND_BACK, expiries=1, crashes=1, again=True, at_once=LISTINGS),
}

NEVER_TWICE = "no cost is in two partitions at one moment"
NEVER_BACK = "what was written for a newer reading is never replaced for an older one"
RIGHT_IN_THE_END = "when all have come to their end, files and publication are those of the latest reading"
HISTORY_STANDS = "what the publication left of a settled day can be found in what lies there"
NEVER_STALLS = "nothing stalls unless a message was lost"

DAY_OF_TWO_PARTITIONS = (
    "table get CostRuns",
    "table get CostRuns",
    "table get CostDays",
    "blob list ledger",
    "blob list daily",
    "blob list manifests",
    "table query CostDays",
    "blob get ledger",
    "blob get ledger",
    "blob put ledger",
    "blob put ledger",
    "blob get daily",
    "blob put daily",
    "table upsert CostDays",
    "blob put manifests",
    "table replace CostDays",
    "table query CostDays",
    "table replace CostRuns",
    "table query CostRuns",
    "queue send cost-runs",
)
"""The outside effects of a day published over an earlier one, with two partitions that both change."""

_FIRST_WRITE = DAY_OF_TWO_PARTITIONS.index("blob put ledger")
HALF_WRITTEN_DAY = (
    *DAY_OF_TWO_PARTITIONS[:_FIRST_WRITE],
    "table replace CostDays",
    *DAY_OF_TWO_PARTITIONS[_FIRST_WRITE:],
)
"""The same where a publisher has died, or is slow, after it had written one of them."""


def model(scenario: Scenario) -> Model[State]:
    """Give the model of a scenario."""

    def moves(state: State) -> Iterator[Move[State]]:
        yield from _readings(scenario, state)
        yield from _works(scenario, state)
        yield from _deliveries(scenario, state)
        yield from _sweeps(scenario, state)
        yield from _faults(state)

    return Model(start(scenario), moves, _rules(scenario), lambda state: _is_good_end(scenario, state))


def wrongly(scenario: Scenario, wrong: Wrong) -> Model[State]:
    """Give the model of a scenario in which one thing is done wrongly."""
    return model(replace(scenario, wrong=wrong))


def start(scenario: Scenario) -> State:
    """Give the world before the first reading, or when it is published."""
    first, second = READINGS[scenario.readings[0]]
    digest = scenario.readings[0]
    contents = (first, second, digest, digest)
    files = tuple(1 if content else None for content in contents)
    stands = scenario.stands
    return State(
        blobs=tuple(Blob(content, 1, 0) if stands and content else None for content in contents),
        publication=Publication(digest, files, 1, 0) if stands else None,
        announced=Publication(digest, (*files[:MANIFEST], None), 0, 0) if stands else None,
        runs=(CLOSED,) if stands else (),
        tasks=(None,) if stands else (),
        queue=(),
        workers=(),
        crashes=scenario.crashes,
        expiries=scenario.expiries,
        losses=scenario.losses,
        haste=scenario.haste,
        replaced=False,
        excused=False,
    )


def _readings(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    """Let the next reading move the pointer: its slice ends, and its run is told so."""
    number = len(state.runs)
    if number < len(scenario.readings):
        moved = state._replace(runs=(*state.runs, Run()), tasks=(*state.tasks, None))
        label = f"reading {number} ({scenario.readings[number]}) moves the pointer"
        yield Move(label, with_message(moved, Message(RUNS, number)))
    elif scenario.again and _all_closed(state):
        again = state._replace(runs=(*state.runs[:-1], Run()), tasks=(*state.tasks[:-1], None))
        yield Move("another run reads the same", with_message(again, Message(RUNS, number - 1)))


def _without(state: State, worker: Worker) -> tuple[Worker, ...]:
    place = state.workers.index(worker)
    return (*state.workers[:place], *state.workers[place + 1 :])


def _works(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    """Let each worker do its next effect; the last is that its message is deleted, if it is still its own."""
    for worker in state.workers:
        others = _without(state, worker)
        if worker.at == DONE:
            yield Move("queue delete", state._replace(workers=others))
            continue
        effect, step = STEPS[worker.at]
        after, went = step(scenario, state, worker)
        label = f"run {worker.message.run}: {effect} ({worker.at})"
        yield Move(label, _arrived(scenario, after, others, went))


def _deliveries(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    if len(state.workers) < scenario.workers:
        for message in dict.fromkeys(state.queue):
            at = "read run of day" if message.queue == DAYS else "read run"
            taken = _taken(state, message)
            yield Move(f"deliver {message}", _arrived(scenario, taken, state.workers, Worker(at, message)))


def _arrived(scenario: Scenario, state: State, others: tuple[Worker, ...], worker: Worker) -> State:
    """Give the state with a worker at its next place; where others are at work, it passes by those in `JOINED`."""
    while scenario.workers > 1 and worker.at in JOINED | scenario.at_once:
        _, step = STEPS[worker.at]
        state, worker = step(scenario, state, worker)
    if worker.at != DONE:
        working: tuple[Worker, ...] = (worker,)
    elif worker.holds and scenario.workers == 1:
        working = (Worker(DONE, worker.message),)
    else:
        # Who holds no message any more has nothing left to do.
        working = ()
    return in_short(with_workers(state, *others, *working))


def _taken(state: State, message: Message) -> State:
    left = list(state.queue)
    left.remove(message)
    return state._replace(queue=tuple(left))


def _sweeps(scenario: Scenario, state: State) -> Iterator[Move[State]]:
    """Sweep what has stalled: no message is left, and nobody is at work. In haste, sweep what has not."""
    stalled = _is_quiet(state)
    if scenario.wrong is Wrong.NO_SWEEP or len(state.workers) == scenario.workers:
        return
    if not (stalled or state.haste):
        return
    left = state if stalled else state._replace(haste=state.haste - 1)
    for number, (run, task) in enumerate(zip(state.runs, state.tasks, strict=True)):
        if run.closed:
            continue
        waits = task is not None and not task.done
        worker = Worker("restart day" if waits else "tell", Message(RUNS, number), holds=False, task=task)
        label = f"sweep run {number}: {worker.at}"
        yield Move(label, _arrived(scenario, left, state.workers, worker), fault=not stalled)


def _faults(state: State) -> Iterator[Move[State]]:
    for worker in state.workers:
        others = _without(state, worker)
        if state.crashes:
            dead = state._replace(crashes=state.crashes - 1)
            if worker.holds:
                dead = with_message(dead, worker.message)
            label = f"run {worker.message.run}: the worker ends before: {worker.at}"
            yield Move(label, with_workers(dead, *others), fault=True)
        if state.expiries and worker.holds:
            again = with_message(state._replace(expiries=state.expiries - 1), worker.message)
            label = f"run {worker.message.run}: visibility runs out before: {worker.at}"
            yield Move(label, with_workers(again, *others, worker._replace(holds=False)), fault=True)
    if state.losses:
        for message in dict.fromkeys(state.queue):
            lost = _taken(state, message)._replace(losses=state.losses - 1, excused=True)
            yield Move(f"{message} is lost", lost, fault=True)


def _is_quiet(state: State) -> bool:
    return not state.queue and not state.workers


def _all_closed(state: State) -> bool:
    return _is_quiet(state) and all(run.closed for run in state.runs)


def _is_right(scenario: Scenario, state: State) -> bool:
    """Tell whether what is published is what the pointer says, and the publication knows every file of it."""
    digest = scenario.readings[len(state.runs) - 1]
    contents = [None if blob is None else blob.content for blob in state.blobs]
    return (
        state.publication is not None
        and state.publication.digest == digest == contents[DAILY] == contents[MANIFEST]
        and tuple(contents[path] or "" for path in (FIRST, SECOND)) == READINGS[digest]
        and state.publication.files == tuple(None if blob is None else blob.etag for blob in state.blobs)
    )


def _is_good_end(scenario: Scenario, state: State) -> bool:
    return _all_closed(state) and len(state.runs) == len(scenario.readings) and _is_right(scenario, state)


def never_twice(state: State) -> bool:
    """Tell whether no more than one partition holds the cost."""
    first, second = state.blobs[FIRST], state.blobs[SECOND]
    return first is None or second is None or not (first.content and second.content)


def history_stands(state: State) -> bool:
    """Tell whether the publication's partitions lie there, or such as can be taken back to them."""
    if state.publication is None:
        return True
    partitions = zip(state.blobs, state.publication.files[:DAILY], strict=False)
    return all(etag is None or (blob is not None and etag in blob.told) for blob, etag in partitions)


def _rules(scenario: Scenario) -> Mapping[str, Callable[[State], bool]]:
    rules: dict[str, Callable[[State], bool]] = {
        NEVER_BACK: lambda state: not state.replaced,
        HISTORY_STANDS: history_stands,
        NEVER_STALLS: lambda state: state.excused or not _is_quiet(state) or _all_closed(state),
    }
    if not scenario.again:
        rules[RIGHT_IN_THE_END] = lambda state: (
            not state.runs or not _all_closed(state) or _is_right(scenario, state)
        )
    if scenario.workers == 1:
        rules[NEVER_TWICE] = never_twice
    return rules
