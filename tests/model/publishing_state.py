"""What the model of publishing is made of: pointer, blobs, publication, runs and workers, all of them values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, TypeVar

T = TypeVar("T")

FIRST, SECOND, DAILY, MANIFEST = range(4)
"""The blobs of a day: the ledger partitions of two subscriptions, the totals, the manifest."""

LEDGER = (FIRST, SECOND)
PATHS = ("ledger 1", "ledger 2", "daily", "manifest")

Etags = tuple[int | None, ...]
"""By path; None where there is no blob."""

Content = str
"""What a blob says. A partition that holds the cost says `x`, one that holds none says nothing."""

READINGS = {"A": ("x", ""), "B": ("", "x")}
"""Where the day's only cost stands, by the reading's digest: it moves from one subscription to the other."""


NOBODY = -1
OVERTAKEN, LATEST = 1, 2


class Wrong(Enum):
    """A protocol with one thing done wrongly."""

    POINTERS_ARE_READ_FIRST = auto()
    BLOBS_ARE_LISTED_LAST = auto()
    BLOBS_WITHOUT_ETAG = auto()
    PUBLICATION_WITHOUT_ETAG = auto()
    ROW_IS_RESTORED_WITHOUT_ETAG = auto()
    NOBODY_IS_SHUT_OUT = auto()
    ANY_ROW_IS_RESTORED_OVER = auto()
    NO_SECOND_LOOK_AT_THE_POINTERS = auto()
    GROWING_PARTITIONS_FIRST = auto()
    FILES_ARE_NOT_LOOKED_AT = auto()
    LEDGER_IS_BELIEVED_UNSEEN = auto()
    DAY_IS_ENDED_FIRST = auto()
    RUN_LOOKS_AT_NO_FILES = auto()
    NO_SWEEP = auto()


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the readings of the runs say, one after the other, how many work at once, how much may go wrong.

    The first reading is published already where `stands` says so. Where `again` says so, more runs come when all
    is quiet, whose readings say what the last one said. `at_once` are more places where nobody comes in between.

    `crashes` processes end, `expiries` messages appear while they are still being worked, `losses` messages
    vanish, `haste` sweeps take a day for stalled that is not.
    """

    readings: str
    stands: bool = False
    workers: int = 2
    crashes: int = 0
    expiries: int = 0
    losses: int = 0
    haste: int = 0
    again: bool = False
    at_once: frozenset[str] = frozenset()
    wrong: Wrong | None = None


class Blob(NamedTuple):
    """A published file. `by` is the reading that it was written for: a memory of the rules, no part of it.

    `past` are the files, oldest first, that it can be taken back to by the times of its rows, on a settled day.
    """

    content: Content
    etag: int
    by: int
    past: tuple[int, ...] = ()

    @property
    def told(self) -> tuple[int, ...]:
        """What of the file's history can be found in it, itself included."""
        return (*self.past, self.etag)


class Publication(NamedTuple):
    """The publication's row in CostDays: whose digest it is and which files it left.

    Of one that was announced `etag` is that of the row it is to replace, 0 where there is none.
    """

    digest: str
    files: Etags
    etag: int
    by: int


class Task(NamedTuple):
    """A run's row of the day, once it is planned."""

    done: bool = False
    etag: int = 0


class Run(NamedTuple):
    """A run, from the time at which its reading has moved the pointer. No state of it comes twice."""

    publishing: bool = False
    closed: bool = False


class Message(NamedTuple):
    """A message of cost-runs or cost-days."""

    queue: str
    run: int


class Worker(NamedTuple):
    """A process at work: where it is, and all that it has read. `holds` is lost with the message's visibility.

    `listed` are the ETags of the blobs as they were listed, and then as this worker wrote them. `left`
    are those of the partitions as the publication left them, `announced` is what was announced of a manifest that
    is not the row's.
    """

    at: str
    message: Message
    holds: bool = True
    publication: Publication | None = None
    listed: Etags = ()
    left: Etags = ()
    reading: int = -1
    announced: Publication | None = None
    prior: tuple[Content | None, ...] = ()
    todo: tuple[tuple[int, Content], ...] = ()
    expected: int | None = None
    run: Run = Run()
    task: Task | None = None


class State(NamedTuple):
    """The world at one moment. `replaced` and `excused` are memories of the rules, no part of the protocol."""

    blobs: tuple[Blob | None, ...]
    publication: Publication | None
    announced: Publication | None
    runs: tuple[Run, ...]
    tasks: tuple[Task | None, ...]
    queue: tuple[Message, ...]
    workers: tuple[Worker, ...]
    crashes: int
    expiries: int
    losses: int
    haste: int
    replaced: bool
    excused: bool


Stepped = tuple[State, Worker]
Step = Callable[[Scenario, State, Worker], Stepped]
DONE = "done"
CLOSED = Run(publishing=True, closed=True)
DAYS, RUNS = "cost-days", "cost-runs"


def differs(scenario: Scenario, reading: int, publication: Publication | None) -> bool:
    return publication is None or publication.digest != scenario.readings[reading]


