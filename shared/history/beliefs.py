"""What a day's ledger says was believed at one or more times, and since when it knows anything.

A row was believed from its x_ValidFrom until its x_ValidTo, and these are the times of the readings that brought
and ended it: once a reading is published, the ledger answers with it for the time before its publication too. Before
a day settles its rows are replaced in place, so of that time the ledger says nothing.

A day costs one call for its manifest and one for each of its ledger partitions; listing what lies there is three
calls a month and metric (or day, where only one is asked for).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

import polars as pl

from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import lying, subscription_of
from shared.ledger.published_day import DescribedFile, Finding, Manifest, PublishedDay
from shared.normalise.decimals import money_sum
from shared.normalise.exact import plus
from shared.plan.windows import windows
from shared.storage.blobs import Blobs
from shared.together import together
from shared.view import settled_at

AT_ONCE: Final = 8
"""How many files are read side by side; no more than these are held in memory."""

AHEAD: Final = timedelta(days=1)
"""How far the times in a ledger may lie ahead of the clock that dated its publication."""

_LONGEST: Final = 31

OPEN, UNREAD, SETTLED, UNREADABLE = "open", "unread", "settled", "unreadable"
"""How a day stands at a time: its rows may still be replaced in place; nothing was known of it; its total stands;
or its files are not what their manifest says, and nothing is said of it."""


@dataclass(frozen=True, slots=True)
class Charged:
    """Who was charged for what: `subscription` is lower case or `none`, `service` None where nobody named one."""

    subscription: str
    service: str | None
    currency: str


Amounts = Mapping[Charged, Decimal]


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What a day's ledger says of each time that was asked for, in their order.

    `since` is the earliest time of which the day's files say anything, None where nobody ever read it. `amounts`
    has one mapping for each time, and is None where the day was not read because nothing in it can have changed
    since. With `findings` the rest means nothing.
    """

    metric: str
    day: date
    since: datetime | None = None
    amounts: tuple[Amounts, ...] | None = None
    findings: tuple[Finding, ...] = ()

    def state(self, at: datetime, settle: timedelta) -> str:
        """Say how the day stands at a time."""
        if at < settled_at(self.day, settle):
            return OPEN
        if self.findings:
            return UNREADABLE
        return UNREAD if self.since is None or at < self.since else SETTLED


async def beliefs(
    place: tuple[Blobs, str],
    metric: str,
    days: tuple[date, date],
    times: Sequence[datetime],
    *,
    changed_since: datetime | None = None,
) -> AsyncIterator[Beliefs]:
    """Read every day of a range, one after the other; of one that is not published, nothing is known.

    Args:
        place: the storage's blobs and the container of the published files.
        metric: ActualCost or AmortizedCost.
        days: the first and the last day, both included.
        times: the times to answer for.
        changed_since: leave the amounts of a day alone of which no row can have come or gone since.

    Raises:
        StorageError: the storage cannot be read.
    """
    blobs, container = place
    for month in windows(*days, _LONGEST):
        found = await lying(blobs, container, metric, month.first, month.last)
        for day in month.days:
            where = PublishedDay(blobs, container, metric, day)
            if day in found:
                yield await where.until_still(found[day], partial(_look, where, times, changed_since))
            else:
                yield Beliefs(metric, day)


async def _look(
    where: PublishedDay, times: Sequence[datetime], changed_since: datetime | None, listed: Mapping[str, str]
) -> Beliefs:
    manifest, findings = await where.manifest(listed)
    if manifest is None or findings:
        return Beliefs(where.metric, where.day, findings=findings)
    if changed_since is not None and manifest.published_at + AHEAD <= changed_since:
        return Beliefs(where.metric, where.day, since=manifest.since)
    return await _read(where, times, manifest)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one partition says."""

    amounts: tuple[Amounts, ...] = ()
    findings: tuple[Finding, ...] = ()


async def _read(where: PublishedDay, times: Sequence[datetime], manifest: Manifest) -> Beliefs:
    room = asyncio.Semaphore(AT_ONCE)

    async def partition(file: DescribedFile, subscription: str) -> _Said:
        async with room:
            frame, findings = await where.file(file)
            if frame is None or findings:
                return _Said(findings=findings)
            believed = (amounts_at(frame, subscription, COST_COLUMN[where.metric], time) for time in times)
            return _Said(tuple(believed))

    ledger = [
        partition(file, subscription)
        for file in manifest.files
        if (subscription := subscription_of(file.path, where.metric, where.day)) is not None
    ]
    said = await together(ledger)
    return Beliefs(
        where.metric,
        where.day,
        since=manifest.since,
        amounts=tuple(_together(said, number) for number in range(len(times))),
        findings=tuple(finding for one in said for finding in one.findings),
    )


def _together(said: Sequence[_Said], number: int) -> Amounts:
    """Put the partitions' amounts of one time together: each is of a subscription of its own."""
    return {key: amount for one in said if one.amounts for key, amount in one.amounts[number].items()}


def amounts_at(frame: pl.DataFrame, subscription: str, cost: str, at: datetime) -> Amounts:
    """Add up what was believed of a partition at a time."""
    ended = pl.col("x_ValidTo")
    rows = frame.filter((pl.col("x_ValidFrom") <= at) & (ended.is_null() | (ended > at)))
    # Grouped as the daily totals are: those sums were found to fit when they were current.
    totals = rows.group_by("ServiceName", "BillingCurrency", "x_IsAdjustment").agg(money_sum(cost))
    amounts: dict[Charged, Decimal] = {}
    for service, currency, amount in totals.select("ServiceName", "BillingCurrency", cost).iter_rows():
        key = Charged(subscription, service, currency)
        amounts[key] = plus(amounts[key], amount) if key in amounts else amount
    return amounts
