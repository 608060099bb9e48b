"""What is published, in the form in which two histories can be compared: all of it, apart from times."""

import io
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import polars as pl

from shared.storage import Storage

CONTAINER = "costs"
_TIMES = ("x_ValidFrom", "x_ValidTo")
_TIMES_OF_DAY = ("data_as_of", "known_since", "published_at")
_OF_ONE_HISTORY = ("run", "generation", "read_at")


async def published(storage: Storage) -> dict[str, Any]:
    """Give every published file by its name.

    The daily totals are their bytes. A ledger partition is its rows, each time in it replaced by its place in
    the order of the partition's times. A manifest is without its times, the names of runs and generations, and
    the sizes and sums of ledger files, which hold times.
    """
    return {name: _plain(name, data) for name, data in (await contents(storage)).items()}


async def contents(storage: Storage) -> dict[str, bytes]:
    """Read every published file, as a reader does who globs: one after the other."""
    files = {}
    for item in await storage.blobs.list(CONTAINER, ""):
        blob = await storage.blobs.get(CONTAINER, item.name)
        if blob is not None:
            files[item.name] = blob.data
    return files


async def current_totals(storage: Storage) -> dict[tuple[date, str], tuple[Decimal, int]]:
    """Add up the current ledger rows by day and subscription, and count them."""
    found: dict[tuple[date, str], tuple[Decimal, int]] = {}
    for name, data in (await contents(storage)).items():
        if name.startswith("ledger/"):
            frame = pl.read_parquet(io.BytesIO(data)).filter(pl.col("x_ValidTo").is_null())
            found[place_of(name)] = frame.select(pl.col("BilledCost").sum(), pl.len()).row(0)
    return found


def place_of(name: str) -> tuple[date, str]:
    """Tell the day of a published Parquet file, and its subscription if it is of one."""
    day = date.fromisoformat(name.split("usage_date=")[1][:10])
    return day, name.partition("subscription_id=")[2].split("/")[0]


def _plain(name: str, data: bytes) -> object:
    if name.startswith("manifests/"):
        return _manifest(msgspec.json.decode(data, type=dict[str, Any]))
    if name.startswith("ledger/"):
        return _ledger(pl.read_parquet(io.BytesIO(data)))
    return data


def _ledger(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    order = _order(time for column in _TIMES for time in frame[column])
    ranked = frame.with_columns(
        pl.col(column).replace_strict(order, default=None, return_dtype=pl.Int64) for column in _TIMES
    )
    return sorted(ranked.rows(), key=repr)


def _order(times: Iterable[datetime | None]) -> Mapping[datetime, int]:
    return {time: place for place, time in enumerate(sorted({time for time in times if time is not None}))}


def _manifest(document: dict[str, Any]) -> dict[str, Any]:
    scopes = [{key: said[key] for key in said if key not in _OF_ONE_HISTORY} for said in document["scopes"]]
    files = [
        {"path": file["path"], "rows": file["rows"]} if file["path"].startswith("ledger/") else file
        for file in document["files"]
    ]
    timeless = {key: document[key] for key in document if key not in _TIMES_OF_DAY}
    return {**timeless, "scopes": scopes, "files": files}
