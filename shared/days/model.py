"""Readings, pointers and publications, and how a pointer moves: the same whatever the order of the movers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

LAPSE = timedelta(hours=24)
"""An owner that failed for so long loses its open days to the next."""

EARLIER = 64
"""How many attempts before its last one a pointer knows the times of: the latest, and those that say if it lapsed."""

_SECOND = timedelta(seconds=1)


class ScopeState(StrEnum):
    """What a manifest says of a scope on a day."""

    RECONCILED = "reconciled"
    MISSING = "missing"
    FAILED = "failed"
    VANISHED = "vanished"
    UNRECONCILED = "unreconciled"
    STALE = "stale"
    DISAGREES = "disagrees"


@dataclass(frozen=True, slots=True)
class Reading:
    """One complete reading of a scope's day. Amounts are per currency; `shape` names source and grouping.

    Its rows were read from `began` to `read_at` by the service's clock; `began` is None where one answer held all.
    Later is what began later, then what ended later, then the later generation. A control total that was asked for
    after the last page does not make it later: what leaves the day's total as it was, a cost that changes hands, is
    not seen by it. `with_repeated` tells whether rows that came on several pages count each time.
    """

    run: str
    slice: str
    generation: str
    digest: str
    shape: str
    records: int
    totals: Mapping[str, Decimal]
    absolutes: Mapping[str, Decimal]
    control: Mapping[str, Decimal]
    control_kind: str
    agreed: bool
    read_at: datetime
    began: datetime | None = None
    with_repeated: bool = False

    @property
    def since(self) -> datetime:
        """When its first page was read."""
        return self.began or self.read_at

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """What orders readings in time."""
        return self.since, self.read_at, self.generation

    def crosses(self, other: "Reading") -> bool:
        """Whether both say something else and were read at one time, so that nobody can tell which is newer."""
        if (self.digest, self.shape) == (other.digest, other.shape):
            return False
        return self.since < other.read_at and other.since < self.read_at


@dataclass(frozen=True, slots=True)
class Attempt:
    """A slice that ended without a reading that counts: its state, its cause and when.

    Since the last reading others ended before it, which `failed` or had `vanished`: the times of each, ascending. A
    reading that is noted late may have come between them.
    """

    run: str
    state: ScopeState
    cause: str
    at: datetime
    failed: tuple[datetime, ...] = ()
    vanished: tuple[datetime, ...] = ()

    @property
    def failures(self) -> tuple[datetime, datetime] | None:
        """The first and the last of the failures in a row: of those that took the day away, else of the latest.

        Where cost is suddenly gone the scope did answer, so that ends a row.
        """
        answered = {*self.vanished, *([self.at] if self.state is ScopeState.VANISHED else [])}
        row: tuple[datetime, datetime] | None = None
        for time in sorted({*self.failed, *answered, self.at}):
            row = None if time in answered else (row[0] if row else time, time)
            if row is not None and row[1] - row[0] >= LAPSE:
                break
        return row

    @property
    def lapsed_at(self) -> datetime | None:
        """When an open day went to the next owner, until a reading answers; None while it has not.

        That is when the failures had lasted so long, for nobody knew it before. Cost that is suddenly gone takes
        no day away before somebody confirms it, however long that takes.
        """
        row = self.failures
        return row[1] if row is not None and row[1] - row[0] >= LAPSE else None

    @property
    def order(self) -> tuple[datetime, str, str, str]:
        """What orders attempts in time; of two at one moment any rule will do that all workers have."""
        return self.at, self.run, self.state, self.cause


@dataclass(frozen=True, slots=True)
class Pointer:
    """A scope's day: the reading that counts, if any, and the last failed attempt since, if any."""

    metric: str
    day: date
    scope: str
    key: str
    reading: Reading | None = None
    changed_at: datetime | None = None
    attempt: Attempt | None = None
    etag: str | None = None

    @property
    def state(self) -> ScopeState:
        """The scope's state on this day, in the manifest's words."""
        reading, attempt = self.reading, self.attempt
        if reading is None:
            return ScopeState.MISSING if attempt is None else attempt.state
        if not reading.agreed:
            return ScopeState.UNRECONCILED
        if attempt is None:
            return ScopeState.RECONCILED
        return ScopeState.VANISHED if attempt.state is ScopeState.VANISHED else ScopeState.STALE


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One published file with the ETag that it was written under."""

    path: str
    rows: int
    bytes: int
    sha256: str
    etag: str


@dataclass(frozen=True, slots=True)
class Written:
    """A partition as it was last written: when, whether the day was settled then, and the fingerprint of its rows."""

    at: datetime
    settled: bool
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Owned:
    """What counted of a scope's reading: how many ledger rows bear its name, and their cost per currency."""

    records: int
    totals: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Publication:
    """What was last published of a day. `view` maps a scope key to its (path, digest, shape, state).

    `listed` are the keys of the scope list and `scopes_at` dates it; `as_of` is the latest time that stands in the
    day's ledger, `known_since` that of the first publication with a reading in it, None before; `disagrees` names
    shadowed scopes that see another cost, with both figures; `alike`, by the path of a billing scope in lower case,
    the subscriptions whose usage it sees to the same amount though the rows of others count; `owned` says, by
    scope key, what counted of each. `ended` counts the ended rows (former versions, retracted records) of each
    subscription's partition that has any, None where an earlier release published it; so is `written`, which tells
    how each partition was last written. `unfinished` is set where a later publisher gave up half-way or may
    be under way: the day must be published again. `aside` names the blob in which it put the rows of the partitions
    of the subscriptions `aside_of`, before it changed them, and `aside_sha256` is that blob's hash; `mixed` is set
    where these are no publication's, for an open day's rows had been replaced by somebody who came to no end. `held`
    is the mark of the publisher that holds the day (`shared.ledger.hold`).
    """

    metric: str
    day: date
    view: Mapping[str, tuple[str, str, str, str]]
    listed: tuple[str, ...]
    scopes_at: datetime
    as_of: datetime
    status: str
    totals: Mapping[str, Decimal]
    published_at: datetime
    files: tuple[PublishedFile, ...] = ()
    disagrees: Mapping[str, str] = field(default_factory=dict)
    alike: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    owned: Mapping[str, Owned] = field(default_factory=dict)
    manifest_etag: str = ""
    unfinished: bool = False
    known_since: datetime | None = None
    ended: Mapping[str, int] | None = None
    written: Mapping[str, Written] | None = None
    aside: str = ""
    aside_sha256: str = ""
    aside_of: tuple[str, ...] = ()
    mixed: bool = False
    held: str = ""
    etag: str | None = None

    @property
    def name(self) -> str:
        """What an announcement names it by: another one for each publication, and each publisher that holds it."""
        return f"{self.manifest_etag}|{self.held}"

    @property
    def says_nothing(self) -> bool:
        """Whether it is only there to be held: nobody has published the day."""
        return not self.manifest_etag and not self.view


