"""One published day as a stranger reads it: its manifest, and the files that the manifest describes.

Only published files are read, none of the engine's tables. What differs is a finding that names the file: a day
that cannot be believed is never read as one that cost less.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Protocol, TypeVar

import msgspec
import polars as pl

from shared.ledger.files import CURE, lying, manifest_path, schema_of
from shared.ledger.manifest import VERSION
from shared.normalise.exact import text
from shared.staging import decode
from shared.storage.blobs import Blobs
from shared.versions import UnreadableError

LOOKS = 3
"""How often a day is looked at that differs while it is being published."""

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: the file (or manifest) it is about, and what differs."""

    path: str
    difference: str


class DescribedFile(msgspec.Struct, frozen=True):
    """A file as its manifest describes it; `sha256` in hex."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What readers need of a manifest; totals are texts.

    `data_as_of` and `known_since` are None where no scope has a reading; the latter is not in every manifest.
    """

    version: int
    metric: str
    usage_date: date
    data_as_of: _Time | None
    published_at: _Time
    totals: dict[str, str]
    files: list[DescribedFile]
    known_since: _Time | None = None

    @property
    def since(self) -> datetime | None:
        """The earliest time of which the day's files say anything, None where nobody ever read it."""
        return self.known_since or self.data_as_of


class _Looked(Protocol):
    @property
    def findings(self) -> tuple[Finding, ...]: ...


L = TypeVar("L", bound=_Looked)


@dataclass(frozen=True, slots=True)
class PublishedDay:
    """Where a day is published."""

    blobs: Blobs
    container: str
    metric: str
    day: date

    async def until_still(
        self, listed: Mapping[str, str], look: Callable[[Mapping[str, str]], Awaitable[L]]
    ) -> L:
        """Look at the day, and again where something differs while it is being published.

        Args:
            listed: the day's blobs as they were listed: ETags by name.
            look: reads the day whose blobs are listed so.

        Raises:
            StorageError: the storage cannot be read.
        """
        for _ in range(LOOKS):
            looked = await look(listed)
            if not looked.findings:
                break
            found = await lying(self.blobs, self.container, self.metric, self.day, self.day)
            now = found.get(self.day, {})
            if now == listed:
                break
            listed = now
        return looked

    async def manifest(self, listed: Iterable[str]) -> tuple[Manifest | None, tuple[Finding, ...]]:
        """Read the day's manifest; without one, or with one that says nothing, there are only findings.

        A blob that lies there unnamed is a finding too.
        """
        path = manifest_path(self.metric, self.day)
        blob = await self.blobs.get(self.container, path)
        if blob is None:
            said = "lies there though its day has no manifest"
            return None, tuple(Finding(name, said) for name in sorted(listed))
        try:
            manifest = _read(blob.data, self.metric, self.day)
        except ValueError as error:
            return None, (Finding(path, str(error)),)
        strays = sorted({*listed} - {file.path for file in manifest.files} - {path})
        return manifest, tuple(Finding(name, "lies there unnamed by its manifest") for name in strays)

    async def file(self, file: DescribedFile) -> tuple[pl.DataFrame | None, tuple[Finding, ...]]:
        """Read a file that is what its manifest says: other bytes than the published ones prove nothing."""
        blob = await self.blobs.get(self.container, file.path)
        if blob is None:
            return None, (Finding(file.path, "is missing: the manifest names it"),)
        sha256 = hashlib.sha256(blob.data).hexdigest()
        found = [("bytes", file.bytes, len(blob.data)), ("sha256", file.sha256, sha256)]
        if differences := [_differs(file, *one) for one in found if one[1] != one[2]]:
            return None, tuple(differences)
        try:
            frame = decode(blob.data, schema_of(file.path), f"{self.container}/{file.path}", CURE)
        except UnreadableError as error:
            return None, (Finding(file.path, error.wrong),)
        return frame, () if len(frame) == file.rows else (_differs(file, "rows", file.rows, len(frame)),)


def _differs(file: DescribedFile, what: str, expected: object, found: object) -> Finding:
    return Finding(file.path, f"{what}: the manifest says {expected}, the file {found}")


def _read(data: bytes, metric: str, day: date) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: it is none, of another version, or of another day; the message says so.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
        totals = [Decimal(amount) for amount in manifest.totals.values()]
        exact = all(amount.is_finite() for amount in totals)
        exact = exact and [text(amount) for amount in totals] == [*manifest.totals.values()]
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise ValueError(f"is no manifest: {error}") from error
    if manifest.version != VERSION:
        raise ValueError(f"is of version {manifest.version}; this release reads version {VERSION}")
    if (manifest.metric, manifest.usage_date) != (metric, day):
        raise ValueError(f"says it is of {manifest.metric} {manifest.usage_date}")
    if not exact:
        raise ValueError("has totals that are not written with 18 decimals")
    return manifest
