"""What the model of reading is made of: rows of tables, blobs, messages and workers, all of them values."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, TypeVar

T = TypeVar("T")

OPEN, RECONCILED, UNRECONCILED = "open", "reconciled", "unreconciled"

Record = tuple[str, int]
"""Identity and amount. Amounts are powers of two, so that a sum tells which records it is made of, unless a cost
changes hands and the new record has the amount of the old one."""

Rows = tuple[Record, ...]
Snapshot = tuple[Rows, ...]
"""What the provider says of a day at one time, page by page."""


class Wrong(Enum):
    """A protocol with one thing done wrongly."""

    SENT_IS_MARKED_BEFORE_SENDING = auto()
    HASHES_OUTLIVE_THEIR_WORKER = auto()
    PAGE_IS_COMMITTED_BEFORE_ITS_BLOB = auto()
    LOSER_OF_THE_INSERT_STOPS = auto()
    PAGE_IS_OVERWRITTEN = auto()
    BLOBS_ARE_LISTED = auto()
    GENERATIONS_SHARE_PAGES = auto()
    NO_CONTROL = auto()
    VERDICT_IS_STORED_LAST = auto()
    POINTER_WITHOUT_ETAG = auto()
    POINTER_WITHOUT_ORDER = auto()
    CONTROL_DATES_THE_READING = auto()
    CROSSING_READINGS_COUNT = auto()
    SLICE_WITHOUT_ETAG = auto()
    ENDED_SLICE_IS_NOT_TOLD_AGAIN = auto()
    LOST_START_IS_NOT_SENT_AGAIN = auto()
    OTHERS_ARE_LOOKED_AT_BEFORE_THE_END = auto()
    RUN_LOOKS_AT_NO_SLICE = auto()
    NO_SWEEP = auto()


class Asked(NamedTuple):
    """One slice: the run that asks for it, and its day."""

    run: int
    day: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A small world: what the provider says at each time, who asks for what, and how much may go wrong.

    `crashes` processes end, `expiries` messages appear while they are still being worked, `losses` messages
    vanish, `haste` sweeps take a slice for stalled that is not.
    """

    snapshots: tuple[Snapshot, ...]
    slices: tuple[Asked, ...]
    crashes: int = 0
    expiries: int = 0
    losses: int = 0
    haste: int = 0
    seeding: bool = False
    readings: int = 2
    wrong: Wrong | None = None


class SliceRow(NamedTuple):
    """A slice's row in CostRuns. `generation` counts from 1."""

    state: str = OPEN
    generation: int = 1
    etag: int = 0


class RunRow(NamedTuple):
    """A run's row in CostRuns."""

    closed: bool = False
    seeded: bool = True
    etag: int = 0


class Key(NamedTuple):
    """One work item: a page of a generation, or its closing."""

    slice: int
    generation: int
    page: int


class Page(NamedTuple):
    """A page's entity in CostHashes; the blob it names is the one that holds just these rows."""

    key: Key
    rows: Rows
    last: bool
    read_at: int
    sent: bool = False


class Verdict(NamedTuple):
    """The entity that closes a generation. `read_at` is the provider's time of what proved it."""

    key: Key
    agreed: bool
    read_at: int


class Order(NamedTuple):
    """What orders readings: the provider's time of the first page and of the last, then the generation."""

    began: int
    ended: int
    slice: int
    generation: int

    def crosses(self, other: "Order") -> bool:
        """Whether both were read at one time."""
        return self.began < other.ended and other.began < self.ended


class Pointer(NamedTuple):
    """A day's row in CostDays."""

    order: Order
    etag: int = 0


class PageMessage(NamedTuple):
    """A message of cost-pages."""

    key: Key


class RunMessage(NamedTuple):
    """A message of cost-runs."""

    run: int


Message = PageMessage | RunMessage


