"""The manifest of a day: what was published, from which readings, and how each scope stands."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from shared.days import Pointer, PublishedFile, ScopeState
from shared.normalise.exact import text

VERSION = 1
RECONCILED, INCOMPLETE, UNRECONCILED = "reconciled", "incomplete", "unreconciled"


def status_of(listed: Iterable[str], pointers: Mapping[str, Pointer]) -> str:
    """Give a day's status: reconciled if every listed scope (by key) has a reconciled reading in it."""
    readings = [pointers[key].reading if key in pointers else None for key in listed]
    if any(pointer.reading is not None and not pointer.reading.agreed for pointer in pointers.values()):
        return UNRECONCILED
    return RECONCILED if all(reading is not None for reading in readings) else INCOMPLETE


def data_as_of(pointers: Iterable[Pointer]) -> datetime | None:
    """Give the time that all of a day's readings reach up to: the earliest of them."""
    return min((pointer.reading.read_at for pointer in pointers if pointer.reading is not None), default=None)


def manifest(  # noqa: PLR0913 - a manifest's fields, by name
    *,
    metric: str,
    day: date,
    status: str,
    settled: bool,
    pointers: Sequence[Pointer],
    missing: Iterable[str],
    published_at: datetime,
    totals: Mapping[str, Decimal],
    shadowed: Mapping[str, Mapping[str, Decimal]],
    disagrees: Mapping[str, str],
    files: Sequence[PublishedFile],
) -> bytes:
    """Write a manifest. `missing` are listed scopes nobody ever read; `shadowed` and `disagrees` go by path."""
    scopes = [_scope(pointer, shadowed.get(pointer.scope.lower(), {}), disagrees) for pointer in pointers]
    scopes += [{**_blank(path), "state": ScopeState.MISSING.value} for path in missing]
    document = {
        "version": VERSION,
        "metric": metric,
        "usage_date": day.isoformat(),
        "status": status,
        "settled": settled,
        "data_as_of": _time(data_as_of(pointers)),
        "published_at": _time(published_at),
        "totals": _amounts(totals),
        "scopes": sorted(scopes, key=lambda scope: str(scope["scope"]).lower()),
        "files": [
            {"path": file.path, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256} for file in files
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def _scope(pointer: Pointer, shadowed: Mapping[str, Decimal], disagrees: Mapping[str, str]) -> dict[str, Any]:
    reading, attempt = pointer.reading, pointer.attempt
    disagreement = disagrees.get(pointer.scope.lower())
    state = pointer.state
    if state is ScopeState.RECONCILED and disagreement is not None:
        state = ScopeState.DISAGREES
    cause = disagreement if attempt is None else attempt.cause
    entry = {**_blank(pointer.scope), "state": state.value, "cause": cause, "shadowed": _amounts(shadowed)}
    if reading is not None:
        entry |= {
            "run": reading.run,
            "generation": reading.generation,
            "read_at": _time(reading.read_at),
            "records": reading.records,
            "totals": _amounts(reading.totals),
            "control": _amounts(reading.control) if reading.control_kind == "query" else None,
            "control_kind": reading.control_kind,
        }
    return entry


def _blank(path: str) -> dict[str, Any]:
    """A scope's entry before anything is known; it fixes the order of the fields."""
    names = ("state", "run", "generation", "read_at", "records", "totals", "control", "control_kind", "shadowed", "cause")
    return {"scope": path, **dict.fromkeys(names)}


def _amounts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: text(amount) for currency, amount in sorted(amounts.items())}


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")
