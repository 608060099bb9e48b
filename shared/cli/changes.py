"""`changes`: what was believed otherwise at one time than at another, largest first."""

from decimal import Decimal
from typing import Any

from shared.cli import differences
from shared.cli.arguments import Asked, UsageError
from shared.cli.instants import instant_text
from shared.cli.output import DONE, NOT_RECONCILED, NOTHING, print_json, print_table
from shared.cli.ranges import demand_past, metrics_believed
from shared.engine import Engine
from shared.history.beliefs import OPEN, SETTLED, UNREAD, UNREADABLE
from shared.history.changes import Changes, Moved, MovedCharge, MovedDay
from shared.history.changes import changes as compared
from shared.normalise.exact import text
from shared.scopes import Scope

LEFT_OUT = {
    OPEN: "not settled at the earlier time",
    UNREAD: "nothing was known of it at the earlier time",
    UNREADABLE: "its files are not what their manifest says",
}
"""Why a published day was not compared."""


async def changes(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print what changed between two times; exit with 2 where a day's files are not what its manifest says.

    Raises:
        UsageError: a time has not come yet, or none were given.
    """
    if asked.times is None:
        raise UsageError("changes needs --from TIME and --to TIME")
    demand_past(engine, *asked.times)
    place = engine.storage.blobs, engine.settings.container
    found = await compared(place, await metrics_believed(engine), asked.times, engine.settings.settle)
    earlier, later = map(instant_text, asked.times)
    if asked.json:
        print_json({"from": earlier, "to": later, **describe(found)})
    else:
        print(f"from {earlier} to {later}")
        _print(found)
    return NOT_RECONCILED if found.findings else DONE


def describe(found: Changes) -> dict[str, Any]:
    """Say what changed, and how many published days were compared or left out, by their state."""
    return {
        "changes": [_charge(moved) for moved in found.charges],
        "days": [_day(moved) for moved in found.days],
        "compared": found.states[SETTLED],
        "left_out": {state: found.states[state] for state in LEFT_OUT},
        "differences": [differences.described(*one) for one in found.findings],
    }


def _charge(moved: MovedCharge) -> dict[str, Any]:
    return {
        "metric": moved.metric,
        "subscription_id": moved.charged.subscription,
        "service_name": moved.charged.service,
        "currency": moved.charged.currency,
        **_amounts(moved.amount),
        "days": moved.days,
    }


def _day(moved: MovedDay) -> dict[str, Any]:
    return {
        "metric": moved.metric,
        "day": moved.day.isoformat(),
        "currency": moved.currency,
        **_amounts(moved.amount),
    }


def _amounts(amount: Moved) -> dict[str, str]:
    return {
        "before": text(amount.before),
        "after": text(amount.after),
        "change": text(amount.change),
        "gross": text(amount.gross),
    }


def _print(found: Changes) -> None:
    if found.charges:
        _print_rows([_charge(moved) for moved in found.charges])
    if found.days:
        print()
        _print_rows([_day(moved) for moved in found.days])
    said = "" if found.charges or found.days else ", nothing changed"
    print(f"days compared: {found.states[SETTLED]}{said}")
    for state, why in LEFT_OUT.items():
        if found.states[state]:
            print(f"left out, {state}: {found.states[state]} ({why})")
    for _, _, finding in found.findings:
        print(differences.line(finding))


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """Print rows under the names of their fields, a change with its sign."""
    signed = [{**row, "change": f"{Decimal(row['change']):+f}"} for row in rows]
    head = [name.replace("_", " ") for name in rows[0]]
    print_table(head, [[NOTHING if cell is None else str(cell) for cell in row.values()] for row in signed])
