"""Verifying what is published: each day's files against its manifest, and their sums against each other.

Only the published files are read, none of the engine's tables: what a stranger could check, this checks.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial

import polars as pl

from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import daily_path, lying, manifest_path
from shared.ledger.published_day import DescribedFile, Finding, PublishedDay
from shared.normalise.decimals import money_sum
from shared.normalise.exact import add_by_currency, shown
from shared.storage.blobs import Blobs


@dataclass(frozen=True, slots=True)
class CheckedDay:
    """A day that was verified: how many files it has, their rows, and all that differs."""

    metric: str
    day: date
    files: int = 0
    rows: int = 0
    findings: tuple[Finding, ...] = ()


async def verify(blobs: Blobs, container: str, first: date, last: date) -> AsyncIterator[CheckedDay]:
    """Verify every day from `first` to `last` of which anything is published, one after the other.

    A day is looked at again where it was being published meanwhile.

    Raises:
        StorageError: the storage cannot be read.
    """
    for metric in COST_COLUMN:
        found = await lying(blobs, container, metric, first, last)
        for day, listed in sorted(found.items()):
            place = PublishedDay(blobs, container, metric, day)
            yield await place.until_still(listed, partial(_compare, place))


async def _compare(place: PublishedDay, listed: Mapping[str, str]) -> CheckedDay:
    return await _Comparison(place).compare(listed)


@dataclass(slots=True)
class _Comparison:
    """One day's manifest against its files, and what these add up to, per currency.

    `complete` as long as every file is there and can be read: without one of them no sum says anything.
    """

    place: PublishedDay
    ledger: Mapping[str, Decimal] = field(default_factory=dict)
    daily: Mapping[str, Decimal] = field(default_factory=dict)
    complete: bool = True

    async def compare(self, listed: Mapping[str, str]) -> CheckedDay:
        """Compare the day whose blobs were listed so."""
        metric, day = self.place.metric, self.place.day
        manifest, strays = await self.place.manifest(listed)
        if manifest is None:
            return CheckedDay(metric, day, findings=strays)
        findings = [finding for file in manifest.files for finding in await self._file(file)]
        findings += strays
        if self.complete:
            findings += self._sums(manifest_path(metric, day), manifest.totals)
        rows = sum(file.rows for file in manifest.files)
        return CheckedDay(metric, day, len({file.path for file in manifest.files}), rows, tuple(findings))

    async def _file(self, file: DescribedFile) -> tuple[Finding, ...]:
        frame, differences = await self.place.file(file)
        if frame is None:
            self.complete = False
        else:
            self._add_up(file.path, frame)
        return differences

    def _add_up(self, path: str, frame: pl.DataFrame) -> None:
        """Add a file's amounts to the day's."""
        if path == daily_path(self.place.metric, self.place.day):
            self.daily = add_by_currency([self.daily, _by_currency(frame, "currency", "cost_amount")])
        else:
            current = frame.filter(pl.col("x_ValidTo").is_null())
            amounts = _by_currency(current, "BillingCurrency", COST_COLUMN[self.place.metric])
            self.ledger = add_by_currency([self.ledger, amounts])

    def _sums(self, path: str, totals: Mapping[str, str]) -> list[Finding]:
        """Compare the manifest's totals with the sum of the daily rows and that of the ledger's current rows."""
        said = {currency: Decimal(amount) for currency, amount in totals.items()}
        return [
            Finding(path, f"totals: it says {shown(said)}, the {name} adds up to {shown(added)}")
            for name, added in (("daily file", self.daily), ("ledger", self.ledger))
            if added != said
        ]


def _by_currency(frame: pl.DataFrame, currency: str, amount: str) -> dict[str, Decimal]:
    return dict(frame.group_by(currency).agg(money_sum(amount)).iter_rows())
