"""The three work items, as they lie on the queues: small JSON objects with a version.

A message names work and holds none of it: whatever a step needs stands in Table Storage, so a message that is
delivered twice, late or out of order can do no more than have the same work looked at again. Field names avoid
those of the Functions host's trigger metadata (Id, DequeueCount, ...), which a message's fields would replace.
"""

from datetime import date, datetime
from typing import Annotated, Self

import msgspec

VERSION = 1

PAGES = "cost-pages"
RUNS = "cost-runs"
DAYS = "cost-days"
QUEUES = (PAGES, RUNS, DAYS)
POISON = "-poison"


class BadMessage(Exception):  # noqa: N818 - errors are named by the state they are
    """The message is no JSON, of another version, or names nothing that exists: it belongs on the poison queue."""


Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
"""What names a run, a slice or a generation: it becomes part of table keys, so nothing else may stand in it."""


class _Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    version: int = VERSION

    def encode(self) -> bytes:
        """Give the message's body, UTF-8 JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read a message's body.

        Raises:
            BadMessage: the body is no JSON of this kind, or of another version.
        """
        try:
            item = msgspec.json.decode(body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadMessage(f"not a {cls.__name__}: {error}") from error
        if item.version != VERSION:
            raise BadMessage(
                f"{cls.__name__} of version {item.version}; this release reads version {VERSION}"
            )
        return item


class PageItem(_Item, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One page of a generation, or its closing (the page number after the last page).

    `place` is the time given by the quota gate and `shifts` the gates' pauses by then (microseconds);
    `attempt` counts tries that were no throttles, `parked` how often it gave way to others; `requests` and
    `throttled` count what this page cost so far.
    """

    run: Name
    slice: Name
    generation: Name
    page: Annotated[int, msgspec.Meta(ge=1, lt=1_000_000)]
    not_before: datetime | None = None
    place: datetime | None = None
    shifts: tuple[int, int] = (0, 0)
    attempt: int = 0
    parked: Annotated[int, msgspec.Meta(ge=0)] = 0
    requests: int = 0
    throttled: int = 0


class RunItem(_Item, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A run of which a slice or a day has just ended."""

    run: Name


class DayItem(_Item, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A day that differs from its last publication."""

    run: Name
    metric: Annotated[str, msgspec.Meta(pattern=r"^(ActualCost|AmortizedCost)$")]
    day: date
