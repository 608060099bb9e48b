"""Verifying published files: every way in which a day and its manifest can differ is found and named."""

import hashlib
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import polars as pl
import pytest

from shared.ledger.columns import LEDGER
from shared.ledger.daily import daily
from shared.ledger.files import daily_path, ledger_path, manifest_path
from shared.ledger.verify import CheckedDay, verify
from shared.staging import encode
from shared.storage.blobs import Blob, BlobItem, Blobs, Listing

if TYPE_CHECKING:
    from collections.abc import Callable

METRIC = "ActualCost"
DAY = date(2026, 5, 31)
NOW = datetime(2026, 6, 3, tzinfo=UTC)
A, B = (ledger_path(METRIC, DAY, subscription) for subscription in ("a", "b"))
DAILY_PATH, MANIFEST = daily_path(METRIC, DAY), manifest_path(METRIC, DAY)

Files = dict[str, bytes]


class Shelf(Blobs):
    """A container in memory; `after_get` lets somebody else write while a day is being read."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.after_get: Callable[[str], None] = lambda _: None

    async def get(self, container: str, name: str, *, if_match: str | None = None) -> Blob | None:
        data = self.files.get(name)
        self.after_get(name)
        return None if data is None else Blob(data, _etag(data))

    async def list(self, container: str, prefix: str) -> Listing:
        return [
            BlobItem(name, _etag(data), len(data), NOW)
            for name, data in sorted(self.files.items())
            if name.startswith(prefix)
        ]


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def ledger(*costs: str, ended: str | None = None) -> pl.DataFrame:
    """A partition of current records, and one that ended, which counts for nothing."""
    rows = [
        {
            "BillingCurrency": "USD",
            "BilledCost": Decimal(cost),
            "ServiceName": "Storage",
            "x_IsAdjustment": False,
            "x_ValidTo": NOW if cost == ended else None,
        }
        for cost in (*costs, *([ended] if ended else []))
    ]
    return pl.DataFrame([{**dict.fromkeys(LEDGER), **row} for row in rows], schema=LEDGER)


def described(path: str, data: bytes, rows: int) -> dict[str, object]:
    return {"path": path, "rows": rows, "bytes": len(data), "sha256": _etag(data)}


def manifest(files: list[dict[str, object]], **changes: object) -> bytes:
    return msgspec.json.encode(
        {
            "version": 1,
            "metric": METRIC,
            "usage_date": DAY.isoformat(),
            "status": "reconciled",
            "data_as_of": "2026-06-03T00:00:00Z",
            "published_at": "2026-06-03T00:01:00Z",
            "totals": {"USD": "0.300000000000000001"},
            "scopes": [],
            "files": files,
            **changes,
        }
    )


def published(**changes: object) -> Files:
    """A day of two subscriptions as it is published, its manifest changed by name."""
    parts = {A: ledger("0.1", "0.100000000000000001", ended="9"), B: ledger("0.1")}
    records = pl.concat(
        [
            frame.with_columns(subscription_id=pl.lit(name))
            for name, frame in zip("ab", parts.values(), strict=True)
        ]
    )
    frames = {**parts, DAILY_PATH: daily(records, METRIC, DAY)}
    files = {path: encode(frame) for path, frame in frames.items()}
    named = [described(path, files[path], len(frame)) for path, frame in frames.items()]
    return {**files, MANIFEST: manifest(named, **changes)}


def renamed(files: Files, path: str, frame: pl.DataFrame, rows: int | None = None) -> Files:
    """Put another frame at `path`, and its size and hash into the manifest, as a defect of the writer would."""
    data = encode(frame)
    named = [
        described(path, data, len(frame) if rows is None else rows) if file["path"] == path else file
        for file in msgspec.json.decode(files[MANIFEST])["files"]
    ]
    return {**files, path: data, MANIFEST: manifest(named)}


async def checked(files: Files, first: date = DAY, last: date = DAY) -> list[CheckedDay]:
    return [day async for day in verify(Shelf(files), "costs", first, last)]


async def differences(files: Files) -> list[tuple[str, str]]:
    (day,) = await checked(files)
    return [(finding.path, finding.difference) for finding in day.findings]


async def test_a_day_as_published_has_no_difference_and_its_files_and_rows_are_counted() -> None:
    (day,) = await checked(published())
    assert (day.metric, day.day, day.files, day.rows, day.findings) == (METRIC, DAY, 3, 6, ())


async def test_a_day_without_any_cost_has_neither_files_nor_totals() -> None:
    assert await differences({MANIFEST: manifest([], totals={})}) == []


async def test_only_days_of_the_range_are_looked_at() -> None:
    files = published()
    assert await checked(files, date(2026, 6, 1), date(2026, 6, 30)) == []
    assert await checked(files, date(2026, 1, 1), date(2026, 5, 30)) == []
    assert len(await checked(files, date(2025, 12, 31), date(2026, 6, 1))) == 1


async def test_one_byte_changed_in_place_is_found_by_its_hash() -> None:
    files = published()
    files[A] = files[A][:50] + bytes([files[A][50] ^ 1]) + files[A][51:]
    ((path, said),) = await differences(files)
    assert path == A
    assert said.startswith("sha256: the manifest says ")


async def test_a_shorter_file_is_found_by_its_bytes_too() -> None:
    files = published()
    files[B] = files[B][:-1]
    assert [said.split(":")[0] for _, said in await differences(files)] == ["bytes", "sha256"]


@pytest.mark.parametrize("path", [A, DAILY_PATH])
async def test_a_missing_file_is_named_and_the_sums_are_left_alone(path: str) -> None:
    files = published()
    del files[path]
    assert await differences(files) == [(path, "is missing: the manifest names it")]


async def test_a_partition_that_the_manifest_does_not_name_is_found() -> None:
    stray = ledger_path(METRIC, DAY, "c")
    found = await differences({**published(), stray: b"x"})
    assert found == [(stray, "lies there unnamed by its manifest")]


async def test_files_of_a_day_without_a_manifest_are_found() -> None:
    files = published()
    del files[MANIFEST]
    found = await differences(files)
    assert [path for path, _ in found] == [DAILY_PATH, A, B]
    assert {said for _, said in found} == {"lies there though its day has no manifest"}


async def test_a_wrong_number_of_rows_is_found() -> None:
    found = await differences(renamed(published(), B, ledger("0.1"), rows=2))
    assert found == [(B, "rows: the manifest says 2, the file 1")]


async def test_a_ledger_that_is_off_by_the_last_digit_is_found_in_the_sums() -> None:
    found = await differences(renamed(published(), B, ledger("0.100000000000000001")))
    assert found == [
        (
            MANIFEST,
            "totals: it says 0.300000000000000001 USD, the ledger adds up to 0.300000000000000002 USD",
        )
    ]


async def test_a_record_that_ended_counts_for_nothing() -> None:
    assert await differences(renamed(published(), B, ledger("0.1", ended="5"))) == []


async def test_a_currency_that_only_the_manifest_knows_is_found_in_both_sums() -> None:
    totals = {"USD": "0.300000000000000001", "EUR": "0.000000000000000000"}
    assert len(await differences(published(totals=totals))) == 2


async def test_partition_columns_inside_a_file_are_found() -> None:
    frame = ledger("0.1").with_columns(subscription_id=pl.lit("b"), metric=pl.lit(METRIC))
    found = await differences(renamed(published(), B, frame))
    said = "subscription_id should not be there, metric should not be there"
    assert found == [(B, f"has other columns than this release writes: {said}")]


async def test_other_columns_are_found() -> None:
    found = await differences(renamed(published(), B, ledger("0.1").drop("Tags")))
    assert found == [(B, "has other columns than this release writes: Tags is missing")]


async def test_a_file_of_another_version_is_found_though_its_manifest_knows_no_other() -> None:
    rewritten = io.BytesIO()
    ledger("0.1").write_parquet(rewritten)
    files = published()
    named = [
        described(B, rewritten.getvalue(), 1) if file["path"] == B else file
        for file in msgspec.json.decode(files[MANIFEST])["files"]
    ]
    found = await differences({**files, B: rewritten.getvalue(), MANIFEST: manifest(named)})
    assert found == [(B, "has no version, so another program wrote it; this release reads 1")]


async def test_bytes_that_are_no_parquet_are_found_even_where_the_manifest_agrees() -> None:
    files = published()
    named = [
        described(B, b"no parquet", 1) if file["path"] == B else file
        for file in msgspec.json.decode(files[MANIFEST])["files"]
    ]
    ((path, said),) = await differences({**files, B: b"no parquet", MANIFEST: manifest(named)})
    assert path == B
    assert said.startswith("cannot be read as Parquet: ")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"{", "is no manifest: ", id="no_json"),
        pytest.param(b'{"version": 1}', "is no manifest: ", id="no_files"),
        pytest.param(manifest([], totals={"USD": 0.3}), "is no manifest: ", id="a_float"),
        pytest.param(manifest([], totals={"USD": "much"}), "is no manifest: ", id="no_amount"),
        pytest.param(
            manifest([], totals={"USD": "0.3"}), "has totals that are not written", id="few_decimals"
        ),
        pytest.param(manifest([], totals={"USD": "NaN"}), "has totals that are not written", id="nan"),
        pytest.param(manifest([], version=2), "is of version 2; this release reads version 1", id="version"),
        pytest.param(manifest([], usage_date="2026-05-30"), "says it is of ActualCost 2026-05-30", id="day"),
    ],
)
async def test_a_manifest_that_cannot_be_believed_is_the_finding(data: bytes, says: str) -> None:
    found = await differences({MANIFEST: data})
    assert len(found) == 1
    assert found[0][0] == MANIFEST
    assert found[0][1].startswith(says)


async def test_a_day_that_is_published_while_it_is_read_is_looked_at_again() -> None:
    # GIVEN a publisher that has written a partition and writes its manifest while we read
    after = renamed(published(), B, ledger("0.1", ended="5"))
    shelf = Shelf({**published(), B: after[B]})

    def finish(name: str) -> None:
        if name == B:
            shelf.files = after

    shelf.after_get = finish

    (day,) = [day async for day in verify(shelf, "costs", DAY, DAY)]

    assert day.findings == ()
