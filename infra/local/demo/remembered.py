"""What the ledger answers about the past, beside what the provider held then."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from infra.local.demo.cells import METRIC, ByDay, by_day, moved
from infra.local.demo.reading import Reading
from shared.engine import Engine
from shared.history.as_of import as_of
from shared.history.changes import Changes, changes

Told = Mapping[tuple[date, str, str], Decimal]
"""Amounts by day, currency and subscription."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What `as-of` says of the days that were settled when the first of two readings was published, and `changes`."""

    at: datetime
    days: tuple[date, ...]
    then: Told
    changes: Changes


async def remembered(engine: Engine, before: Reading, after: Reading) -> Remembered:
    """Ask what was believed when the first reading was published, and what has changed between the two."""
    place = engine.storage.blobs, engine.settings.container
    times = before.closed_at, after.closed_at
    asked = before.run.first, before.run.last
    found = [day async for day in as_of(place, METRIC, asked, times[0], engine.settings.settle)]
    return Remembered(
        at=times[0],
        days=tuple(day.day for day in found if day.state == "settled"),
        then={
            (day.day, currency, subscription): amount
            for day in found
            for subscription, totals in day.subscriptions.items()
            for currency, amount in totals.items()
        },
        changes=await changes(place, [METRIC], times, engine.settings.settle),
    )


def misremembered(said: Remembered, before: Reading, after: Reading) -> list[str]:
    """Name all in which the ledger remembers anything else than what the provider held; nothing if it does not."""
    held = {
        (key.day, key.currency, key.subscription): total.amount
        for key, total in before.truth.items()
        if key.day in said.days
    }
    found = [
        f"as of {said.at}, {key}: {said.then.get(key)}, the provider held {held.get(key)}"
        for key in sorted(held.keys() | said.then.keys())
        if held.get(key) != said.then.get(key)
    ]
    theirs = {key: total.amount for key, total in _moved(said.days, before, after).items() if total.amount}
    ours = {(day.day, day.currency): day.amount.change for day in said.changes.days if day.amount.change}
    if ours != theirs:
        found.append(f"`changes` says {ours}, the provider changed {theirs}")
    return found


def _moved(days: tuple[date, ...], before: Reading, after: Reading) -> ByDay:
    found = moved(by_day(before.truth), by_day(after.truth))
    return {key: total for key, total in found.items() if key[0] in days}
