"""What was believed at another time, asked as the commands ask it, in the shapes in which tests compare it."""

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from infra.local.simulator import Tenant
from shared.cli.arguments import Asked
from shared.cli.changes import changes
from shared.history.as_of import DayAsOf
from shared.history.as_of import as_of as believed
from shared.normalise.exact import total
from tests.laptop import Laptop
from tests.truth import Totals

METRIC = "ActualCost"
MOMENT = timedelta(seconds=1)
NOTHING = Decimal(0)

Cell = tuple[date, str, str]


def tenant_of(days: int = 2) -> Tenant:
    return Tenant(6, subscriptions=2, days=days, rows_per_day=30)


def now(bench: Laptop) -> datetime:
    """Give the time, and let the next reading begin after it: the service dates its answers in whole seconds."""
    bench.clock.ahead += 2 * MOMENT
    return bench.clock() - MOMENT


async def asked(bench: Laptop, at: datetime, days: Sequence[date] | None = None) -> list[DayAsOf]:
    days = days or bench.tenant.days
    place = bench.engine.storage.blobs, bench.engine.settings.container
    return [
        day async for day in believed(place, METRIC, (days[0], days[-1]), at, bench.engine.settings.settle)
    ]


def amounts(days: Sequence[DayAsOf]) -> dict[Cell, Decimal]:
    """Give what was believed as the simulator tells its truth; every day must have been settled."""
    assert {day.state for day in days} == {"settled"}
    found = {
        (day.day, currency, subscription): amount
        for day in days
        for subscription, totals in day.subscriptions.items()
        for currency, amount in totals.items()
    }
    for day in days:
        assert day.totals is not None
        for currency, amount in day.totals.items():
            of_day = [part for key, part in found.items() if key[:2] == (day.day, currency)]
            assert amount == total(of_day)
    return found


def costs(truth: Totals) -> dict[Cell, Decimal]:
    return {key: amount for key, (amount, _) in truth.items()}


async def changed(
    bench: Laptop, capsys: pytest.CaptureFixture[str], earlier: datetime, later: datetime, code: int = 0
) -> dict[str, Any]:
    capsys.readouterr()
    said = Asked(command="changes", json=True, times=(earlier, later))
    assert await changes(bench.engine, said, ()) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


async def versions(bench: Laptop, day: date) -> pl.DataFrame:
    """Give the rows of a day that came or went after its first reading, in the order of their times."""
    ledger = await bench.ledger(METRIC, day)
    first = ledger["x_ValidFrom"].min()
    return ledger.filter((pl.col("x_ValidFrom") > first) | pl.col("x_ValidTo").is_not_null()).sort(
        "x_ValidFrom"
    )
