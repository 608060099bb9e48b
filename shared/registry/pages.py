"""Pages and verdicts: the entities of the table CostHashes.

One partition is one generation, one entity one page: inserting it **is** the page's commit, and the loser of
an insert takes the winner's word. The closing of a generation is the entity after its last page. A page's row
digests are packed as binary (24 bytes a row), so that 5,000 hashes cost one entity and not 5,000.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from shared.normalise.exact import plus
from shared.storage.packing import pack, pack_json, unpack, unpack_json
from shared.storage.rows import Delete, Row, quoted
from shared.storage.tables import Tables
from shared.versions import VERSION, checked

TABLE = "CostHashes"
BATCH = 100


@dataclass(frozen=True, slots=True)
class Sums:
    """What the rows of one day and currency add up to: cost, quantity, and both in absolute amounts."""

    cost: Decimal = Decimal(0)
    cost_absolute: Decimal = Decimal(0)
    quantity: Decimal = Decimal(0)
    quantity_absolute: Decimal = Decimal(0)
    records: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            plus(self.cost, other.cost),
            plus(self.cost_absolute, other.cost_absolute),
            plus(self.quantity, other.quantity),
            plus(self.quantity_absolute, other.quantity_absolute),
            self.records + other.records,
        )


DaySums = Mapping[date, Mapping[str, Sums]]
"""By day, by currency."""


@dataclass(frozen=True, slots=True)
class Page:
    """One committed page: what was asked, what came, where it lies. `digests` maps a day to a sum mod 2^256."""

    number: int
    cursor_in: str | None
    cursor_out: str | None
    read_at: datetime
    raw_rows: int
    duplicates: int
    outside: int
    staged: str | None
    sums: DaySums
    digests: Mapping[date, int]
    packed: bytes
    requests: int
    throttled: int
    single: bool
    sent: bool = False


@dataclass(frozen=True, slots=True)
class DayVerdict:
    """What a generation says of one day, and whether the control agrees."""

    day: date
    agreed: bool
    digest: int
    sums: Mapping[str, Sums]
    control: Mapping[str, Sums] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The closing of a generation. `read_at` is the Date header of the answer that proved it."""

    number: int
    read_at: datetime
    control_kind: str
    days: tuple[DayVerdict, ...]
    requests: int
    throttled: int
    decided_at: datetime


Entry = Page | Verdict


def _sums_out(sums: Mapping[str, Sums]) -> dict[str, list[str]]:
    return {
        currency: [
            str(s.cost),
            str(s.cost_absolute),
            str(s.quantity),
            str(s.quantity_absolute),
            str(s.records),
        ]
        for currency, s in sums.items()
    }


def _sums_in(value: Mapping[str, Sequence[str]]) -> dict[str, Sums]:
    return {
        currency: Sums(Decimal(s[0]), Decimal(s[1]), Decimal(s[2]), Decimal(s[3]), int(s[4]))
        for currency, s in value.items()
    }


def _page_row(partition: str, page: Page) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "page",
        "read_at": page.read_at,
        "raw_rows": page.raw_rows,
        "duplicates": page.duplicates,
        "outside": page.outside,
        "requests": page.requests,
        "throttled": page.throttled,
        "single": page.single,
        "sent": page.sent,
    }
    optional = {"cursor_in": page.cursor_in, "cursor_out": page.cursor_out, "staged": page.staged}
    values.update({name: value for name, value in optional.items() if value is not None})
    values.update(pack_json("sums", {d.isoformat(): _sums_out(s) for d, s in page.sums.items()}))
    values.update(pack_json("days", {d.isoformat(): f"{digest:064x}" for d, digest in page.digests.items()}))
    values.update(pack("hashes", page.packed))
    return Row(partition, row_key(page.number), values)


def _verdict_row(partition: str, verdict: Verdict) -> Row:
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "verdict",
        "read_at": verdict.read_at,
        "control_kind": verdict.control_kind,
        "requests": verdict.requests,
        "throttled": verdict.throttled,
        "decided_at": verdict.decided_at,
    }
    days = [
        [d.day.isoformat(), d.agreed, f"{d.digest:064x}", _sums_out(d.sums), _sums_out(d.control)]
        for d in verdict.days
    ]
    values.update(pack_json("verdict", days))
    return Row(partition, row_key(verdict.number), values)


