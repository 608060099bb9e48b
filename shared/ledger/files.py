"""The published files: their fixed names, what lies there, and how they are read and written under their ETags."""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Final

import polars as pl

from shared.days import PublishedFile
from shared.ledger.columns import COST_COLUMN, DAILY, LEDGER, NO_SUBSCRIPTION
from shared.staging import decode, encode
from shared.storage.blobs import Blobs
from shared.storage.errors import Conflict
from shared.versions import UnreadableError

SUBSCRIPTION = "subscription_id="
DATA = "data.parquet"
DAILY_PREFIX: Final = "daily/"
LEDGER_DAYS: Final = "ledger/metric={}/usage_date="
DAILY_DAYS: Final = DAILY_PREFIX + "metric={}/usage_date="
MANIFEST_DAYS: Final = "manifests/metric={}/"
"""What the names of a metric's files begin with, before the day."""

CURE: Final = "restore the blob that its manifest describes (size and sha256) and `run` again"

ELSEWHERE_CURE: Final = (
    "restore the blob that its manifest describes (size and sha256), or remove this one where its manifest names "
    "none, and `run` again"
)

_COPY = re.compile(
    rf"({NO_SUBSCRIPTION}[\W_]|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}.).*", re.DOTALL
)
"""What somebody names a copy of a partition: a subscription's id, or `none`, and more."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A day's blobs as they were listed: their ETags by name. Only what was listed is replaced."""

    etags: dict[str, str]

    def partitions(self, metric: str, day: date) -> dict[str, str]:
        """Give the ledger's partition paths by subscription."""
        named = ((subscription_of(name, metric, day), name) for name in sorted(self.etags))
        return {subscription: name for subscription, name in named if subscription is not None}


def ledger_prefix(metric: str, day: date) -> str:
    """Give the folder of a day's ledger partitions."""
    return f"{LEDGER_DAYS.format(metric)}{day.isoformat()}/"


def ledger_path(metric: str, day: date, subscription: str) -> str:
    """Give the path of one ledger partition."""
    return f"{ledger_prefix(metric, day)}{SUBSCRIPTION}{subscription}/{DATA}"


def subscription_of(name: str, metric: str, day: date) -> str | None:
    """Give the subscription whose ledger partition of that day bears this name, None where none does.

    What is published is an id as the provider tells it, in lower case, or `none`. A folder of another name, a copy
    that somebody made beside one (`ID-backup`) above all, is no partition.
    """
    subscription = name.removeprefix(f"{ledger_prefix(metric, day)}{SUBSCRIPTION}").removesuffix(f"/{DATA}")
    if "/" in subscription or name != ledger_path(metric, day, subscription):
        return None
    is_id = subscription == subscription.lower() != "" and _COPY.fullmatch(subscription) is None
    return subscription if is_id else None


def daily_path(metric: str, day: date) -> str:
    """Give the path of a day's totals."""
    return f"{DAILY_DAYS.format(metric)}{day.isoformat()}/{DATA}"


def manifest_path(metric: str, day: date) -> str:
    """Give the path of a day's manifest."""
    return f"{MANIFEST_DAYS.format(metric)}{day.isoformat()}.json"


def schema_of(path: str) -> Mapping[str, pl.DataType]:
    """Give the columns of a published Parquet file."""
    return DAILY if path.startswith(DAILY_PREFIX) else LEDGER


async def lying(
    blobs: Blobs, container: str, metric: str, first: date, last: date
) -> dict[date, dict[str, str]]:
    """List what lies below the days from `first` to `last`, whoever put it there: ETags by name.

    A day without any is absent. One listing for each month (or day, where there is only one) and kind of file: a
    call for each day would be thirty times as many.
    """
    found: dict[date, dict[str, str]] = {}
    for month in _months(first, last) if first < last else [first.isoformat()]:
        for days in (LEDGER_DAYS, DAILY_DAYS, MANIFEST_DAYS):
            prefix = days.format(metric)
            for item in await blobs.list(container, f"{prefix}{month}"):
                try:
                    day = date.fromisoformat(item.name.removeprefix(prefix)[:10])
                except ValueError:
                    # No file of ours has such a name.
                    continue
                if first <= day <= last:
                    found.setdefault(day, {})[item.name] = item.etag
    return found


