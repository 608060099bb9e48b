"""The service's quotas, and the many ways in which its 429 says how long to wait."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from math import ceil

FAMILIES = (
    "qpu",
    "entity",
    "tenant",
    "clienttype",
    "client",
    "retry-after",
    "retry-after-date",
    "mixed",
    "none",
)
"""The header families of a 429; `mixed` gives several that disagree, the longest of which is true."""

_PREFIX = "x-ms-ratelimit-microsoft.costmanagement-"
_WINDOW_NAMES = {3600.0: "QueriesPerHour", 60.0: "QueriesPerMin", 10.0: "QueriesPer10Sec"}
_PLENTY = 1_000_000

Limit = tuple[int, float]
"""So many requests in so many seconds (fractions allowed)."""


@dataclass(slots=True)
class Window:
    """One limit and the times at which it let requests through: a window that slides, nothing is forgiven."""

    most: int
    seconds: float
    taken: deque[float] = field(default_factory=deque)

    def wait(self, now: float) -> float:
        """Give the seconds until there is room; 0.0 if there is."""
        while self.taken and self.taken[0] <= now - self.seconds:
            self.taken.popleft()
        return 0.0 if len(self.taken) < self.most else self.taken[0] + self.seconds - now


class Limiter:
    """A sliding limit for the tenant and one for each scope; refused requests take no place."""

    def __init__(self, tenant: Sequence[Limit], scope: Sequence[Limit]) -> None:
        self._tenant = [Window(*limit) for limit in tenant]
        self._scope_limits = scope
        self._scopes: dict[str, list[Window]] = {}

    def take(self, scope_key: str, now: float) -> tuple[str, float] | None:
        """Take a place at `now` (monotonic seconds), or give the refusing family and its wait."""
        own = self._scopes.setdefault(scope_key, [Window(*limit) for limit in self._scope_limits])
        waits = [("qpu", window.wait(now)) for window in self._tenant]
        waits += [("entity", window.wait(now)) for window in own]
        refusal = max(waits, key=lambda one: one[1], default=("", 0.0))
        if refusal[1] > 0:
            return refusal
        for window in (*self._tenant, *own):
            window.taken.append(now)
        return None

    def answer_headers(self, scope_key: str) -> dict[str, str]:
        """Give the headers of a 200: what the request used, and what is left."""
        left = {
            name: next((w.most - len(w.taken) for w in self._tenant if w.seconds == seconds), _PLENTY)
            for seconds, name in _WINDOW_NAMES.items()
        }
        headers = {
            f"{_PREFIX}qpu-consumed": "1",
            f"{_PREFIX}qpu-remaining": ",".join(f"{name}:{number}" for name, number in left.items()),
        }
        if own := self._scopes.get(scope_key):
            remaining = min(window.most - len(window.taken) for window in own)
            headers["x-ms-ratelimit-remaining-microsoft.costmanagement-entity-requests"] = (
                f"DefaultQuota:{remaining}"
            )
        return headers


def consumption_headers(seconds: float) -> dict[str, str]:
    """Give the headers with which usageDetails' 429 says `seconds`: one of its own, and a shorter one beside it."""
    name = "x-ms-ratelimit-microsoft.consumption"
    return {f"{name}-retry-after": f"{seconds:g}", f"{name}-tenant-retry-after": f"{seconds / 2:g}"}


def hint_headers(family: str, seconds: float) -> dict[str, str]:
    """Give the headers with which a 429 of a family says `seconds`.

    An HTTP date has whole seconds and is rounded up. Fractions are the simulator's own.

    Raises:
        ValueError: There is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"no such header family: {family}; there are {', '.join(FAMILIES)}")
    text = f"{seconds:g}"
    match family:
        case "none":
            return {}
        case "retry-after":
            return {"Retry-After": text}
        case "retry-after-date":
            until = datetime.now(UTC) + timedelta(seconds=ceil(seconds) + 1)
            return {"Retry-After": format_datetime(until.replace(microsecond=0), usegmt=True)}
        case "mixed":
            shorter = f"{seconds / 2:g}"
            return {
                "Retry-After": shorter,
                f"{_PREFIX}entity-retry-after": shorter,
                f"{_PREFIX}qpu-retry-after": text,
            }
        case _:
            return {f"{_PREFIX}{family}-retry-after": text}
