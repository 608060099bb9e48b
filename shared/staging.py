"""Staged pages and quarantined payloads: the blobs of the container `cost-staging`.

    pages/RUN/SLICE/GENERATION/000001-RANDOM.parquet      one page's records; only a registry entity makes it count
    quarantine/RUN/SLICE/GENERATION-000001-RANDOM.json    the body of an answer whose shape had drifted

Every blob has a name of its own: two workers on one page write two blobs, and the committed entity names one.
"""

import io
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

import polars as pl

from shared.ledger.columns import STAGED
from shared.storage.blobs import Blobs
from shared.versions import VERSION, MalformedError, refusing

REMEMBERED_BYTES = 128 * 1024 * 1024
"""How much of staged pages this process keeps at hand."""


VERSION_KEY: Final = "cost_ledger_version"
"""Where a Parquet file keeps the version it was written with, among its key-value metadata."""

CURE: Final = "let `run` read the scope's day again, which stages it anew"

_NO_PARQUET = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
"""What polars makes of bytes that are no Parquet, or damaged; a panic is no `Exception`."""

_NAMED: Final = 3


class StagedPageMissingError(Exception):
    """A staged page that a committed page names is not there any more."""


def encode(frame: pl.DataFrame) -> bytes:
    """Write a frame as Parquet, Zstandard, with the version of this release.

    Equal frames give equal bytes, but for large ones (some 50,000 rows): polars may cut these into other pages where
    their buffers differ.
    """
    buffer = io.BytesIO()
    frame.write_parquet(
        buffer,
        compression="zstd",
        statistics=True,
        row_group_size=131_072,
        metadata={VERSION_KEY: str(VERSION)},
    )
    return buffer.getvalue()


def decode(data: bytes, schema: Mapping[str, pl.DataType], what: str, cure: str) -> pl.DataFrame:
    """Read what `encode` wrote, its columns those of `schema`.

    `what` names the blob (container and name) and `cure` says what a person may do about it.

    Raises:
        UnreadableError: it is no Parquet, of another version, or has other columns than `schema`.
    """
    with refusing(what, cure):
        try:
            version = pl.read_parquet_metadata(io.BytesIO(data)).get(VERSION_KEY)
            if version != str(VERSION):
                raise MalformedError(_other_version(version))
            frame = pl.read_parquet(io.BytesIO(data))
        except _NO_PARQUET as error:
            said = str(error).partition("\n")[0]
            raise MalformedError(f"cannot be read as Parquet: {said}") from error
        if differences := _differences(frame.schema, schema):
            raise MalformedError(f"has other columns than this release writes: {differences}")
        return frame


def _other_version(version: str | None) -> str:
    if version is None:
        return f"has no version, so another program wrote it; this release reads {VERSION}"
    return f"is of version {version}, this release reads {VERSION}"


def _differences(found: Mapping[str, pl.DataType], expected: Mapping[str, pl.DataType]) -> str:
    """Name the columns that differ, a few of them."""
    parts = [f"{name} is missing" for name in expected if name not in found]
    parts += [f"{name} should not be there" for name in found if name not in expected]
    parts += [
        f"{name} is {found[name]}, not {kind}"
        for name, kind in expected.items()
        if name in found and found[name] != kind
    ]
    if not parts and list(found) != list(expected):
        parts = ["they stand in another order"]
    return ", ".join(parts[:_NAMED]) + (", ..." if len(parts) > _NAMED else "")


class Staging:
    """Writes and reads staged pages."""

    def __init__(self, blobs: Blobs, container: str) -> None:
        self._blobs = blobs
        self._container = container
        self._read: OrderedDict[str, pl.DataFrame] = OrderedDict()

    async def write(self, partition: str, page: int, frame: pl.DataFrame) -> str:
        """Store a page's records under a name of its own and give that name."""
        name = f"pages/{partition.replace('|', '/')}/{page:06d}-{secrets.token_hex(6)}.parquet"
        await self._blobs.put(self._container, name, encode(frame))
        return name

    async def read(self, names: Sequence[str], day: date) -> pl.DataFrame:
        """Read one day's records from staged pages, in the order of the pages.

        Raises:
            StagedPageMissingError: one of the blobs is gone.
            UnreadableError: one of them was replaced by something else.
        """
        frames = [pl.DataFrame(schema=STAGED)]
        for name in names:
            frame = await self._page(name)
            frames.append(frame.filter(pl.col("usage_date") == day))
        return pl.concat(frames)

    async def _page(self, name: str) -> pl.DataFrame:
        """Give a staged page, from memory where it was read a moment ago.

        A blob's name is its own and it is never written again; a page of a month is wanted by each of its days.
        """
        frame = self._read.pop(name, None)
        if frame is None:
            blob = await self._blobs.get(self._container, name)
            if blob is None:
                raise StagedPageMissingError(name)
            frame = decode(blob.data, STAGED, f"{self._container}/{name}", CURE)
        self._read[name] = frame
        while len(self._read) > 1 and sum(f.estimated_size() for f in self._read.values()) > REMEMBERED_BYTES:
            self._read.popitem(last=False)
        return frame

    async def quarantine(self, partition: str, page: int, body: bytes) -> str:
        """Keep the body of an answer whose shape had drifted, and give its name."""
        where = partition.replace("|", "/")
        name = f"quarantine/{where}-{page:06d}-{secrets.token_hex(6)}.json"
        await self._blobs.put(self._container, name, body, content_type="application/json")
        return name
