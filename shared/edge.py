"""The one seam between the engine and everything outside this process.

Every call that leaves the process (cost API, Table, Blob, Queue) is handed to an `Edge` as a named call and
the effect that performs it. The product uses `direct`; a test may hold a call, fail it with the service's
own error, or end the process before or after its effect, without any fault code in the product's paths.
The clock is the second half of the seam: nothing in the engine asks for the time in another way.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

T = TypeVar("T")

Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Call:
    """One call that leaves the process.

    `service` is api, token, table, blob or queue; `operation` names what is done (insert, query, put, send, ...);
    `target` says to what (table, container and blob, queue, URL path).
    """

    service: str
    operation: str
    target: str


class Edge(Protocol):
    """Performs `effect` and returns its answer; a test's edge may do so late, twice, or not at all."""

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        """Run one outside call."""
        ...


async def direct(call: Call, effect: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG001 - the product needs no name
    """Perform the call as it is: the product's own edge."""
    return await effect()


def utc_now() -> datetime:
    """Give the current time, aware, in UTC: the product's own clock."""
    return datetime.now(UTC)
