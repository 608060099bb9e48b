"""How pointers and publications are written as rows of CostDays, and read from them."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from shared.days.model import Announced, Attempt, Owned, Pointer, Publication, PublishedFile, Reading, Written
from shared.ledger.columns import COST_COLUMN
from shared.scopes import Scope
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row
from shared.versions import VERSION, converted, demand, entity, has_packed, reads, refusing

T = TypeVar("T")

_SHA256: Final = re.compile(r"[0-9a-f]{64}")

TABLE = "CostDays"
PUBLICATION = "publication"
ANNOUNCED: Final = "announced|"
"""What stands before a day's partition in that of the publication which is about to be made."""
_PUBLISHED: Final = (
    "view",
    "listed",
    "disagrees",
    "alike",
    "owned",
    "totals",
    "files",
    "ended",
    "written",
    "aside_of",
)
"""What is packed into a publication's row."""
SCOPE: Final = "scope|"
STATUSES: Final = frozenset({"reconciled", "incomplete", "unreconciled"})
"""The manifest's words."""

POINTER_CURE: Final = "restore it, or remove it and let `run` read the scope's day again"
PUBLICATION_CURE: Final = "restore it, or remove it and let `run` read the day again, which publishes it anew"
ANNOUNCED_CURE: Final = "remove it: the day is then published anew over what its publication left"
STRAY_CURE: Final = "remove it: it belongs to no day"


def partition(metric: str, day: date) -> str:
    """Name the partition of a day."""
    return f"{metric}|{day.isoformat()}"


def day_of(row: Row) -> date:
    """Give the day of a row, whatever version it is of.

    Raises:
        UnreadableError: its partition is not one of a day.
    """
    with refusing(entity(TABLE, row), STRAY_CURE):
        return _place(row)[1]


def pointer_row(pointer: Pointer) -> Row:
    """Write a pointer as its row."""
    values: dict[str, Any] = {"version": VERSION, "scope": pointer.scope}
    if pointer.reading is not None:
        values.update(pack_json("reading", msgspec.to_builtins(pointer.reading)))
    if pointer.attempt is not None:
        values.update(pack_json("attempt", msgspec.to_builtins(pointer.attempt)))
    if pointer.changed_at is not None:
        values["changed_at"] = pointer.changed_at
    return Row(partition(pointer.metric, pointer.day), f"{SCOPE}{pointer.key}", values)


@reads(TABLE, POINTER_CURE)
def read_pointer(row: Row) -> Pointer:
    """Read a pointer from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    metric, day = _place(row)
    demand(row.rk.startswith(SCOPE), "RowKey", row.rk)
    told = {
        "metric": metric,
        "day": day,
        "key": row.rk.removeprefix(SCOPE),
        "reading": _packed("reading", row, Reading),
        "attempt": _packed("attempt", row, Attempt),
        "etag": row.etag,
    }
    pointer = converted(Pointer, row.values, told, packed=("reading", "attempt"))
    demand(Scope.parse(pointer.scope).key == pointer.key, "scope", pointer.scope)
    demand((pointer.reading is None) == (pointer.changed_at is None), "changed_at", pointer.changed_at)
    if pointer.reading is not None:
        _demand_exact(pointer.reading)
    if pointer.attempt is not None:
        attempt = pointer.attempt
        _demand_zones("attempt", attempt.at, *attempt.failed, *attempt.vanished)
    return pointer


def publication_row(publication: Publication) -> Row:
    """Write a publication as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "scopes_at": publication.scopes_at,
        "as_of": publication.as_of,
        "status": publication.status,
        "published_at": publication.published_at,
        "manifest_etag": publication.manifest_etag,
        "unfinished": publication.unfinished,
        "aside": publication.aside,
        "aside_sha256": publication.aside_sha256,
        "mixed": publication.mixed,
        "held": publication.held,
    }
    if publication.known_since is not None:
        values["known_since"] = publication.known_since
    values.update(pack_json("view", msgspec.to_builtins(publication.view)))
    values.update(pack_json("totals", msgspec.to_builtins(publication.totals)))
    values.update(pack_json("listed", publication.listed))
    values.update(pack_json("disagrees", dict(publication.disagrees)))
    values.update(pack_json("alike", dict(publication.alike)))
    values.update(pack_json("owned", msgspec.to_builtins(publication.owned)))
    values.update(pack_json("files", msgspec.to_builtins(publication.files)))
    if publication.ended is not None:
        values.update(pack_json("ended", dict(publication.ended)))
    if publication.written is not None:
        values.update(pack_json("written", msgspec.to_builtins(publication.written)))
    values.update(pack_json("aside_of", publication.aside_of))
    return Row(partition(publication.metric, publication.day), PUBLICATION, values)


