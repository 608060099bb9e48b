"""What may befall one call that leaves the process, in the services' own terms."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import TypeVar, cast

import httpx
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)

from shared.edge import Call
from shared.storage.errors import StorageError

T = TypeVar("T")
Effect = Callable[[], Awaitable[T]]

Answer = tuple[int, dict[str, str], bytes]
"""An answer of the cost API: status, headers in lower case, body."""

OUTAGES = (AzureError, StorageError, httpx.HTTPError)
"""What an effect may raise by itself, which nobody hears any more."""

_CODES = {
    409: "EntityAlreadyExists",
    412: "UpdateConditionNotSatisfied",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
}
_CONDITIONAL = {"table insert", "table replace", "table batch", "blob put"}


class Killed(BaseException):
    """The process ended here, as far as the code can tell: nothing in the product may catch it."""


class Fate(StrEnum):
    """What may befall a call.

    DIES_BEFORE, DIES_AFTER     the process ends before, or after, the call had its effect
    FAILS                       the service says no, or nothing, and does nothing
    UNHEARD                     the service does it, and its answer is lost
    TWICE                       so it is, and the client's own retry does it again
    """

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    FAILS = "fails"
    UNHEARD = "unheard"
    TWICE = "twice"


async def befall(fate: Fate, call: Call, effect: Effect[T], failure: str = "503") -> T:
    """Let a call come to its fate; `failure` names what a service that fails says (see `failures_of`)."""
    match fate:
        case Fate.DIES_BEFORE:
            raise Killed(name_of(call))
        case Fate.DIES_AFTER:
            await _unheard(effect)
            raise Killed(name_of(call))
        case Fate.FAILS:
            return cast("T", _failed(call, failure))
        case Fate.UNHEARD:
            await _unheard(effect)
            return cast("T", _failed(call, "reset"))
        case Fate.TWICE:
            await _unheard(effect)
            return await effect()


def failures_of(call: Call) -> Sequence[str]:
    """Name what the service of a call may say or do that is no answer: statuses, `timeout` and `reset`."""
    if call.service == "token":
        return ["timeout"]
    lost = f"{call.service} {call.operation}" in _CONDITIONAL
    return ["429", "500", "503", "timeout", "reset", *(["409", "412"] if lost else [])]


async def _unheard(effect: Effect[T]) -> None:
    """Whatever the service said, nobody is there to hear it."""
    with suppress(*OUTAGES):
        await effect()


def _failed(call: Call, failure: str) -> Answer:
    """Give the cost API's answer that is none, or raise what its client or the storage's would."""
    if call.service == "api":
        return _api_failed(failure)
    if failure == "timeout":
        raise ServiceResponseTimeoutError("no answer in time")
    if failure == "reset":
        raise ServiceResponseError("Connection reset by peer")
    raise _refusal(int(failure))


def _api_failed(failure: str) -> Answer:
    if failure == "timeout":
        raise httpx.ReadTimeout("no answer in time")
    if failure == "reset":
        raise httpx.ReadError("Connection reset by peer")
    said = {"error": {"code": failure, "message": "as ordered"}}
    return int(failure), {}, json.dumps(said).encode()


def _refusal(status: int) -> HttpResponseError:
    error = HttpResponseError(f"HTTP {status}")
    error.status_code = status
    error.error_code = _CODES[status]  # type: ignore[attr-defined]  # the clients set it so
    return error


def dated(answer: Answer, now: datetime) -> Answer:
    """Date an answer of the cost API by a test's clock."""
    status, headers, body = answer
    return status, {**headers, "date": format_datetime(now, usegmt=True)}, body


def name_of(call: Call) -> str:
    """Name a call."""
    return f"{call.service} {call.operation} {call.target}"
