"""An edge of faults: it tells every outside call, ends the process on either side of one, or changes an answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from shared.edge import Call

T = TypeVar("T")

Meanwhile = Callable[[Call], Awaitable[None]]
Answer = tuple[int, dict[str, str], bytes]
"""An answer of the cost API: status, headers in lower case, body."""

Spoil = Callable[[Answer], Answer]


class Killed(BaseException):
    """The process ended here, as far as the code can tell: nothing in the product may catch it."""


@dataclass
class FaultyEdge:
    """Performs every call and notes it; `calls` begins anew with each fault that is set.

    Calls are named as one text, `service operation target`, and found by the beginning of that text. `spoil`
    changes the cost API's answers.
    """

    calls: list[Call] = field(default_factory=list)
    _place: int | None = None
    _named: str | None = None
    _after: bool = False
    _meanwhile: tuple[str | int, Meanwhile] | None = None
    _failing: tuple[str, Exception] | None = None
    spoil: Spoil | None = None

    def kill_at(self, place: int, *, after: bool) -> None:
        """End the process before or after the effect of the `place`-th call from now, the first being 0."""
        self.calls.clear()
        self._place, self._after = place, after

    def kill_on(self, named: str, *, after: bool = False) -> None:
        """End the process before or after the effect of the next call of this name."""
        self.calls.clear()
        self._named, self._after = named, after

    def meanwhile(self, named: str, happens: Meanwhile) -> None:
        """Let something happen before the next call of this name: the process was paused there."""
        self._meanwhile = named, happens

    def meanwhile_at(self, place: int, happens: Meanwhile) -> None:
        """Let something happen before the `place`-th call from now, the first being 0."""
        self.calls.clear()
        self._meanwhile = place, happens

    def fail(self, named: str, error: Exception) -> None:
        """Let the service answer every call of this name with an error, and do nothing."""
        self._failing = named, error

    def heal(self) -> None:
        """Let every call go through from now on, and forget those so far."""
        self.calls.clear()
        self._place = self._named = self._meanwhile = self._failing = self.spoil = None

    def made(self, named: str) -> list[str]:
        """Give the names of the calls so far that begin so."""
        return [name for name in map(name_of, self.calls) if name.startswith(named)]

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        place, name = len(self.calls), name_of(call)
        self.calls.append(call)
        if self._meanwhile is not None and _is_meant(self._meanwhile[0], place, name):
            happens, self._meanwhile = self._meanwhile[1], None
            await happens(call)
        dies = place == self._place or (self._named is not None and name.startswith(self._named))
        if dies:
            self._place = self._named = None
            if not self._after:
                raise Killed(name)
        if self._failing is not None and name.startswith(self._failing[0]):
            raise self._failing[1]
        try:
            answer = await effect()
        finally:
            # Whatever the service said, nobody is there to hear it.
            if dies:
                raise Killed(name)
        if self.spoil is None or call.service != "api":
            return answer
        return cast("T", self.spoil(cast("Answer", answer)))


def _is_meant(which: str | int, place: int, name: str) -> bool:
    return place == which if isinstance(which, int) else name.startswith(which)


def name_of(call: Call) -> str:
    """Name a call."""
    return f"{call.service} {call.operation} {call.target}"


async def dies(step: Awaitable[None]) -> bool:
    """Tell whether the process ended in a step, also where that does several things at once."""
    dead = False
    try:
        await step
    except* Killed:
        dead = True
    return dead
