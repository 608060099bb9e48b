"""`days`: what is published of each day, whether it is reconciled and settled, and how fresh it is."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from shared.cli.arguments import Asked
from shared.cli.output import DONE, NOT_RECONCILED, NOTHING, amounts, moment, print_json, print_table
from shared.cli.ranges import metrics_of, range_of
from shared.days import Day, Pointer, Publication, ScopeState
from shared.engine import Engine
from shared.ledger.manifest import data_as_of, told
from shared.normalise.exact import text
from shared.scopes import Scope
from shared.view import settled_at

RECONCILED = ScopeState.RECONCILED.value
MISSING = ScopeState.MISSING.value


async def published(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print one line for each metric and day; exit with 2 where a day or a scope in it is not reconciled."""
    first, last = range_of(engine, asked)
    found = [
        describe(metric, day, known.get(day), engine.settings.settle)
        for metric in metrics_of(engine)
        for known in [await engine.days.days(metric, first, last)]
        for day in _days(first, last)
    ]
    if asked.json:
        print_json(found)
    else:
        _print(found)
    whole = all(day["state"] == RECONCILED and not day["scopes"] for day in found)
    return DONE if whole else NOT_RECONCILED


def describe(metric: str, day: date, known: Day | None, settle: timedelta) -> dict[str, Any]:
    """Say what is published of a day, in the manifest's words; `state` is `missing` where nothing ever was.

    `scopes` are those that are not reconciled. `pending` is true where a reading that differs from what is
    published waits to be published; until then nobody can tell up to when the published data reaches.
    """
    publication = None if known is None else known.published
    pointers = () if known is None else known.pointers
    if publication is None:
        return {
            **_nothing(metric, day),
            "pending": any(pointer.reading is not None for pointer in pointers),
            "scopes": [_scope(pointer, {}) for pointer in pointers if pointer.state.value != RECONCILED],
        }
    counting = [pointer for pointer in pointers if pointer.key in publication.view]
    pending = any(_differs(pointer, publication) for pointer in counting)
    return {
        **_nothing(metric, day),
        "state": publication.status,
        "settled": publication.as_of >= settled_at(day, settle),
        "pending": pending,
        "totals": {currency: text(amount) for currency, amount in sorted(publication.totals.items())},
        "data_as_of": None if pending else moment(data_as_of(counting)),
        "published_at": moment(publication.published_at),
        "scopes": _not_reconciled(counting, publication),
    }


def _nothing(metric: str, day: date) -> dict[str, Any]:
    """A day of which nothing is published; it fixes the order of the fields."""
    return {
        "metric": metric,
        "day": day.isoformat(),
        "state": MISSING,
        "settled": False,
        "pending": False,
        "totals": {},
        "data_as_of": None,
        "published_at": None,
        "scopes": [],
    }


def _differs(pointer: Pointer, publication: Publication) -> bool:
    reading = pointer.reading
    _, digest, shape, _ = publication.view[pointer.key]
    return reading is not None and (reading.digest, reading.shape) != (digest, shape)


def _not_reconciled(pointers: list[Pointer], publication: Publication) -> list[dict[str, Any]]:
    """Name the scopes without a reconciled reading, those that nobody ever tried to read included."""
    scopes = [_scope(pointer, publication.disagrees) for pointer in pointers]
    tried = {pointer.key for pointer in pointers}
    scopes += [
        {"scope": path, "state": MISSING, "cause": None}
        for key, (path, _, _, _) in publication.view.items()
        if key not in tried
    ]
    return sorted(
        (scope for scope in scopes if scope["state"] != RECONCILED), key=lambda scope: str(scope["scope"])
    )


def _scope(pointer: Pointer, disagrees: Mapping[str, str]) -> dict[str, Any]:
    state, cause = told(pointer, disagrees)
    return {"scope": pointer.scope, "state": state.value, "cause": cause}


def _print(found: list[dict[str, Any]]) -> None:
    head = ("metric", "day", "state", "settled", "data as of", "published at", "totals")
    print_table(head, [_cells(day) for day in found])
    for line in not_reconciled_lines(found):
        print(line)


def not_reconciled_lines(found: list[dict[str, Any]]) -> list[str]:
    """Write one line for each scope and cause, with the days it is about: a missing role fails all of them."""
    days: dict[tuple[str, ...], list[str]] = {}
    for day in found:
        for scope in day["scopes"]:
            cause = f": {scope['cause']}" if scope["cause"] else ""
            days.setdefault((day["metric"], scope["scope"], scope["state"] + cause), []).append(day["day"])
    return [
        f"{metric} {scope}, {len(of)} days from {min(of)} to {max(of)}: {state}"
        for (metric, scope, state), of in days.items()
    ]


def _cells(day: dict[str, Any]) -> tuple[str, ...]:
    return (
        day["metric"],
        day["day"],
        day["state"],
        "settled" if day["settled"] else "open",
        "new data waits" if day["pending"] else day["data_as_of"] or NOTHING,
        day["published_at"] or NOTHING,
        amounts(day["totals"]),
    )


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
