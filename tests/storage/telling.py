"""An edge that tells what passed it and can end the process on either side of a call."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from shared.edge import Call

T = TypeVar("T")


class Killed(BaseException):
    """The process ended here, as far as the code can tell."""


@dataclass
class TellingEdge:
    """Notes each call as `service operation target`; ends the process before or after one, or repeats it."""

    calls: list[str] = field(default_factory=list)
    kill_before: str = ""
    kill_after: str = ""
    twice: str = ""

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(f"{call.service} {call.operation} {call.target}")
        if call.operation == self.kill_before:
            raise Killed
        if call.operation == self.twice:
            await effect()
        answer = await effect()
        if call.operation == self.kill_after:
            raise Killed
        return answer
