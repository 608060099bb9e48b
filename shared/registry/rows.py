"""How pages and verdicts are written as rows of CostHashes, and read from them."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec

from shared.normalise.hashing import KEY_BYTES
from shared.registry.model import (
    Counts,
    DaySums,
    DayVerdict,
    Entry,
    Page,
    Repeated,
    StagedPage,
    Sums,
    Verdict,
)
from shared.storage.packing import pack, pack_json, unpack, unpack_json
from shared.storage.rows import Row
from shared.versions import VERSION, MalformedError, converted, demand, reads

TABLE = "CostHashes"
CURE: Final = "leave it: the next run over these days reads them again"
CONTROL_KINDS: Final = frozenset({"query", "single_page", "repeated"})

_Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_SumsRead = dict[str, tuple[Decimal, Decimal, Decimal, Decimal, str]]
_DayRead = tuple[date, bool, _Digest, _SumsRead, _SumsRead, bool]


class _RepeatedRead(msgspec.Struct):
    staged: str | None
    sums: dict[date, _SumsRead]
    digests: dict[date, _Digest]


def row_key(number: int) -> str:
    """Give the row key of a page number; keys sort as numbers do."""
    return f"{number:06d}"


def page_row(partition: str, page: Page) -> Row:
    """Write a page as its row."""
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
        "tells_period": page.tells_period,
    }
    optional = {"cursor_in": page.cursor_in, "cursor_out": page.cursor_out, "staged": page.staged}
    values.update({name: value for name, value in optional.items() if value is not None})
    values.update(pack_json("sums", _days_out(page.sums)))
    values.update(pack_json("days", _digests_out(page.digests)))
    repeated = page.repeated
    told = {
        "staged": repeated.staged,
        "sums": _days_out(repeated.sums),
        "digests": _digests_out(repeated.digests),
    }
    values.update(pack_json("repeated", told))
    values.update(pack_json("kinds", {day.isoformat(): kinds for day, kinds in page.kinds.items()}))
    values.update(pack("hashes", page.packed))
    return Row(partition, row_key(page.number), values)


def verdict_row(partition: str, verdict: Verdict) -> Row:
    """Write a verdict as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "verdict",
        "read_at": verdict.read_at,
        "control_kind": verdict.control_kind,
        "requests": verdict.requests,
        "throttled": verdict.throttled,
        "decided_at": verdict.decided_at,
        "duplicates": verdict.duplicates,
    }
    days = [
        [
            d.day.isoformat(),
            d.agreed,
            f"{d.digest:064x}",
            _sums_out(d.sums),
            _sums_out(d.control),
            d.with_repeated,
        ]
        for d in verdict.days
    ]
    values.update(pack_json("verdict", days))
    return Row(partition, row_key(verdict.number), values)


