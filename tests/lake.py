"""What is published as a user's tools find it: the files copied to a folder as they are, and DuckDB on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import msgspec

from shared.storage import Storage, storage_connection
from tests.truth import Totals

CURRENT_TWICE = """
    select usage_date, subscription_id, x_RecordId from ledger where x_ValidTo is null
    group by all having count(*) > 1
"""
DAILY_TWICE = "select record_hash from daily group by all having count(*) > 1"
VALID_TOGETHER = """
    select usage_date, x_RecordId from (
        select usage_date, x_RecordId, x_ValidFrom, lag(x_ValidTo, 1, x_ValidFrom) over (
            partition by usage_date, subscription_id, x_RecordId order by x_ValidFrom, x_ValidTo
        ) as before from ledger
    ) where before is null or before > x_ValidFrom
"""
"""Records of which two versions are valid at one time."""

_LEDGER_TOTALS = """
    select usage_date, BillingCurrency, subscription_id::varchar, sum(BilledCost), count(*)
    from ledger where {believed} group by all
"""
_DAILY_TOTALS = """
    select billing_date, currency, account_id, sum(cost_amount), sum(record_count)::bigint
    from daily group by all
"""


@dataclass(frozen=True)
class Lake:
    """A folder with what one storage publishes of ActualCost."""

    environ: Mapping[str, str]
    folder: Path

    async def copy(self) -> None:
        """Copy all that is published, each file whole, as a reader at this moment finds it."""
        async with Storage(storage_connection(self.environ)) as storage:
            for item in await storage.blobs.list("costs", ""):
                blob = await storage.blobs.get("costs", item.name)
                assert blob is not None, f"{item.name} was taken away"
                path = self.folder / item.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(blob.data)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask DuckDB; `ledger` and `daily` are the published files."""
        with duckdb.connect() as database:
            for name in ("ledger", "daily"):
                files = f"read_parquet('{self.folder}/{name}/**/*.parquet', hive_partitioning = true)"
                database.execute(f"create view {name} as select * from {files}")  # noqa: S608 - a test's folder
            return database.execute(sql).fetchall()

    def totals(self, at: str | None = None) -> Totals:
        """Add up the ledger's current rows, or those that were believed at a time."""
        believed = "x_ValidTo is null"
        if at is not None:
            believed = f"x_ValidFrom <= '{at}' and (x_ValidTo is null or x_ValidTo > '{at}')"
        return _totals(self.query(_LEDGER_TOTALS.format(believed=believed)))

    def daily_totals(self) -> Totals:
        """Add up the daily totals."""
        return _totals(self.query(_DAILY_TOTALS))

    def manifest(self, day: date) -> dict[str, Any]:
        """Read a day's manifest."""
        return _read(self.folder / f"manifests/metric=ActualCost/{day}.json")

    def is_whole(self) -> bool:
        """Tell whether each day's files are those that its manifest names."""
        return all(map(self._is_whole, map(_read, self.folder.glob("manifests/**/*.json"))))

    def _is_whole(self, manifest: dict[str, Any]) -> bool:
        lying = self.folder.glob(f"**/usage_date={manifest['usage_date']}/**/*.parquet")
        found = {str(path.relative_to(self.folder)): sha256(path.read_bytes()).hexdigest() for path in lying}
        return found == {file["path"]: file["sha256"] for file in manifest["files"]}


def _totals(rows: list[tuple[Any, ...]]) -> Totals:
    return {(day, currency, account): (cost, count) for day, currency, account, cost, count in rows}


def _read(manifest: Path) -> dict[str, Any]:
    return msgspec.json.decode(manifest.read_bytes(), type=dict[str, Any])