def _entry(row: Row) -> Entry:
    value = checked(TABLE, row)
    if value["kind"] == "verdict":
        days = tuple(
            DayVerdict(date.fromisoformat(day), agreed, int(digest, 16), _sums_in(sums), _sums_in(control))
            for day, agreed, digest, sums, control in unpack_json("verdict", value, list[Any])
        )
        return Verdict(
            number=int(row.rk),
            read_at=value["read_at"],
            control_kind=value["control_kind"],
            days=days,
            requests=value["requests"],
            throttled=value["throttled"],
            decided_at=value["decided_at"],
        )
    return Page(
        number=int(row.rk),
        cursor_in=value.get("cursor_in"),
        cursor_out=value.get("cursor_out"),
        read_at=value["read_at"],
        raw_rows=value["raw_rows"],
        duplicates=value["duplicates"],
        outside=value["outside"],
        staged=value.get("staged"),
        sums={
            date.fromisoformat(d): _sums_in(s) for d, s in unpack_json("sums", value, dict[str, Any]).items()
        },
        digests={
            date.fromisoformat(d): int(text, 16)
            for d, text in unpack_json("days", value, dict[str, str]).items()
        },
        packed=unpack("hashes", value),
        requests=value["requests"],
        throttled=value["throttled"],
        single=value["single"],
        sent=value["sent"],
    )


def row_key(number: int) -> str:
    """Give the row key of a page number; keys sort as numbers do."""
    return f"{number:06d}"


async def entries(tables: Tables, partition: str, after: int = 0) -> list[Entry]:
    """Read a generation's committed entries whose number is greater than `after`, in order."""
    condition = f"PartitionKey eq {quoted(partition)} and RowKey gt {quoted(row_key(after))}"
    return [_entry(row) for row in await tables.query(TABLE, condition)]


async def staged_pages(tables: Tables, partition: str) -> list[tuple[str, frozenset[date]]]:
    """Name the staged blobs of a generation with the days they hold rows of, in the order of the pages."""
    condition = f"PartitionKey eq {quoted(partition)} and kind eq {quoted('page')}"
    rows = await tables.query(TABLE, condition, select=["staged", "days_0"])
    return [
        (
            str(row.values["staged"]),
            frozenset(map(date.fromisoformat, unpack_json("days", row.values, dict[str, str]))),
        )
        for row in rows
        if "staged" in row.values
    ]


async def any_entry(tables: Tables, partition: str) -> bool:
    """Tell whether a generation has a committed page."""
    condition = f"PartitionKey eq {quoted(partition)}"
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
    """Give the number of the work item that a generation waits for: its next page, or its verdict to apply."""
    rows = await tables.query(TABLE, f"PartitionKey eq {quoted(partition)}", select=["kind"])
    if not rows:
        return 1
    last = max(rows, key=lambda row: row.rk)
    return int(last.rk) + (last.values["kind"] == "page")


async def commit(tables: Tables, partition: str, entry: Entry) -> None:
    """Commit a page or a verdict.

    Raises:
        Conflict: another worker committed it first; its entity is the one that counts.
    """
    row = _page_row(partition, entry) if isinstance(entry, Page) else _verdict_row(partition, entry)
    await tables.insert(TABLE, row)


async def mark_sent(tables: Tables, partition: str, number: int) -> None:
    """Record that a page's successor was sent."""
    await tables.merge(TABLE, Row(partition, row_key(number), {"sent": True}))


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run's committed pages and verdicts cost and brought, over all its generations."""

    pages: int = 0
    rows: int = 0
    duplicates: int = 0
    requests: int = 0
    throttled: int = 0


async def counts(tables: Tables, prefix: str) -> Counts:
    """Count over every generation whose partition begins with `prefix`, which ends in no `~`."""
    condition = f"PartitionKey ge {quoted(prefix)} and PartitionKey lt {quoted(prefix + '~')}"
    wanted = ["kind", "raw_rows", "duplicates", "requests", "throttled"]
    rows: list[Mapping[str, Any]] = [
        row.values for row in await tables.query(TABLE, condition, select=wanted)
    ]
    pages = [value for value in rows if value["kind"] == "page"]
    return Counts(
        pages=len(pages),
        rows=sum(value["raw_rows"] for value in pages),
        duplicates=sum(value["duplicates"] for value in pages),
        requests=sum(value["requests"] for value in rows),
        throttled=sum(value["throttled"] for value in rows),
    )


async def purge(tables: Tables, prefix: str) -> int:
    """Remove every generation whose partition begins with `prefix`, and tell how many entities there were."""
    condition = f"PartitionKey ge {quoted(prefix)} and PartitionKey lt {quoted(prefix + '~')}"
    rows = await tables.query(TABLE, condition, select=["kind"])
    for partition, group in groupby(rows, key=lambda row: row.pk):
        keys = [row.rk for row in group]
        for start in range(0, len(keys), BATCH):
            await tables.batch(TABLE, [Delete(partition, key) for key in keys[start : start + BATCH]])
    return len(rows)
