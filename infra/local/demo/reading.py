"""One reading of the tenant: what the run came to, what it published, what the provider held and did."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.local.demo.cells import (
    METRIC,
    Cells,
    by_currency,
    changed_days,
    daily_cells,
    differences,
    former_versions,
    ledger_cells,
)
from infra.local.demo.laptop import Laptop, Watch
from infra.local.demo.published import ETags, copy, days_of, rewritten
from shared.runs import Run, RunStatus


@dataclass(frozen=True, slots=True)
class Reading:
    """A closed run beside the published files and the provider's truth at its end.

    `requests` and `faults` are the provider's own count of what it was asked during the run and of what it did
    wrong on purpose; `kept` are the ledger's former versions by day.
    """

    run: Run
    seconds: float
    etags: ETags
    ledger: Cells
    daily: Cells
    kept: Mapping[date, int]
    truth: Cells
    requests: int
    faults: Mapping[str, int]

    @property
    def summary(self) -> Mapping[str, Any]:
        """What `run --json` prints."""
        return self.run.summary or {}

    @property
    def closed_at(self) -> datetime:
        """When the run was closed."""
        if self.run.closed_at is None:
            raise ValueError(f"the run {self.run.id} is not closed")
        return self.run.closed_at

    @property
    def days_published(self) -> list[date]:
        """The days that the run published; the others were as they should be."""
        return [date.fromisoformat(day["day"]) for day in self.summary["days"] if day["state"] == "published"]


async def read(
    laptop: Laptop, seed: Callable[[], Awaitable[Run]], watch: Watch, folder: Path, known: ETags
) -> Reading:
    """Seed a run, wait until it is closed, copy what is published to `folder`, and add it up.

    `known` are the ETags of what was copied there before.

    Raises:
        TimeoutError: the run does not close.
    """
    before = await laptop.provider.log()
    begun = time.monotonic()
    run = await seed()
    closed = await laptop.closed(run.id, watch)
    seconds = time.monotonic() - begun
    after = await laptop.provider.log()
    etags, truth = await asyncio.gather(copy(laptop.engine, folder, known), laptop.provider.truth())
    return Reading(
        run=closed,
        seconds=seconds,
        etags=etags,
        ledger=ledger_cells(folder),
        daily=daily_cells(folder),
        kept=former_versions(folder),
        truth=truth,
        requests=after.requests - before.requests,
        faults=after.faults - before.faults,
    )


def wrong(reading: Reading) -> list[str]:
    """Name all in which a reading is not what the provider says, to the last digit; nothing if it is."""
    found = []
    if reading.run.status is not RunStatus.COMPLETE:
        failures = [f"{one['scope']}: {one['cause']} ({one['cure']})" for one in reading.summary["failures"]]
        found.append(f"the run {reading.run.id} is {reading.run.status.value}: {'; '.join(failures)}")
    found += differences("ledger", reading.ledger, reading.truth)
    found += differences("daily", reading.daily, reading.truth)
    said = {currency: Decimal(text) for currency, text in reading.summary["totals"].get(METRIC, {}).items()}
    days = reading.run.first, reading.run.last
    of_run = {key: total for key, total in reading.truth.items() if days[0] <= key.day <= days[1]}
    if said != by_currency(of_run):
        found.append(f"the run's own totals are {said}, the provider's {by_currency(of_run)}")
    return found


def wrong_since(before: Reading, after: Reading) -> list[str]:
    """Name each day that was rewritten though the provider did not change it, or the other way round."""
    changed = changed_days(before.truth, after.truth)
    written = days_of(rewritten(before.etags, after.etags))
    return [
        *(f"{day} was rewritten, though the provider did not change it" for day in sorted(written - changed)),
        *(f"{day} was not rewritten, though the provider changed it" for day in sorted(changed - written)),
    ]
