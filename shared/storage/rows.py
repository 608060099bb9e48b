"""A row of a table, the operations of a transaction, and their way to the SDK and back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from shared.storage.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.data.tables import TableEntity


@dataclass(frozen=True, slots=True)
class Foreign:
    """A property that somebody else wrote, of a type (a Python name) that a row does not hold: never a value."""

    kind: str


Value = str | int | bool | bytes | datetime | Foreign

_FORBIDDEN: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
_KEY_BYTES: Final = 1024
_PROPERTY_BYTES: Final = 64 * 1024
_ROW_BYTES: Final = 1024 * 1024
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True)
class Row:
    """One entity: its keys, its properties, and, once read, its ETag and the service's time of change.

    Whole numbers are 64 bits wide, bytes are binary, times are aware UTC. There are no floats, so that no
    amount can become one, and no nulls: the service drops a null property.
    """

    pk: str
    rk: str
    values: dict[str, Value] = field(default_factory=dict)
    etag: str | None = None
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Insert:
    """Put a row where none is."""

    row: Row


@dataclass(frozen=True, slots=True)
class Replace:
    """Put a row in the place of the one that has this ETag."""

    row: Row
    etag: str


@dataclass(frozen=True, slots=True)
class Upsert:
    """Put a row, whatever was there."""

    row: Row


@dataclass(frozen=True, slots=True)
class Delete:
    """Take away a row that must be there; under an ETag only if it is still the one read."""

    pk: str
    rk: str
    etag: str | None = None


Operation = Insert | Replace | Upsert | Delete


def quoted(value: Value) -> str:
    """Write a value as a filter wants it: `'it''s'`, `5L`, `true`, `datetime'...'`, `X'00ff'`.

    Raises:
        ValueError: A time has no zone.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value}L"
        case bytes():
            return f"X'{value.hex()}'"
        case datetime():
            return f"datetime'{_utc('filter', value):%Y-%m-%dT%H:%M:%S.%fZ}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case Foreign():
            raise ValueError(f"nothing can be compared with a {value.kind}")


def check_keys(pk: str, rk: str) -> None:
    r"""Make sure that the service can store these keys.

    Raises:
        ValueError: A key holds `/`, `\`, `#`, `?` or a control character, or is longer than 1 KiB.
    """
    for key in (pk, rk):
        if _FORBIDDEN.search(key):
            raise ValueError(f"a table key must not hold / \\ # ? or control characters: {key!r}")
        if len(key.encode("utf-16-le")) > _KEY_BYTES:
            raise ValueError(f"a table key must not be longer than 512 characters: {key[:40]!r}...")


def to_sdk(row: Row) -> dict[str, Any]:
    """Write a row as the SDK takes it, sizes and types checked here because the emulator does not.

    Raises:
        TooLarge: A property is larger than 64 KiB or the row larger than 1 MiB.
        TypeError: A value is of a type that a row does not hold.
        ValueError: A key, a number or a time does not fit.
    """
    check_keys(row.pk, row.rk)
    # https://learn.microsoft.com/archive/blogs/avkashchauhan/how-the-size-of-an-entity-is-caclulated-in-windows-azure-table-storage
    total = 4 + (len(row.pk) + len(row.rk)) * 2
    for name, value in row.values.items():
        size = _size(value)
        if size > _PROPERTY_BYTES:
            raise TooLarge(f"{row.pk}/{row.rk} property {name}", "PropertyValueTooLarge")
        total += 8 + 2 * len(name) + size
    if total > _ROW_BYTES:
        raise TooLarge(f"{row.pk}/{row.rk}", "EntityTooLarge")
    properties = {name: _sent(name, value) for name, value in row.values.items()}
    return {**properties, "PartitionKey": row.pk, "RowKey": row.rk}


def from_sdk(entity: TableEntity) -> Row:
    """Read a row from the SDK's entity, in plain Python types; of any other type only its name."""
    values = {name: _read(value) for name, value in entity.items() if name not in {"PartitionKey", "RowKey"}}
    metadata: Mapping[str, Any] = entity.metadata
    timestamp = metadata.get("timestamp")
    return Row(
        pk=str(entity["PartitionKey"]),
        rk=str(entity["RowKey"]),
        values=values,
        etag=metadata.get("etag"),
        timestamp=None if timestamp is None else _plain(timestamp),
    )


def _size(value: Value) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-16-le"))
    return len(value) if isinstance(value, bytes) else 8


def _sent(name: str, value: object) -> object:
    match value:
        case bool() | str() | bytes():
            return value
        case int():
            if not -_INT64 <= value < _INT64:
                raise ValueError(f"property {name} does not fit into 64 bits: {value}")
            # Without the type the SDK writes 32 bits and refuses the rest.
            return (value, "Edm.Int64")
        case datetime():
            return _utc(name, value)
    raise TypeError(f"property {name} is of type {type(value).__name__}, which a row does not hold")


def _read(value: object) -> Value:
    match value:
        case bool() | str() | bytes() | int():
            return value
        case datetime():
            return _plain(value)
        case (int() as number, _):
            return number
    return Foreign(type(value).__name__)


def _plain(value: datetime) -> datetime:
    """Make a plain datetime of the SDK's subclass, which compares equal and yet pickles and prints oddly."""
    return datetime.combine(value.date(), value.time(), UTC)


def _utc(name: str, value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError(f"{name} is a time without a zone: {value}")
    return value.astimezone(UTC)
