"""An edge of faults: it tells every outside call, lets one come to its fate, or changes an answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar, cast

from shared.edge import Call, Clock, utc_now
from tests.fates import Answer, Fate, Killed, befall, dated, name_of

__all__ = ["Answer", "FaultyEdge", "Killed", "dies", "name_of"]

T = TypeVar("T")

Meanwhile = Callable[[Call], Awaitable[None]]
Spoil = Callable[[Answer], Answer]
Which = str | int


@dataclass
class FaultyEdge:
    """Performs every call and notes it; `calls` begins anew with each fault that is set.

    Calls are named as one text, `service operation target`, and found by the beginning of that text, or by
    their place from then on, the first being 0. The cost API's answers are dated by `clock`, and `spoil` changes
    them.
    """

    clock: Clock = utc_now
    calls: list[Call] = field(default_factory=list)
    _fate: tuple[Which, Fate, str] | None = None
    _meanwhile: tuple[Which, Meanwhile] | None = None
    _failing: tuple[str, Exception] | None = None
    spoil: Spoil | None = None

    def befall(self, which: Which, fate: Fate, failure: str = "503") -> None:
        """Let the next call of this name or place come to this fate."""
        self.calls.clear()
        self._fate = which, fate, failure

    def kill_at(self, place: int, *, after: bool) -> None:
        """End the process before or after the effect of the `place`-th call from now, the first being 0."""
        self.befall(place, Fate.DIES_AFTER if after else Fate.DIES_BEFORE)

    def kill_on(self, named: str, *, after: bool = False) -> None:
        """End the process before or after the effect of the next call of this name."""
        self.befall(named, Fate.DIES_AFTER if after else Fate.DIES_BEFORE)

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
        self._fate = self._meanwhile = self._failing = self.spoil = None

    def made(self, named: str = "") -> list[str]:
        """Give the names of the calls so far that begin so."""
        return [name for name in map(name_of, self.calls) if name.startswith(named)]

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        place, name = len(self.calls), name_of(call)
        self.calls.append(call)
        if self._meanwhile is not None and _is_meant(self._meanwhile[0], place, name):
            happens, self._meanwhile = self._meanwhile[1], None
            await happens(call)
        if self._failing is not None and name.startswith(self._failing[0]):
            raise self._failing[1]
        if self._fate is not None and _is_meant(self._fate[0], place, name):
            (_, fate, failure), self._fate = self._fate, None
            return await befall(fate, call, effect, failure)
        answer = await effect()
        if call.service != "api":
            return answer
        said = dated(cast("Answer", answer), self.clock())
        return cast("T", said if self.spoil is None else self.spoil(said))


def _is_meant(which: Which, place: int, name: str) -> bool:
    return place == which if isinstance(which, int) else name.startswith(which)


async def dies(step: Awaitable[None]) -> bool:
    """Tell whether the process ended in a step, also where that does several things at once."""
    dead = False
    try:
        await step
    except* Killed:
        dead = True
    return dead
