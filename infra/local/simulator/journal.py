"""What was asked of the simulator and what it answered."""

from collections import Counter, deque
from dataclasses import dataclass

_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One request: when (Unix seconds), what for, and what it got.

    `fault` names what was done on purpose, empty if nothing; `with_token` tells whether any Authorization
    header came, right or wrong.
    """

    time: float
    method: str
    path: str
    scope: str
    skiptoken: str | None
    control: bool
    with_token: bool
    status: int
    fault: str


class Journal:
    """The last requests, and counts of all of them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self.requests = 0
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()

    def write(self, entry: Entry) -> None:
        """Count and keep one request."""
        self._entries.append(entry)
        self.requests += 1
        self.by_status[entry.status] += 1
        if entry.fault:
            self.by_fault[entry.fault] += 1

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The last requests, oldest first."""
        return tuple(self._entries)
