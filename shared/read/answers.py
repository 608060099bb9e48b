"""What an answer of the cost API means: classified here, and nowhere else.

    Answer
    ├── PageAnswer   200 or 204: rows, perhaps none
    ├── Throttled    429: come back after so long, everyone
    ├── Transient    the service stumbled: try again, a bounded number of times
    ├── Expired      401 ExpiredAuthenticationToken: one fresh token, once
    └── Refused      final: the slice ends with a cause and a cure

Codes and texts: AZURE-FACTS section 5 in the project's design notes; throttle headers: section 4 there, and
learn.microsoft.com "Latency and rate limit considerations". Cost Management's own 429 usually has no Retry-After.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from shared.quota.limits import Used

READER = "Cost Management Reader 72fafb9e-0641-4937-9268-a91bfd8191a3"
LONGEST_HINT = timedelta(hours=1)
QUERY, DETAILS = "Query", "usageDetails"
"""The APIs that are asked, as a cure names them."""
BAD_REQUEST = 400
FARTHEST = timedelta(days=1)
"""How far an answer's date may be from this machine's clock, ahead or back, and still be the service's own."""

_QPU = "x-ms-ratelimit-microsoft.costmanagement-qpu-"
_SPANS = {
    "QueriesPerHour": timedelta(hours=1),
    "QueriesPerMin": timedelta(minutes=1),
    "QueriesPer10Sec": timedelta(seconds=10),
}
_COUNT = re.compile("[0-9]{1,6}")
_TRANSIENT_404 = "gtmdimensiondataprovider"


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A body to read (empty for 204), the service's own time, and what the answer says of the tenant's quota."""

    body: bytes
    read_at: datetime
    used: Used = field(default_factory=Used)


@dataclass(frozen=True, slots=True)
class Throttled:
    """Too many requests: the longest of all hints given, at least the floor."""

    wait: timedelta


@dataclass(frozen=True, slots=True)
class Transient:
    """The service stumbled; `wait` is its own hint, if it gave one."""

    cause: str
    detail: str
    wait: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """The token is no longer valid."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Final: asking again gives the same. `status` is the answer's, None where there was none."""

    cause: str
    cure: str
    status: int | None = None

    @property
    def unserved(self) -> bool:
        """Whether the API does not know this scope, or not this question."""
        return self.status in {400, 404}


Answer = PageAnswer | Throttled | Transient | Expired | Refused


def classify(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    scope: str,
    floor: timedelta,
    now: datetime,
    api: str = QUERY,
) -> Answer:
    """Say what an answer means; `api` is what was asked, as a cure names it.

    `headers` have lower-case names; `floor` is the least wait after a 429; `now` dates an answer without Date.
    """
    if status in {200, 204}:
        return _page(status, body, headers, now)
    hint = longest_hint(headers, now)
    if status == 429:  # noqa: PLR2004
        return Throttled(max(floor, hint or floor))
    code, message = _error(body)
    said = f"{status} {code}: {message}" if message else f"{status} {code}"
    if 300 <= status < 400:  # noqa: PLR2004
        target = headers.get("location", "nowhere")
        return Refused(
            f"RedirectRefused: {status} to {target[:200]}",
            "check ARM_ENDPOINT: the service must answer itself, a token is never sent after a redirect",
        )
    if status == 401 and code == "ExpiredAuthenticationToken":  # noqa: PLR2004
        return Expired()
    if status >= 500 or status == 408 or (status == 404 and _TRANSIENT_404 in message.lower()):  # noqa: PLR2004
        return Transient(code, said, hint)
    # A missing role is said by its code alone: the message repeats scope and identity, the cure names the role.
    cause = code if status in {401, 403} else said
    return Refused(cause, _cure(status, code, message, scope, api), status)


def _page(status: int, body: bytes, headers: Mapping[str, str], now: datetime) -> Answer:
    read_at = date_of(headers) or now
    if far_off(read_at, now):
        said = f"the answer is dated {read_at.isoformat()}, the clock of this machine says {now.isoformat()}"
        # The later reading counts, so this one would be replaced by none, or would itself replace none.
        return Transient("WrongDate", f"{said}: a cache or proxy answered, or one of the clocks is wrong")
    if status == 204:  # noqa: PLR2004
        return PageAnswer(b"", read_at, used(headers))
    if not body.strip():
        return Transient("TornBody", "200 without a body; no data is 204 or a body without rows")
    return PageAnswer(body, read_at, used(headers))


def used(headers: Mapping[str, str]) -> Used:
    """Read what an answer says of the tenant's quota; what cannot be read says nothing."""
    units = headers.get(f"{_QPU}consumed", "")
    told = (part.partition(":") for part in headers.get(f"{_QPU}remaining", "").split(","))
    left = {
        _SPANS[name.strip()]: int(number)
        for name, _, number in told
        if name.strip() in _SPANS and _COUNT.fullmatch(number)
    }
    return Used(max(1, int(units)) if _COUNT.fullmatch(units) else 1, left)


def longest_hint(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Give the longest wait that any header asks for, None where none does.

    Hints of 1 to 12 seconds proved too short beside a longer one, so the largest of them all counts.
    """
    hints = [
        hint
        for name, value in headers.items()
        if name == "retry-after" or (name.startswith("x-ms-ratelimit-") and name.endswith("retry-after"))
        if (hint := _hint(value, now)) is not None
    ]
    return min(max(hints), LONGEST_HINT) if hints else None


def _hint(value: str, now: datetime) -> timedelta | None:
    text = value.strip()
    if text.replace(".", "", 1).isdigit():
        whole, _, fraction = text.partition(".")
        seconds = min(int(whole or 0), int(LONGEST_HINT.total_seconds()))
        return timedelta(seconds=seconds, microseconds=int((fraction + "000000")[:6]))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(at - now, timedelta())


def date_of(headers: Mapping[str, str]) -> datetime | None:
    """Give the service's own time of an answer, None where it has none that can be read."""
    try:
        at = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else at.replace(tzinfo=UTC)


def far_off(at: datetime, now: datetime) -> bool:
    """Tell whether a date is too far from this machine's clock to be the service's own."""
    return abs(at - now) > FARTHEST


def _error(body: bytes) -> tuple[str, str]:
    try:
        error: Any = msgspec.json.decode(body).get("error", {})
        return str(error.get("code", "Unknown"))[:100], str(error.get("message", ""))[:500]
    except (msgspec.DecodeError, AttributeError, UnicodeDecodeError):
        return "Unknown", ""


def _cure(status: int, code: str, message: str, scope: str, api: str) -> str:
    text = message.lower()
    if status == 401 and code != "RBACAccessDenied":  # noqa: PLR2004
        return f"check the identity this app signs in with: its token was not accepted for {scope}"
    if status in {401, 403}:
        return f"grant {READER} on {scope}"
    if status == 404:  # noqa: PLR2004
        return f"remove {scope} from COST_SCOPES if it is gone; an unsupported offer cannot be read by {api}"
    if api != QUERY:
        return (
            f"{api} does not serve {scope} as asked: see the cause, then this scope's `period` in COST_SCOPES"
        )
    if status == BAD_REQUEST and ("grouping" in text or "dimension" in text):
        return "change COST_GROUPING (or this scope's `grouping` in COST_SCOPES): the service refuses a dimension"
    return f"{api} does not serve {scope} as asked: see the cause, then COST_SCOPES and COST_GROUPING"
