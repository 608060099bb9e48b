"""Runs, slices and days: what flows between the steps, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class SliceState(StrEnum):
    """What became of a slice."""

    OPEN = "open"
    RECONCILED = "reconciled"
    FAILED = "failed"
    VANISHED = "vanished"
    UNRECONCILED = "unreconciled"


class RunStatus(StrEnum):
    """What became of a run: `complete` means that nothing at all is missing."""

    OPEN = "open"
    COMPLETE = "complete"
    PARTIAL = "partial"


BACKFILL = "backfill"
"""The kind of runs that go on in the background: all others come first."""


@dataclass(frozen=True, slots=True)
class ListedScope:
    """A scope of the settings as a run found it: what a manifest must account for."""

    path: str
    key: str
    source: str
    grouping: tuple[str, ...]
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `first` to `last` are the days it covers; `scopes` are those of the settings, never fewer.

    `seeded` is set once its first messages are sent, `publishing` once its days are planned, `cleaned` once
    its staged pages are removed.
    """

    id: str
    kind: str
    first: date
    last: date
    full: bool
    seeding: str
    planned: int
    scopes: tuple[ListedScope, ...]
    created_at: datetime
    accept_vanished: bool = False
    seeded: bool = False
    publishing: bool = False
    cleaned: bool = False
    status: RunStatus = RunStatus.OPEN
    closed_at: datetime | None = None
    summary: Mapping[str, Any] | None = None
    etag: str | None = None

    @property
    def background(self) -> bool:
        """Whether its slices give way to those of all other runs."""
        return self.kind == BACKFILL


@dataclass(frozen=True, slots=True)
class Slice:
    """One (metric, scope, window) of a run with everything that reading it needs, frozen when it was planned.

    `generation` is the reading that counts now, `reading` its ordinal from 1, `reading_first` to `reading_last`
    the days it asks for; `must_control` is set once a day disagreed, so that no later reading goes unproven.
    `background` slices give way to all others at the quota gate.
    `restarts` counts how often it was restarted for the page that `waiting_for` names; `requests` and
    `throttled` count what brought no committed page, the pages count theirs. `period` is the dialect in which
    usageDetails is told the days (`shared.scope_list.Period`). `awaits` is the generation that this one must
    repeat, where no control total is to be had.
    """

    run: str
    name: str
    seeding: str
    scope: str
    scope_key: str
    metric: str
    source: str
    grouping: tuple[str, ...]
    first: date
    last: date
    page_size: int
    tolerance: Decimal
    accept_vanished: bool
    generation: str
    reading: int
    reading_first: date
    reading_last: date
    must_control: bool = False
    background: bool = False
    not_before: datetime | None = None
    restarts: int = 0
    waiting_for: str = ""
    state: SliceState = SliceState.OPEN
    cause: str | None = None
    cure: str | None = None
    discarded: int = 0
    requests: int = 0
    throttled: int = 0
    etag: str | None = None
    touched_at: datetime | None = None
    period: str | None = None
    awaits: str | None = None

    @property
    def partition(self) -> str:
        """The registry partition of the generation that counts now."""
        return registry_partition(self.run, self.name, self.generation)


@dataclass(frozen=True, slots=True)
class DayTask:
    """A day that a run found to differ from its publication."""

    run: str
    seeding: str
    metric: str
    day: date
    state: str = "open"
    cause: str | None = None
    restarts: int = 0
    etag: str | None = None
    touched_at: datetime | None = None


def registry_partition(run: str, name: str, generation: str) -> str:
    """Name the partition of CostHashes that holds one generation's pages."""
    return f"{run}|{name}|{generation}"


def started(generation: str) -> datetime:
    """Tell when a generation was started, by the clock of the worker that did.

    Raises:
        ValueError: its name tells no time.
    """
    return datetime.strptime(generation.split("Z-", maxsplit=1)[0] + "+0000", "%Y%m%dT%H%M%S%f%z")


def slice_name(seeding: str, ordinal: int) -> str:
    """Name the `ordinal`-th slice of a seeding; names sort as they were planned."""
    return f"{seeding}-{ordinal:05d}"
