"""Bytes larger than a property, spread over several properties of one row.

The Table service stores 64 KiB in a property and 1 MiB in a row.
https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
"""

import zlib
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from shared.storage.errors import StorageError, TooLarge

T = TypeVar("T")

PROPERTY_BYTES: Final = 64 * 1024
PACKED_BYTES: Final = 900 * 1024
"""What may be packed into one row; the rest of the 1 MiB is for its keys and its other properties."""


def pack(name: str, data: bytes) -> dict[str, bytes]:
    """Split bytes over the properties `name_0`, `name_1`, ..., each full but the last.

    Empty bytes take one empty property, so that packed nothing differs from nothing packed.

    Raises:
        TooLarge: There are more than 900 KiB.
    """
    if len(data) > PACKED_BYTES:
        raise TooLarge(f"{name} of {len(data)} bytes", "EntityTooLarge")
    starts = range(0, max(len(data), 1), PROPERTY_BYTES)
    return {f"{name}_{number}": data[start : start + PROPERTY_BYTES] for number, start in enumerate(starts)}


def unpack(name: str, values: Mapping[str, object]) -> bytes:
    """Put the bytes together again that `pack` split; other properties are ignored.

    Raises:
        StorageError: `values` holds none of them, a gap among them, or something other than bytes.
    """
    prefix = f"{name}_"
    count = sum(1 for key in values if key.startswith(prefix) and key[len(prefix) :].isdecimal())
    parts = [values.get(f"{prefix}{number}") for number in range(count)]
    if not parts:
        raise StorageError(f"{prefix}0", "PropertyMissing")
    chunks = [part for part in parts if isinstance(part, bytes)]
    if len(chunks) != len(parts):
        raise StorageError(f"{prefix}0 to {prefix}{count - 1}", "PropertyMissing")
    return b"".join(chunks)


def pack_json(name: str, value: object) -> dict[str, bytes]:
    """Pack a value as JSON, compressed with zlib; amounts go in as text or Decimal, never as float.

    Raises:
        TooLarge: More than 900 KiB are left after compression.
    """
    return pack(name, zlib.compress(msgspec.json.encode(value)))


def unpack_json(name: str, values: Mapping[str, object], kind: type[T]) -> T:
    """Read a value that `pack_json` packed, checked against its type: every key there, none unknown.

    A default is for who makes a value; who reads one finds it written down.

    Raises:
        StorageError: The properties are missing, damaged, or hold something else.
    """
    try:
        data = zlib.decompress(unpack(name, values))
        value = msgspec.json.decode(data, type=kind)
    except (zlib.error, msgspec.DecodeError) as error:
        raise StorageError(f"{name}_0", f"PropertyDamaged: {error}") from error
    # What comes out as it went in has the same keys: only something else is looked through.
    if msgspec.json.encode(value) != data:
        wrong = _other_keys(msgspec.json.decode(data), msgspec.to_builtins(value, str_keys=True))
        if wrong is not None:
            raise StorageError(f"{name}_0", f"PropertyDamaged: {wrong}")
    return value


def _other_keys(held: object, read: object) -> str | None:
    """Say which key of a JSON value is not one of what was read of it, or the other way round; None where all are.

    Reading by a type passes over unknown keys and puts defaults for missing ones.
    """
    if isinstance(held, dict) and isinstance(read, dict):
        if missing := sorted(read.keys() - held.keys()):
            return f'it has no "{missing[0]}"'
        if unknown := sorted(held.keys() - read.keys()):
            return f'it has "{unknown[0]}", which this release does not know'
        pairs = [(held[key], read[key]) for key in held]
    elif isinstance(held, list) and isinstance(read, list | tuple):
        pairs = list(zip(held, read, strict=True))
    else:
        return None
    return next(filter(None, (_other_keys(*pair) for pair in pairs)), None)