class Worker(NamedTuple):
    """A process at work: where it is, and all that it has read. `holds` is lost with the message's visibility."""

    at: str
    message: Message | None = None
    holds: bool = True
    slice: int = 0
    row: SliceRow = SliceRow()
    known: tuple[Page, ...] = ()
    page: Page | None = None
    verdict: Verdict | None = None
    pointer: Pointer | None = None
    run: RunRow = RunRow()


class State(NamedTuple):
    """The world at one moment. `newest`, `told` and `excused` are memories of the rules, no part of the protocol.

    `told` is, by day, the number of a snapshot: nothing older than that may be believed of the day any more.
    """

    time: int
    slices: tuple[SliceRow, ...]
    runs: tuple[RunRow, ...]
    pages: tuple[Page, ...]
    verdicts: tuple[Verdict, ...]
    staged: tuple[tuple[Key, Rows], ...]
    pointers: tuple[Pointer | None, ...]
    newest: tuple[Order | None, ...]
    told: tuple[int, ...]
    seen: tuple[str, ...]
    queue: tuple[Message, ...]
    workers: tuple[Worker, ...]
    crashes: int
    expiries: int
    losses: int
    haste: int
    excused: bool


Stepped = tuple[State, Worker]
Step = Callable[[Scenario, State, Worker], Stepped]
DONE = "done"


def key_of(scenario: Scenario, piece: int, generation: int, page: int) -> Key:
    shared = scenario.wrong is Wrong.GENERATIONS_SHARE_PAGES
    return Key(piece, 0 if shared else generation, page)


def pages_of(scenario: Scenario, state: State, piece: int, generation: int) -> tuple[Page, ...]:
    """Give the committed pages of a generation, in order."""
    first = key_of(scenario, piece, generation, 0)
    return tuple(page for page in state.pages if page.key[:2] == first[:2])


def verdict_of(scenario: Scenario, state: State, piece: int, generation: int) -> Verdict | None:
    first = key_of(scenario, piece, generation, 0)
    return next((verdict for verdict in state.verdicts if verdict.key[:2] == first[:2]), None)


def rows_of(scenario: Scenario, state: State, piece: int, generation: int) -> Rows:
    """Give the records of a generation: those in the blobs that its committed pages name."""
    if scenario.wrong is Wrong.BLOBS_ARE_LISTED:
        key = key_of(scenario, piece, generation, 0)
        return tuple(row for held, rows in state.staged if held[:2] == key[:2] for row in rows)
    blobs = set(state.staged)
    pages = pages_of(scenario, state, piece, generation)
    return tuple(row for page in pages if (page.key, page.rows) in blobs for row in page.rows)


def said_in(scenario: Scenario, state: State, order: Order) -> dict[int, Rows]:
    """Give what the provider said, from a reading's first page to its proof, by the number of the snapshot."""
    verdict = verdict_of(scenario, state, order.slice, order.generation)
    until = order.ended if verdict is None else verdict.read_at
    first = min(page.read_at for page in pages_of(scenario, state, order.slice, order.generation))
    return {
        time: tuple(row for rows in scenario.snapshots[time] for row in rows)
        for time in range(first, until + 1)
    }


def fetched(worker: Worker) -> Key:
    assert isinstance(worker.message, PageMessage)
    return worker.message.key


def with_row(rows: tuple[T, ...], place: int, row: T) -> tuple[T, ...]:
    """Give rows with one of them replaced."""
    return (*rows[:place], row, *rows[place + 1 :])


def with_message(state: State, message: Message) -> State:
    """Give the state with a message on its queue; the order of messages means nothing, so there is one only."""
    return state._replace(queue=tuple(sorted((*state.queue, message), key=_message_place)))


def with_workers(state: State, *workers: Worker) -> State:
    """Give the state with these workers; they are all alike, so their order means nothing."""
    return state._replace(workers=tuple(sorted(workers, key=_worker_place)))


def _message_place(message: Message) -> tuple[int, ...]:
    return (0, *message.key) if isinstance(message, PageMessage) else (1, message.run)


def _worker_place(worker: Worker) -> tuple[object, ...]:
    return worker.at, worker.holds, worker.slice, worker.row, worker.page or (), worker.verdict or ()
