"""The manifest of a day: what was published, from which readings, and how each scope stands."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from shared.days import Pointer, Publication, ScopeState
from shared.ledger.cells import ChargeClass
from shared.ledger.overlaps import Overlap
from shared.ledger.ownership import Assignment
from shared.normalise.exact import text
from shared.runs import ListedScope
from shared.scopes import Scope

VERSION = 1
MOST_TOLD = 20
"""How many differences of a scope are told in words."""

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


def manifest(
    publication: Publication,
    listed: Iterable[ListedScope],
    pointers: Mapping[str, Pointer],
    shadowed: Mapping[str, Mapping[str, Decimal]],
    *,
    settled: bool,
) -> bytes:
    """Write the manifest of a publication.

    `listed` is its scope list, `pointers` go by scope key, `shadowed` (amounts per currency) by path.
    """
    amounts = {path.lower(): found for path, found in shadowed.items()}
    scopes = [
        _scope(pointer, amounts.get(pointer.scope.lower(), {}), publication.disagrees)
        for pointer in pointers.values()
    ]
    missing = (scope.path for scope in listed if scope.key not in pointers)
    scopes += [{**_blank(path), "state": ScopeState.MISSING.value} for path in missing]
    document = {
        "version": VERSION,
        "metric": publication.metric,
        "usage_date": publication.day.isoformat(),
        "status": publication.status,
        "settled": settled,
        "data_as_of": _time(data_as_of(pointers.values())),
        "known_since": _time(publication.known_since),
        "published_at": _time(publication.published_at),
        "totals": _amounts(publication.totals),
        "scopes": sorted(scopes, key=lambda scope: str(scope["scope"]).lower()),
        "files": [
            {"path": file.path, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
            for file in publication.files
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def disagreements(owned: Assignment, tolerance: Decimal) -> dict[str, str]:
    """Name the shadowed scopes that see another cost than the owner, by path in lower case, with both figures.

    The largest differences of each currency come first; those beyond `MOST_TOLD` are counted.
    """
    found: dict[str, list[str]] = {}
    differing = (overlap for overlap in owned.overlaps if not overlap.agrees(tolerance))
    for overlap in sorted(differing, key=_by_difference):
        found.setdefault(overlap.scope.lower(), []).append(
            f"{overlap.charge_class.value} of {overlap.subscription_id}: it says {overlap.shadowed_total:f} "
            f"{overlap.currency}, the owner {overlap.owner_total:f}"
        )
    return {scope: f"Disagrees: {'; '.join(_first(parts))}" for scope, parts in found.items()}


def _by_difference(overlap: Overlap) -> tuple[str, Decimal]:
    return overlap.currency, -abs(overlap.shadowed_total - overlap.owner_total)


def _first(parts: Sequence[str]) -> Sequence[str]:
    more = len(parts) - MOST_TOLD
    return [*parts[:MOST_TOLD], f"and {more} more"] if more > 0 else parts


def alike(owned: Assignment, tolerance: Decimal) -> dict[str, tuple[str, ...]]:
    """Name the subscriptions whose usage a billing scope sees as those do whose rows count, by its lower-case path.

    The rows that count are then what the scope's own bill is about, though they bear another's name.
    """
    agrees: dict[tuple[str, str], bool] = {}
    for overlap in owned.overlaps:
        if overlap.charge_class is ChargeClass.USAGE and Scope.parse(overlap.scope).is_billing:
            seen = (overlap.scope.lower(), overlap.subscription_id)
            agrees[seen] = agrees.get(seen, True) and overlap.agrees(tolerance)
    found: dict[str, tuple[str, ...]] = {}
    for scope, subscription in sorted(seen for seen, both in agrees.items() if both):
        found[scope] = (*found.get(scope, ()), subscription)
    return found


def _scope(pointer: Pointer, shadowed: Mapping[str, Decimal], disagrees: Mapping[str, str]) -> dict[str, Any]:
    reading = pointer.reading
    state, cause = told(pointer, disagrees)
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


def told(pointer: Pointer, disagrees: Mapping[str, str]) -> tuple[ScopeState, str | None]:
    """Give a scope's state and why it is so: what failed last, and where it disagrees, which may both be so."""
    attempt, disagreement = pointer.attempt, disagrees.get(pointer.scope.lower())
    causes = [attempt.cause if attempt is not None else None, disagreement]
    is_other = pointer.state is ScopeState.RECONCILED and disagreement is not None
    state = ScopeState.DISAGREES if is_other else pointer.state
    return state, "; ".join(cause for cause in causes if cause is not None) or None


def _blank(path: str) -> dict[str, Any]:
    """A scope's entry before anything is known; it fixes the order of the fields."""
    names = (
        "state",
        "run",
        "generation",
        "read_at",
        "records",
        "totals",
        "control",
        "control_kind",
        "shadowed",
        "cause",
    )
    return {"scope": path, **dict.fromkeys(names)}


def _amounts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: text(amount) for currency, amount in sorted(amounts.items())}


def _time(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")
