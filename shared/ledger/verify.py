"""Verifying what is published: each day's files against its manifest, and their sums against each other.

Only the published files are read, none of the engine's tables: what a stranger could check, this checks.
"""

import hashlib
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import msgspec
import polars as pl

from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import CURE, daily_path, lying, manifest_path, schema_of
from shared.ledger.manifest import VERSION
from shared.normalise.decimals import money_sum
from shared.normalise.exact import add_by_currency, text
from shared.staging import decode
from shared.storage.blobs import Blobs
from shared.versions import UnreadableError

LOOKS = 3
"""How often a day is looked at that differs while it is being published."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: the file (or manifest) it is about, and what differs."""

    path: str
    difference: str


@dataclass(frozen=True, slots=True)
class CheckedDay:
    """A day that was verified: how many files it has, their rows, and all that differs."""

    metric: str
    day: date
    files: int = 0
    rows: int = 0
    findings: tuple[Finding, ...] = ()


class _File(msgspec.Struct, frozen=True):
    path: str
    rows: int
    bytes: int
    sha256: str


class _Manifest(msgspec.Struct, frozen=True):
    version: int
    metric: str
    usage_date: date
    totals: dict[str, str]
    files: list[_File]


async def verify(blobs: Blobs, container: str, first: date, last: date) -> AsyncIterator[CheckedDay]:
    """Verify every day from `first` to `last` of which anything is published, one after the other.

    A day is looked at again where it was being published meanwhile.

    Raises:
        StorageError: the storage cannot be read.
    """
    for metric in COST_COLUMN:
        for day in sorted(await lying(blobs, container, metric, first, last)):
            yield await _until_still(blobs, container, metric, day)


async def _until_still(blobs: Blobs, container: str, metric: str, day: date) -> CheckedDay:
    before = await _lying(blobs, container, metric, day)
    for _ in range(LOOKS):
        checked = await _Comparison(blobs, container, metric, day).compare(before)
        after = await _lying(blobs, container, metric, day)
        if not checked.findings or after == before:
            break
        before = after
    return checked


async def _lying(blobs: Blobs, container: str, metric: str, day: date) -> dict[str, str]:
    return (await lying(blobs, container, metric, day, day)).get(day, {})


@dataclass(slots=True)
class _Comparison:
    """One day's manifest against its files, and what these add up to, per currency.

    `complete` as long as every file is there and can be read: without one of them no sum says anything.
    """

    blobs: Blobs
    container: str
    metric: str
    day: date
    ledger: Mapping[str, Decimal] = field(default_factory=dict)
    daily: Mapping[str, Decimal] = field(default_factory=dict)
    complete: bool = True

    async def compare(self, listed: Collection[str]) -> CheckedDay:
        """Compare the day whose blobs were listed so."""
        path = manifest_path(self.metric, self.day)
        blob = await self.blobs.get(self.container, path)
        if blob is None:
            return self._checked(
                Finding(name, "lies there though its day has no manifest") for name in sorted(listed)
            )
        try:
            manifest = _read(blob.data, self.metric, self.day)
        except ValueError as error:
            return self._checked([Finding(path, str(error))])
        findings = [finding for file in manifest.files for finding in await self._file(file)]
        named = {file.path for file in manifest.files}
        findings += [
            Finding(name, "lies there unnamed by its manifest") for name in sorted({*listed} - named - {path})
        ]
        if self.complete:
            findings += self._sums(path, manifest.totals)
        return self._checked(findings, len(named), sum(file.rows for file in manifest.files))

    def _checked(self, findings: Iterable[Finding], files: int = 0, rows: int = 0) -> CheckedDay:
        return CheckedDay(self.metric, self.day, files, rows, tuple(findings))

    async def _file(self, file: _File) -> list[Finding]:
        differences, frame = await self._content(file)
        if frame is None:
            self.complete = False
            return differences
        if len(frame) != file.rows:
            differences.append(_differs(file, "rows", file.rows, len(frame)))
        self._add_up(file.path, frame)
        return differences

    async def _content(self, file: _File) -> tuple[list[Finding], pl.DataFrame | None]:
        """Read a file that is what its manifest says: other bytes than the published ones prove nothing."""
        blob = await self.blobs.get(self.container, file.path)
        if blob is None:
            return [Finding(file.path, "is missing: the manifest names it")], None
        found = [
            ("bytes", file.bytes, len(blob.data)),
            ("sha256", file.sha256, hashlib.sha256(blob.data).hexdigest()),
        ]
        if differences := [_differs(file, *one) for one in found if one[1] != one[2]]:
            return differences, None
        try:
            return [], decode(blob.data, schema_of(file.path), f"{self.container}/{file.path}", CURE)
        except UnreadableError as error:
            return [Finding(file.path, error.wrong)], None

    def _add_up(self, path: str, frame: pl.DataFrame) -> None:
        """Add a file's amounts to the day's."""
        if path == daily_path(self.metric, self.day):
            self.daily = add_by_currency([self.daily, _by_currency(frame, "currency", "cost_amount")])
        else:
            current = frame.filter(pl.col("x_ValidTo").is_null())
            amounts = _by_currency(current, "BillingCurrency", COST_COLUMN[self.metric])
            self.ledger = add_by_currency([self.ledger, amounts])

    def _sums(self, path: str, totals: Mapping[str, str]) -> list[Finding]:
        """Compare the manifest's totals with the sum of the daily rows and that of the ledger's current rows."""
        said = {currency: Decimal(amount) for currency, amount in totals.items()}
        return [
            Finding(path, f"totals: it says {_shown(said)}, the {name} adds up to {_shown(added)}")
            for name, added in (("daily file", self.daily), ("ledger", self.ledger))
            if added != said
        ]


def _differs(file: _File, what: str, expected: object, found: object) -> Finding:
    return Finding(file.path, f"{what}: the manifest says {expected}, the file {found}")


def _read(data: bytes, metric: str, day: date) -> _Manifest:
    """Read a manifest.

    Raises:
        ValueError: it is none, of another version, or of another day; the message says so.
    """
    try:
        manifest = msgspec.json.decode(data, type=_Manifest)
        exact = all(text(Decimal(amount)) == amount for amount in manifest.totals.values())
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        raise ValueError(f"is no manifest: {error}") from error
    if manifest.version != VERSION:
        raise ValueError(f"is of version {manifest.version}; this release reads version {VERSION}")
    if (manifest.metric, manifest.usage_date) != (metric, day):
        raise ValueError(f"says it is of {manifest.metric} {manifest.usage_date}")
    if not exact:
        raise ValueError("has totals that are not written with 18 decimals")
    return manifest


def _by_currency(frame: pl.DataFrame, currency: str, amount: str) -> dict[str, Decimal]:
    return dict(frame.group_by(currency).agg(money_sum(amount)).iter_rows())


def _shown(amounts: Mapping[str, Decimal]) -> str:
    return (
        ", ".join(f"{text(amount)} {currency}" for currency, amount in sorted(amounts.items())) or "nothing"
    )