@reads(TABLE, CURE)
def read_entry(row: Row) -> Entry:
    """Read a page or a verdict from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    number = _number(row)
    kind = row.values["kind"]
    demand(kind in ("page", "verdict"), "kind", kind)
    return _verdict(row, number) if kind == "verdict" else _page(row, number)


def _page(row: Row, number: int) -> Page:
    sums = unpack_json("sums", row.values, dict[date, _SumsRead])
    digests = unpack_json("days", row.values, dict[date, _Digest])
    told = {
        "number": number,
        "sums": {day: _sums_in(held) for day, held in sums.items()},
        "digests": {day: int(text, 16) for day, text in digests.items()},
        "packed": unpack("hashes", row.values),
        "repeated": _repeated(row),
        "kinds": unpack_json("kinds", row.values, dict[date, tuple[str, ...]]),
    }
    held = {"cursor_in": None, "cursor_out": None, "staged": None, **row.values}
    packed = ("sums", "days", "hashes", "repeated", "kinds")
    page = converted(Page, held, told, packed=packed, constant={"kind": "page"})
    records = count_records(page.sums)
    # What was cut off would be rows that nobody has seen yet.
    demand(len(page.packed) == records * KEY_BYTES, "hashes", page.packed)
    demand(page.sums.keys() == page.digests.keys(), "days", sorted(map(str, page.digests)))
    demand(not page.single or (number == 1 and page.cursor_out is None), "single", page.single)
    demand((page.staged is None) == (records == 0), "staged", page.staged)
    days = page.sums.keys() | page.repeated.sums.keys()
    demand(not page.kinds or page.kinds.keys() == days, "kinds", sorted(map(str, page.kinds)))
    for kinds in page.kinds.values():
        demand(kinds == tuple(sorted(set(kinds))) and all(kinds) and bool(kinds), "kinds", kinds)
    return page


def _repeated(row: Row) -> Repeated:
    said = unpack_json("repeated", row.values, _RepeatedRead)
    found = Repeated(
        staged=said.staged,
        sums={day: _sums_in(held) for day, held in said.sums.items()},
        digests={day: int(text, 16) for day, text in said.digests.items()},
    )
    demand(found.sums.keys() == found.digests.keys(), "repeated", sorted(map(str, found.digests)))
    demand((found.staged is None) == (count_records(found.sums) == 0), "repeated", found.staged)
    return found


def count_records(days: DaySums) -> int:
    """Count the rows that were added up."""
    return sum(line.records for currencies in days.values() for line in currencies.values())


def _verdict(row: Row, number: int) -> Verdict:
    said = unpack_json("verdict", row.values, list[_DayRead])
    days = tuple(
        DayVerdict(day, agreed, int(digest, 16), _sums_in(sums), _sums_in(control), with_repeated)
        for day, agreed, digest, sums, control, with_repeated in said
    )
    told = {"number": number, "days": days}
    verdict = converted(Verdict, row.values, told, packed=("verdict",), constant={"kind": "verdict"})
    demand(verdict.control_kind in CONTROL_KINDS, "control_kind", verdict.control_kind)
    return verdict


def _number(row: Row) -> int:
    demand(row.rk.isascii() and row.rk.isdecimal() and row_key(int(row.rk)) == row.rk, "RowKey", row.rk)
    return int(row.rk)


@reads(TABLE, CURE)
def read_staged(row: Row) -> list[StagedPage]:
    """Read which staged blobs a page names, if any, and the days that they hold rows of.

    Raises:
        UnreadableError: the properties `version`, `staged`, `days_0` and `repeated_0` are not what this release
            writes.
    """
    days = frozenset(unpack_json("days", row.values, dict[date, _Digest]))
    name = row.values["staged"] if days else row.values.get("staged")
    demand(isinstance(name, str) == bool(days), "staged", name)
    repeated = _repeated(row)
    found = [StagedPage(str(name), days, repeated=False)] if days else []
    if repeated.staged is not None:
        found.append(StagedPage(repeated.staged, frozenset(repeated.digests), repeated=True))
    return found


@reads(TABLE, CURE)
def read_following(row: Row) -> int:
    """Read the number of the work item that follows an entity: of a verdict, its own.

    Raises:
        UnreadableError: the properties `version` and `kind` are not what this release writes.
    """
    kind = row.values["kind"]
    demand(kind in ("page", "verdict"), "kind", kind)
    return _number(row) + (kind == "page")


@reads(TABLE, CURE)
def read_counts(row: Row) -> Counts:
    """Read what an entity counts for.

    Raises:
        UnreadableError: its version, kind and counts are not what this release writes.
    """
    names = ("raw_rows", "duplicates", "requests", "throttled")
    if row.values["kind"] != "page":
        return Counts(0, 0, *(_count(row, name) for name in names[1:]))
    return Counts(1, *(_count(row, name) for name in names))


def _count(row: Row, name: str) -> int:
    value = row.values[name]
    if type(value) is not int:
        raise MalformedError(f'has {type(value).__name__} as "{name}", a number was expected')
    return value


def _days_out(days: DaySums) -> dict[str, dict[str, list[str]]]:
    return {day.isoformat(): _sums_out(sums) for day, sums in days.items()}


def _digests_out(digests: Mapping[date, int]) -> dict[str, str]:
    return {day.isoformat(): f"{digest:064x}" for day, digest in digests.items()}


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


def _sums_in(held: _SumsRead) -> dict[str, Sums]:
    sums = {}
    for currency, (cost, cost_absolute, quantity, quantity_absolute, records) in held.items():
        for amount in (cost, cost_absolute, quantity, quantity_absolute):
            demand(amount.is_finite(), "sums", str(amount))
        demand(records.isascii() and records.isdecimal(), "sums", records)
        sums[currency] = Sums(cost, cost_absolute, quantity, quantity_absolute, int(records))
    return sums
