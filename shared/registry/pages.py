"""Pages and verdicts: the entities of the table CostHashes.

One partition is one generation, one entity one page: inserting it **is** the page's commit, and the loser of
an insert takes the winner's word. The closing of a generation is the entity after its last page. A page's row
digests are packed as binary (24 bytes a row), so that 5,000 hashes cost one entity and not 5,000.
"""

from dataclasses import astuple
from datetime import datetime
from itertools import groupby

from shared.registry.model import (
    Counts,
    DayKinds,
    DaySums,
    DayVerdict,
    Entry,
    Page,
    Repeated,
    StagedPage,
    Sums,
    Verdict,
)
from shared.registry.rows import (
    TABLE,
    count_records,
    page_row,
    read_counts,
    read_entry,
    read_following,
    read_staged,
    row_key,
    verdict_row,
)
from shared.storage.rows import Row, quoted
from shared.storage.tables import Tables
from shared.versions import readable, tell

__all__ = [
    "TABLE",
    "Counts",
    "DayKinds",
    "DaySums",
    "DayVerdict",
    "Entry",
    "Page",
    "Repeated",
    "StagedPage",
    "Sums",
    "Verdict",
    "any_entry",
    "any_since",
    "commit",
    "count_records",
    "counts",
    "entries",
    "is_sent",
    "last_written",
    "mark_sent",
    "next_number",
    "purge",
    "row_key",
    "staged_pages",
]


async def entries(tables: Tables, partition: str, after: int = 0) -> list[Entry]:
    """Read a generation's committed entries whose number is greater than `after`, in order.

    Raises:
        UnreadableError: one of them was edited, or written by another version.
    """
    condition = f"PartitionKey eq {quoted(partition)} and RowKey gt {quoted(row_key(after))}"
    return [read_entry(row) for row in await tables.query(TABLE, condition)]


async def staged_pages(tables: Tables, partition: str) -> list[StagedPage]:
    """Name the staged blobs of a generation with the days they hold rows of, in the order of the pages.

    Raises:
        UnreadableError: one of its pages was edited, or written by another version.
    """
    condition = f"PartitionKey eq {quoted(partition)} and kind eq {quoted('page')}"
    rows = await tables.query(TABLE, condition, select=["version", "staged", "days_0", "repeated_0"])
    return [staged for row in rows for staged in read_staged(row)]


async def any_entry(tables: Tables, partition: str) -> bool:
    """Tell whether a generation has a committed page."""
    condition = f"PartitionKey eq {quoted(partition)}"
    return bool(await tables.query(TABLE, condition, select=["version"], top=1))


async def any_since(tables: Tables, prefix: str, since: datetime) -> bool:
    """Tell whether any generation whose partition begins with `prefix` was written to since (the service's clock)."""
    condition = (
        f"PartitionKey ge {quoted(prefix)} and PartitionKey lt {quoted(prefix + '~')} "
        f"and Timestamp ge {quoted(since)}"
    )
    return bool(await tables.query(TABLE, condition, select=["version"], top=1))


async def is_sent(tables: Tables, partition: str, number: int) -> bool:
    """Tell whether a committed page's successor is recorded as sent."""
    row = await tables.get(TABLE, partition, row_key(number))
    return row is not None and row.values.get("sent") is True


async def last_written(tables: Tables, partition: str) -> datetime | None:
    """Tell when a generation's latest entity was written, by the service's clock."""
    rows = await tables.query(TABLE, f"PartitionKey eq {quoted(partition)}", select=["version"])
    return max((row.timestamp for row in rows if row.timestamp is not None), default=None)


async def next_number(tables: Tables, partition: str) -> int:
    """Give the number of the work item that a generation waits for: its next page, or its verdict to apply.

    Raises:
        UnreadableError: its last entity was edited, or written by another version.
    """
    rows = await tables.query(TABLE, f"PartitionKey eq {quoted(partition)}", select=["version", "kind"])
    return read_following(max(rows, key=lambda row: row.rk)) if rows else 1


async def commit(tables: Tables, partition: str, entry: Entry) -> None:
    """Commit a page or a verdict.

    Raises:
        Conflict: another worker committed it first; its entity is the one that counts.
    """
    row = page_row(partition, entry) if isinstance(entry, Page) else verdict_row(partition, entry)
    await tables.insert(TABLE, row)


async def mark_sent(tables: Tables, partition: str, number: int) -> None:
    """Record that a page's successor was sent."""
    await tables.merge(TABLE, Row(partition, row_key(number), {"sent": True}))


async def counts(tables: Tables, prefix: str) -> Counts:
    """Count over every generation whose partition begins with `prefix`, which ends in no `~`.

    What cannot be read counts for nothing, and is told of: its slice has failed for it.
    """
    condition = f"PartitionKey ge {quoted(prefix)} and PartitionKey lt {quoted(prefix + '~')}"
    wanted = ["version", "kind", "raw_rows", "duplicates", "requests", "throttled"]
    found = readable(await tables.query(TABLE, condition, select=wanted), read_counts, tell)
    return Counts(*map(sum, zip(*(astuple(one) for one in found), strict=True)))


async def purge(tables: Tables, prefix: str) -> int:
    """Remove every generation whose partition begins with `prefix`, and tell how many entities there were."""
    condition = f"PartitionKey ge {quoted(prefix)} and PartitionKey lt {quoted(prefix + '~')}"
    rows = await tables.query(TABLE, condition, select=["kind"])
    for partition, group in groupby(rows, key=lambda row: row.pk):
        await tables.remove(TABLE, partition, [row.rk for row in group])
    return len(rows)
