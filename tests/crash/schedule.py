"""Many processes at once, one call at a time: a seed decides which call is the next to leave, and its fate.

Every call of every process waits here. Once none moves any more, one of them is let go; so the same choices
give the same history, however fast the machine is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar, cast

from shared.edge import Call
from tests.crash.world import Time
from tests.fates import Answer, Fate, befall, dated

T = TypeVar("T")

STILL = 12
"""So many turns of the event loop without a new call: everybody waits."""


@dataclass(eq=False)
class Waiting:
    """A call that waits to be let go, and by whom it is made."""

    process: str
    call: Call
    word: asyncio.Future[tuple[Fate | None, str]]


@dataclass
class Schedule:
    """The calls that wait, in the order in which they came."""

    time: Time
    waiting: list[Waiting] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    _out: int = 0

    def edge(self, process: str) -> "ScheduledEdge":
        """Make the edge of one process."""
        return ScheduledEdge(self, process)

    def let_go(self, chosen: Waiting, fate: Fate | None = None, failure: str = "") -> None:
        """Let a call go, to its fate if it has one."""
        told = "" if fate is None else f" {fate.value} {failure}".rstrip()
        self.trace.append(f"{chosen.process}: {chosen.call.service} {chosen.call.operation}{told}")
        self.waiting.remove(chosen)
        self._out += 1
        chosen.word.set_result((fate, failure))

    @contextmanager
    def out(self) -> Iterator[None]:
        """Let nobody choose what comes next meanwhile: this takes as long as the machine needs."""
        self._out += 1
        try:
            yield
        finally:
            self._out -= 1

    async def quiet(self) -> None:
        """Wait until every process waits for its word, or has come to its end."""
        still, seen = 0, -1
        while still < STILL:
            await asyncio.sleep(0.0005 if self._out else 0)
            moved = self._out or len(self.waiting) != seen
            still, seen = 0 if moved else still + 1, len(self.waiting)

    async def through(self, process: str, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        """Wait for the word, then make the call."""
        place = Waiting(process, call, asyncio.get_running_loop().create_future())
        self.waiting.append(place)
        try:
            fate, failure = await place.word
        finally:
            if place in self.waiting:
                self.waiting.remove(place)
        self.time.pass_by()
        try:
            answer = await (effect() if fate is None else befall(fate, call, effect, failure))
        finally:
            self._out -= 1
        return cast("T", dated(cast("Answer", answer), self.time())) if call.service == "api" else answer


@dataclass
class ScheduledEdge:
    """The edge of one process: `open` while it is being set up, scheduled from then on."""

    schedule: Schedule
    process: str
    open: bool = True

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        if self.open:
            return await effect()
        return await self.schedule.through(self.process, call, effect)
