"""What the host reads beside the code: host.json, local.settings.json, and settings that bindings name."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from infra.local.host.errors import HostError

_TIME_SPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})(\.\d+)?")
_EXPRESSION = re.compile(r"%([^%]+)%")
_LARGEST_BATCH = 32  # what the Queue service gives in one answer
HIDDEN = timedelta(minutes=10)
"""No setting: the host hides a message that is being worked for so long, and renews that at half of it."""

_SHORTEST_INTERVAL = timedelta(milliseconds=100)


@dataclass(frozen=True, slots=True)
class QueueRules:
    """`extensions.queues` of host.json, with the host's own defaults.

    At most `batch_size + new_batch_threshold` messages of one function run at once.
    """

    batch_size: int = 16
    new_batch_threshold: int = 8
    max_dequeue_count: int = 5
    visibility_timeout: timedelta = timedelta(0)
    max_polling_interval: timedelta = timedelta(minutes=1)
    base64: bool = True
    hidden: timedelta = HIDDEN


def queue_rules(host_json: Mapping[str, Any]) -> QueueRules:
    """Read the queue rules.

    Raises:
        HostError: a value that the real host refuses as well, or an unknown message encoding.
    """
    queues = host_json.get("extensions", {}).get("queues", {})
    batch_size = _number(queues, "batchSize", 16, least=1, most=_LARGEST_BATCH)
    encoding = str(queues.get("messageEncoding", "base64")).lower()
    if encoding not in {"base64", "none"}:
        raise HostError(f"host.json: `messageEncoding` is `base64` or `none`, not `{encoding}`")
    interval = time_span("maxPollingInterval", queues.get("maxPollingInterval", "00:01:00"))
    if interval < _SHORTEST_INTERVAL:
        raise HostError("host.json: `maxPollingInterval` is at least 00:00:00.100")
    return QueueRules(
        batch_size=batch_size,
        new_batch_threshold=_number(queues, "newBatchThreshold", batch_size // 2, least=0),
        max_dequeue_count=_number(queues, "maxDequeueCount", 5, least=1),
        visibility_timeout=time_span("visibilityTimeout", queues.get("visibilityTimeout", "00:00:00")),
        max_polling_interval=interval,
        base64=encoding == "base64",
    )


def _number(
    section: Mapping[str, Any], name: str, default: int, *, least: int, most: int | None = None
) -> int:
    value = section.get(name, default)
    if not isinstance(value, int) or value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise HostError(f"host.json: `{name}` is a whole number, {limits}, not `{value}`")
    return value


def time_span(name: str, text: object) -> timedelta:
    """Read .NET's `[d.]hh:mm:ss[.fff]`, in which host.json writes its times."""
    match = _TIME_SPAN.fullmatch(str(text))
    if match is None:
        raise HostError(f"host.json: `{name}` is a time like 00:00:30, not `{text}`")
    days, hours, minutes, seconds, fraction = match.groups()
    return timedelta(
        days=int(days or 0),
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds),
        microseconds=int((fraction or ".0")[1:7].ljust(6, "0")),
    )


def resolved(text: str, environ: Mapping[str, str], function: str) -> str:
    """Replace each `%NAME%` with the setting NAME.

    Raises:
        HostError: the setting is not there; the real host does not start the function then either.
    """

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise HostError(f"function `{function}`: `{text}` names the setting `{name}`, which is not set")
        return environ[name]

    return _EXPRESSION.sub(value, text)


def connection_string(setting: str, environ: Mapping[str, str], function: str) -> str:
    """Find the connection string that a binding's `connection` names.

    The host looks for `AzureWebJobs<setting>` before `<setting>`; an empty name means `AzureWebJobsStorage`.

    Raises:
        HostError: the setting is absent, or is an identity-based one (`<setting>__queueServiceUri`).
    """
    setting = resolved(setting, environ, function) or "AzureWebJobsStorage"
    for name in (f"AzureWebJobs{setting}", setting):
        if environ.get(name):
            return environ[name]
        if any(other.startswith(f"{name}__") for other in environ):
            raise HostError(
                f"function `{function}`: `{name}__...` is an identity-based connection, which the laptop's "
                f"host does not speak; set `{name}` to a connection string "
                f"(`python -m infra.local azurite` prints one)"
            )
    raise HostError(
        f"function `{function}`: its connection setting `{setting}` is not set; "
        f"`python -m infra.local azurite` prints a connection string for it"
    )


def read_host_json(folder: Path) -> dict[str, Any]:
    """Read host.json of the app's folder; without one the host's defaults hold."""
    return _object(folder / "host.json")


def local_values(folder: Path) -> dict[str, str]:
    """Read `Values` of local.settings.json, nothing where there is no such file."""
    values = _object(folder / "local.settings.json").get("Values", {})
    return {name: str(value) for name, value in values.items()}


def _object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise HostError(f"`{path.name}` is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise HostError(f"`{path.name}` is not a JSON object")
    return content
