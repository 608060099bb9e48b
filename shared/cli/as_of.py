"""`as-of`: each day's totals as they were believed at a time."""

from collections import Counter
from typing import Any

from shared.cli import differences
from shared.cli.arguments import Asked, UsageError
from shared.cli.instants import instant_text
from shared.cli.output import DONE, NOT_RECONCILED, amounts, print_json, print_table
from shared.cli.ranges import demand_past, lookback_at, metrics_believed
from shared.engine import Engine
from shared.history.as_of import DayAsOf, Totals, over_days
from shared.history.as_of import as_of as believed
from shared.history.beliefs import OPEN, SETTLED, UNREAD, UNREADABLE
from shared.normalise.exact import text
from shared.scopes import Scope

WITHOUT_TOTAL = {
    OPEN: "not settled then, so its rows could still be replaced in place",
    UNREAD: "nothing was known of it then: it was read later, or never",
    UNREADABLE: "its files are not what their manifest says",
}
"""Why a day has no total."""


async def as_of(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print what was believed at a time; exit with 2 where a day's files are not what its manifest says.

    Raises:
        UsageError: the time has not come yet, or none was given.
    """
    if asked.at is None:
        raise UsageError("as-of needs a TIME")
    demand_past(engine, asked.at)
    days = asked.days or lookback_at(engine, asked.at)
    place = engine.storage.blobs, engine.settings.container
    found = [
        day
        for metric in await metrics_believed(engine)
        async for day in believed(place, metric, days, asked.at, engine.settings.settle)
    ]
    if asked.json:
        print_json(
            {
                "as_of": instant_text(asked.at),
                "from": days[0].isoformat(),
                "to": days[1].isoformat(),
                "days": [describe(day) for day in found],
                "differences": [
                    differences.described(day.metric, day.day, finding)
                    for day in found
                    for finding in day.findings
                ],
            }
        )
    else:
        print(f"as of {instant_text(asked.at)}")
        _print(found)
    return NOT_RECONCILED if any(day.findings for day in found) else DONE


def describe(day: DayAsOf) -> dict[str, Any]:
    """Say what was believed of a day; `totals` is null where that cannot be said."""
    return {
        "metric": day.metric,
        "day": day.day.isoformat(),
        "state": day.state,
        "totals": None if day.totals is None else texts(day.totals),
        "subscriptions": [
            {"subscription_id": subscription, "totals": texts(totals)}
            for subscription, totals in day.subscriptions.items()
        ],
    }


def texts(totals: Totals) -> dict[str, str]:
    """Write amounts as everything that is published does."""
    return {currency: text(amount) for currency, amount in totals.items()}


def _print(found: list[DayAsOf]) -> None:
    head = ("metric", "day", "state", "totals")
    print_table(
        head,
        [(day.metric, day.day.isoformat(), day.state, amounts(texts(day.totals or {}))) for day in found],
    )
    for metric in dict.fromkeys(day.metric for day in found):
        of_metric = [day for day in found if day.metric == metric]
        states = Counter(day.state for day in of_metric)
        print(f"\n{metric}, {states[SETTLED]} settled days")
        rows = [(name, amounts(texts(totals))) for name, totals in over_days(of_metric).items()]
        if rows:
            print_table(("subscription", "totals"), rows)
        for state, why in WITHOUT_TOTAL.items():
            if states[state]:
                print(f"{state}: {states[state]} ({why})")
    for day in found:
        for finding in day.findings:
            print(differences.line(finding))
