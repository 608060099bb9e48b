"""Staged pages and quarantined payloads: the blobs of the container `cost-staging`.

    pages/RUN/SLICE/GENERATION/000001-RANDOM.parquet      one page's records; only a registry entity makes it count
    quarantine/RUN/SLICE/GENERATION-000001-RANDOM.json    the body of an answer whose shape had drifted

Every blob has a name of its own: two workers on one page write two blobs, and the committed entity names one.
"""

import io
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import date

import polars as pl

from shared.ledger.columns import STAGED
from shared.storage.blobs import Blobs

REMEMBERED_BYTES = 128 * 1024 * 1024
"""How much of staged pages this process keeps at hand."""


class StagedPageMissingError(Exception):
    """A staged page that a committed page names is not there any more."""


def encode(frame: pl.DataFrame) -> bytes:
    """Write a frame as Parquet, Zstandard; equal frames give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=True, row_group_size=131_072)
    return buffer.getvalue()


def decode(data: bytes) -> pl.DataFrame:
    """Read what `encode` wrote."""
    return pl.read_parquet(io.BytesIO(data))


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
            frame = decode(blob.data)
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