def etag_of(blob: Blob | None) -> int | None:
    return None if blob is None else blob.etag


def is_open(state: State, run: int) -> bool:
    task = state.tasks[run]
    return task is not None and not task.done


def with_row(rows: tuple[T, ...], place: int, row: T) -> tuple[T, ...]:
    """Give rows with one of them replaced."""
    return (*rows[:place], row, *rows[place + 1 :])


def with_message(state: State, message: Message) -> State:
    """Give the state with a message on its queue; the order of messages means nothing, so there is one only."""
    return state._replace(queue=tuple(sorted((*state.queue, message))))


def with_workers(state: State, *workers: Worker) -> State:
    """Give the state with these workers; they are all alike, so their order means nothing."""
    return state._replace(workers=tuple(sorted(workers, key=_worker_place)))


def in_short(state: State) -> State:
    """Give the state without what makes no difference to anything that can still happen.

    Messages of a closed run are looked at and dropped. Of ETags it counts which are equal and which is the last,
    so they are named anew in their order. For which reading a blob was written counts only for a worker that is
    about to write an older one. Without this, two ways to one state would differ for ever by their history.
    """
    state = state._replace(queue=tuple(one for one in state.queue if not state.runs[one.run].closed))
    oldest = min((worker.reading for worker in state.workers if worker.reading >= 0), default=len(state.runs))
    blobs, workers, publication = list(state.blobs), list(state.workers), state.publication
    announced = state.announced
    for path, blob in enumerate(blobs):
        if blob is None or (blob.etag == 1 and blob.by == NOBODY):
            continue
        known = {blob.etag}
        known.update(worker.listed[path] or blob.etag for worker in workers if len(worker.listed) > path)
        read = [publication, announced]
        read += [row for worker in workers for row in (worker.publication, worker.announced)]
        known.update(one.files[path] or blob.etag for one in read if one is not None)
        known.update(worker.left[path] or blob.etag for worker in workers if len(worker.left) > path)
        small = {etag: number for number, etag in enumerate(sorted(known), 1)}
        past = tuple(small[etag] for etag in blob.past if etag in small)
        by = blob.by if blob.by > oldest else NOBODY
        blobs[path] = blob._replace(etag=small[blob.etag], by=by, past=past)
        if small[blob.etag] == blob.etag:
            continue
        publication, announced = _renamed(publication, path, small), _renamed(announced, path, small)
        for number, worker in enumerate(workers):
            listed = _etags_renamed(worker.listed, path, small)
            workers[number] = worker._replace(
                listed=listed,
                left=_etags_renamed(worker.left, path, small),
                publication=_renamed(worker.publication, path, small),
                announced=_renamed(worker.announced, path, small),
            )
    if publication is not None:
        workers, publication = _publication_in_short(workers, publication, oldest)
    if announced is not None:
        announced = _announced_in_short(announced, state.publication)._replace(
            by=announced.by if announced.by > oldest else NOBODY
        )
    return state._replace(
        blobs=tuple(blobs), workers=tuple(workers), publication=publication, announced=announced
    )


def _publication_in_short(
    workers: list[Worker], publication: Publication, oldest: int
) -> tuple[list[Worker], Publication]:
    """Name the publication's ETag anew: a worker has read this one, or another that it will lose against."""
    by = publication.by if publication.by > oldest else NOBODY
    short = publication._replace(etag=LATEST, by=by)
    return [_worker_in_short(worker, publication) for worker in workers], short


def _worker_in_short(worker: Worker, publication: Publication) -> Worker:
    def known(etag: int) -> int:
        return LATEST if etag == publication.etag else OVERTAKEN

    if worker.announced is not None:
        worker = worker._replace(announced=_announced_in_short(worker.announced, publication))
    if worker.publication is not None:
        read = worker.publication._replace(etag=known(worker.publication.etag), by=NOBODY)
        worker = worker._replace(publication=read)
    if worker.expected is not None:
        worker = worker._replace(expected=known(worker.expected))
    return worker


def _announced_in_short(announced: Publication, standing: Publication | None) -> Publication:
    """Name the ETag of the row that an announced one is to replace as that row's own is named."""
    if not announced.etag or standing is None:
        return announced
    return announced._replace(etag=LATEST if announced.etag == standing.etag else OVERTAKEN)


def _renamed(publication: Publication | None, path: int, small: Mapping[int, int]) -> Publication | None:
    if publication is None:
        return None
    return publication._replace(files=_etags_renamed(publication.files, path, small))


def _etags_renamed(etags: Etags, path: int, small: Mapping[int, int]) -> Etags:
    etag = etags[path] if len(etags) > path else None
    return etags if etag is None else with_row(etags, path, small[etag])


def _worker_place(worker: Worker) -> tuple[object, ...]:
    rows = [_publication_place(row) for row in (worker.publication, worker.announced)]
    return worker.at, worker.message, worker.holds, worker.reading, *rows


def _publication_place(row: Publication | None) -> tuple[object, ...]:
    return () if row is None else (row.digest, row.etag, *(etag or 0 for etag in row.files))