@reads(TABLE, PUBLICATION_CURE)
def read_publication(row: Row) -> Publication:
    """Read a publication from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    return _publication(row)


def announced_row(announced: Announced) -> Row:
    """Write a publication that is about to be made as a row of a partition of its own."""
    row = publication_row(announced.publication)
    told = {"manifest_sha256": announced.manifest_sha256, "over": announced.over}
    return Row(f"{ANNOUNCED}{row.pk}", row.rk, {**row.values, **told})


@reads(TABLE, ANNOUNCED_CURE)
def read_announced(row: Row) -> Announced:
    """Read a publication that was about to be made; it has no ETag.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    values = dict(row.values)
    sha256, over = values.pop("manifest_sha256", None), values.pop("over", None)
    demand(isinstance(sha256, str) and _SHA256.fullmatch(sha256) is not None, "manifest_sha256", sha256)
    demand(isinstance(over, str), "over", over)
    return Announced(
        _publication(Row(row.pk.removeprefix(ANNOUNCED), row.rk, values)), str(sha256), str(over)
    )


def _publication(row: Row) -> Publication:
    metric, day = _place(row)
    demand(row.rk == PUBLICATION, "RowKey", row.rk)
    told = {
        "metric": metric,
        "day": day,
        "view": unpack_json("view", row.values, dict[str, tuple[str, str, str, str]]),
        "listed": unpack_json("listed", row.values, tuple[str, ...]),
        "disagrees": unpack_json("disagrees", row.values, dict[str, str]),
        "alike": unpack_json("alike", row.values, dict[str, tuple[str, ...]]),
        "owned": unpack_json("owned", row.values, dict[str, Owned]),
        "totals": unpack_json("totals", row.values, dict[str, Decimal]),
        "files": unpack_json("files", row.values, tuple[PublishedFile, ...]),
        "ended": _packed("ended", row, dict[str, int]),
        "written": _packed("written", row, dict[str, Written]),
        "aside_of": unpack_json("aside_of", row.values, tuple[str, ...]),
        "etag": row.etag,
    }
    publication = converted(Publication, row.values, told, packed=_PUBLISHED)
    demand(publication.status in STATUSES, "status", publication.status)
    demand(publication.view.keys() >= set(publication.listed), "listed", publication.listed)
    ended = publication.ended or {}
    demand(all(count > 0 for count in ended.values()), "ended", ended)
    _demand_finite("totals", publication.totals)
    for owned in publication.owned.values():
        _demand_finite("owned", owned.totals)
    for written in (publication.written or {}).values():
        _demand_zones("written", written.at)
        demand(_SHA256.fullmatch(written.fingerprint) is not None, "written", written.fingerprint)
    is_hash = _SHA256.fullmatch(publication.aside_sha256) is not None
    demand(
        is_hash if publication.aside else not publication.aside_sha256,
        "aside_sha256",
        publication.aside_sha256,
    )
    return publication


def _place(row: Row) -> tuple[str, date]:
    metric, _, text = row.pk.partition("|")
    day = date.fromisoformat(text)
    demand(metric in COST_COLUMN and partition(metric, day) == row.pk, "PartitionKey", row.pk)
    return metric, day


def _packed(name: str, row: Row, kind: type[T]) -> T | None:
    return unpack_json(name, row.values, kind) if has_packed(name, row.values) else None


def _demand_exact(reading: Reading) -> None:
    demand(reading.records >= 0, "reading", reading.records)
    _demand_zones("reading", reading.since, reading.read_at)
    demand(reading.since <= reading.read_at, "reading", reading.began)
    for amounts in (reading.totals, reading.absolutes, reading.control):
        _demand_finite("reading", amounts)


def _demand_zones(name: str, *times: datetime) -> None:
    for time in times:
        demand(time.tzinfo is not None, name, time)


def _demand_finite(name: str, amounts: Mapping[str, Decimal]) -> None:
    for amount in amounts.values():
        demand(amount.is_finite(), name, str(amount))