@dataclass(frozen=True, slots=True)
class Announced:
    """A publication whose manifest is about to be written, all files but that are; `manifest_sha256` is in hex.

    `over` names the publication that it is to replace, empty where there is none.
    """

    publication: Publication
    manifest_sha256: str
    over: str


@dataclass(frozen=True, slots=True)
class Day:
    """All that CostDays holds of one day."""

    pointers: tuple[Pointer, ...]
    publication: Publication | None

    @property
    def published(self) -> Publication | None:
        """What was published of it, None where nobody has."""
        return None if self.publication is None or self.publication.says_nothing else self.publication


def moved(pointer: Pointer, reading: Reading) -> Pointer:
    """Give the pointer after this reading: itself where a later reading stands."""
    old = pointer.reading
    if old is not None and old.order >= reading.order:
        return pointer
    same = old is not None and (old.digest, old.shape, old.agreed) == (
        reading.digest,
        reading.shape,
        reading.agreed,
    )
    attempt = None if pointer.attempt is None else _since(pointer.attempt, reading)
    if pointer.attempt is not None and pointer.attempt.lapsed_at is not None:
        # Whoever lost the day meanwhile gets it back now, though it says the same as before.
        same = same and attempt is not None and attempt.lapsed_at is not None
    changed_at = pointer.changed_at if same else _latest(pointer.changed_at, reading.read_at)
    return replace(pointer, reading=reading, changed_at=changed_at, attempt=attempt)


def noted(pointer: Pointer, attempt: Attempt) -> Pointer:
    """Give the pointer after this attempt: itself where a later reading stands.

    Of two attempts the later one stands, and knows the time of the other.
    """
    if pointer.reading is not None and _answered(attempt.at, pointer.reading):
        return pointer
    old = pointer.attempt
    if old is None:
        return replace(pointer, attempt=attempt)
    return replace(pointer, attempt=_later(old, attempt))


def _later(one: Attempt, other: Attempt) -> Attempt:
    """Give the later of two attempts, with the times of both."""
    last = max(one, other, key=lambda attempt: attempt.order)
    failed, vanished = {*one.failed, *other.failed}, {*one.vanished, *other.vanished}
    for attempt in (one, other):
        (vanished if attempt.state is ScopeState.VANISHED else failed).add(attempt.at)
    (vanished if last.state is ScopeState.VANISHED else failed).discard(last.at)
    both = replace(last, failed=tuple(sorted(failed)), vanished=tuple(sorted(vanished)))
    times = sorted(failed | vanished)
    if len(times) <= EARLIER:
        return both
    return _only(both, {*times[2 - EARLIER :], *(both.failures or ())})


def _since(attempt: Attempt, reading: Reading) -> Attempt | None:
    """Give the attempts that the reading did not answer."""
    if _answered(attempt.at, reading):
        return None
    return _only(
        attempt, {time for time in (*attempt.failed, *attempt.vanished) if not _answered(time, reading)}
    )


def _only(attempt: Attempt, times: Collection[datetime]) -> Attempt:
    """Give the attempt with only those of the times before it."""
    failed = tuple(time for time in attempt.failed if time in times)
    return replace(attempt, failed=failed, vanished=tuple(time for time in attempt.vanished if time in times))


def _answered(time: datetime, reading: Reading) -> bool:
    """Tell whether a reading makes up for an attempt: it began later, and the service dates in whole seconds.

    By its beginning, which orders readings too: so pointers come to the same whoever moves them first.
    """
    return time < reading.since + _SECOND


def _latest(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else max(one, other)