async def days_lying(blobs: Blobs, container: str, metric: str) -> list[date]:
    """Give the days of which a ledger or a manifest lies there, in order: two listings, however many days."""
    folder, _, usage_date = LEDGER_DAYS.format(metric).rpartition("/")
    names = [name.removeprefix(usage_date) for name in await blobs.folders(container, f"{folder}/")]
    prefix = MANIFEST_DAYS.format(metric)
    names += [item.name.removeprefix(prefix)[:10] for item in await blobs.list(container, prefix)]
    days = set()
    for name in names:
        with suppress(ValueError):  # no file of ours has another name
            days.add(date.fromisoformat(name))
    return sorted(days)


async def metrics_lying(blobs: Blobs, container: str) -> list[str]:
    """Give the metrics of which a ledger lies there: one listing."""
    prefix = LEDGER_DAYS.partition("{}")[0]
    folder = prefix[: prefix.index("/") + 1]
    names = await blobs.folders(container, folder)
    named = (f"{folder}{name}".removeprefix(prefix) for name in names)
    return sorted(COST_COLUMN.keys() & set(named))


def published(found: Mapping[str, str], metric: str, day: date) -> dict[str, str]:
    """Choose what a day's publication may have left: what else lies there is nobody's business but `verify`'s."""
    return {name: etag for name, etag in found.items() if _is_ours(name, metric, day)}


def _is_ours(name: str, metric: str, day: date) -> bool:
    if name in {daily_path(metric, day), manifest_path(metric, day)}:
        return True
    return subscription_of(name, metric, day) is not None


def _months(first: date, last: date) -> list[str]:
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]


class PublishedFiles:
    """One day's blobs in the container of published files."""

    def __init__(self, blobs: Blobs, container: str) -> None:
        self._blobs = blobs
        self._container = container

    async def list(self, metric: str, day: date) -> Listing:
        """List a day's blobs with their ETags."""
        found = await lying(self._blobs, self._container, metric, day, day)
        return Listing(published(found.get(day, {}), metric, day))

    async def read(self, listing: Listing, path: str) -> tuple[pl.DataFrame, PublishedFile]:
        """Read a listed Parquet file.

        Raises:
            Conflict: it is no longer the one that was listed.
            UnreadableError: somebody else wrote it, or another version did, or it is of another day or partition.
        """
        etag = listing.etags[path]
        blob = await self._blobs.get(self._container, path, if_match=etag)
        if blob is None:
            raise Conflict(path)
        what = f"{self._container}/{path}"
        frame = decode(blob.data, schema_of(path), what, CURE)
        if not path.startswith(DAILY_PREFIX):
            _demand_place(frame, path, what)
        return frame, _described(path, len(frame), blob.data, etag)

    async def write(self, listing: Listing, path: str, frame: pl.DataFrame) -> PublishedFile:
        """Replace a file whole, in one PUT, in the place of the one that was listed or where none was.

        Raises:
            Conflict: somebody else wrote it since it was listed.
        """
        data = encode(frame)
        etag = await self.put(listing, path, data, "application/vnd.apache.parquet")
        return _described(path, len(frame), data, etag)

    async def put(self, listing: Listing, path: str, data: bytes, content_type: str) -> str:
        """Write bytes as `write` does and give their ETag."""
        etag = listing.etags.get(path)
        return await self._blobs.put(
            self._container, path, data, if_match=etag, if_none_match=etag is None, content_type=content_type
        )


def _demand_place(frame: pl.DataFrame, path: str, what: str) -> None:
    """Make sure that a partition's rows are of the metric, UTC day and subscription that its path names.

    Raises:
        UnreadableError: some are not: somebody put another partition's file there.
    """
    metric, day, subscription = (part.partition("=")[2] for part in path.split("/")[1:-1])
    midnight = pl.lit(date.fromisoformat(day)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    others = [pl.col(column).is_not_null() for of, column in COST_COLUMN.items() if of != metric]
    misplaced = frame.select(
        metric=pl.any_horizontal(others).sum(),
        day=pl.col("ChargePeriodStart").ne_missing(midnight).sum(),
        subscription=(pl.col("SubAccountId").fill_null(NO_SUBSCRIPTION) != subscription).sum(),
    )
    for of, rows in misplaced.row(0, named=True).items():
        if rows:
            raise UnreadableError(what, f"holds {rows} rows of another {of}", ELSEWHERE_CURE)


def _described(path: str, rows: int, data: bytes, etag: str) -> PublishedFile:
    return PublishedFile(path, rows, len(data), hashlib.sha256(data).hexdigest(), etag)
