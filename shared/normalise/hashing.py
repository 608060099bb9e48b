"""Identities, contents and digests of records, as SHA-256 over parts that cannot run into each other.

Every part is written as its length in bytes, a colon and its text (`3:abc`), a null as `-`, and is led by its
column's name in the same manner, so no two different records make the same bytes.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import polars as pl
import polars_hash as plh

from shared.ledger.columns import MONEY

DIGEST_BYTES = 32
"""Size of an identity, a content or a record digest: one SHA-256."""

KEY_BYTES = 24
"""Size of a packed record: 16 bytes of its identity, 8 of its content."""

KEY_COLUMNS = ("id_a", "id_b", "content")
"""A packed record as three UInt64, little-endian, in the order of its bytes."""

_SHORT = 1023
"""Bytes of a text whose length is looked up and not written anew for each row."""

_MODULUS = 1 << (8 * DIGEST_BYTES)
_LIMBS = 8
_LIMB_BITS = 32


def written(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Write the columns' names and values as one text per row, each with its length before it.

    Raises as `identity` does.
    """
    if not columns:
        raise ValueError("a hash needs at least one column")
    texts = frame.select(_text(column, frame.schema[column]).alias(column) for column in columns)
    lengths = texts.select(pl.all().str.len_bytes())
    parts = [part for column in lengths for part in (_leads(column), texts[column.name].fill_null(""))]
    named = pl.DataFrame([part.alias(str(place)) for place, part in enumerate(parts)])
    return named.select(written=pl.concat_str(pl.all())).to_series()


def identity(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Hash the columns' names and values, in the order given, to 32 bytes a row.

    Decimals are hashed with 18 decimals, days and times as ISO 8601 in UTC, booleans as true or false, bytes
    as hex. Neither the other columns of the frame nor their order matter.

    Raises:
        TypeError: a column is of another type; a float has no one text.
        ValueError: no column is given.
    """
    return written(frame, columns).to_frame().select(_sha256(pl.col("written")).alias("identity")).to_series()


def content(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Hash amounts and attributes to 32 bytes a row, as `identity` does for dimensions."""
    return identity(frame, columns).alias("content")


def record_digest(identities: pl.Series, contents: pl.Series) -> pl.Series:
    """Give SHA-256 of each record's identity followed by its content: 32 bytes a row.

    This and all below raise `ValueError` where an identity, a content or a digest is not 32 bytes.
    """
    _demand_digests(identities, contents)
    both = pl.DataFrame({"identity": identities, "content": contents})
    return both.select(_sha256(pl.col("identity") + pl.col("content")).alias("digest")).to_series()


def keys(identities: pl.Series, contents: pl.Series) -> pl.DataFrame:
    """Give what is remembered of each record as three UInt64 (`KEY_COLUMNS`), so that dedup is a join."""
    _demand_digests(identities, contents)
    both = pl.DataFrame({"identity": identities, "content": contents})
    places = (("identity", 0), ("identity", 8), ("content", 0))
    return both.select(
        pl.col(column).bin.slice(start, 8).bin.reinterpret(dtype=pl.UInt64, endianness="little").alias(name)
        for name, (column, start) in zip(KEY_COLUMNS, places, strict=True)
    )


def packed(identities: pl.Series, contents: pl.Series) -> bytes:
    """Write 24 bytes a row: the first 16 of its identity, then the first 8 of its content."""
    return keys(identities, contents).to_numpy(order="c").astype("<u8", copy=False).tobytes()


def unpack(data: bytes) -> pl.DataFrame:
    """Read what `packed` wrote as the columns that `keys` gives, in the same order of rows.

    Raises:
        ValueError: the bytes are no whole number of records.
    """
    if len(data) % KEY_BYTES:
        raise ValueError(f"{len(data)} bytes are no whole number of records of {KEY_BYTES} bytes")
    rows = np.frombuffer(data, dtype="<u8").reshape(-1, len(KEY_COLUMNS))
    return pl.DataFrame({name: rows[:, place] for place, name in enumerate(KEY_COLUMNS)})


def digest_sum(digests: pl.Series) -> int:
    """Add 32-byte digests, read as big-endian numbers, modulo 2**256: their order doesn't matter."""
    _demand_digests(digests)
    sums = digests.alias("digest").to_frame().select(_limb_sums("digest"))
    return _join_limbs(sums.row(0))


def digest_by(frame: pl.DataFrame, by: Sequence[str], column: str) -> dict[tuple[object, ...], int]:
    """Add the digests of `column` for each distinct row of the columns `by`, as `digest_sum` does."""
    _demand_digests(frame[column])
    sums = frame.group_by(by, maintain_order=True).agg(_limb_sums(column))
    width = len(by)
    return {tuple(row[:width]): _join_limbs(row[width:]) for row in sums.iter_rows()}


def add_digests(*sums: int) -> int:
    """Add sums of digests modulo 2**256; without any, the sum of no record, 0."""
    return sum(sums) % _MODULUS


def digest_text(value: int) -> str:
    """Write a sum of digests as 64 hex characters.

    Raises:
        ValueError: it is negative or not below 2**256.
    """
    if not 0 <= value < _MODULUS:
        raise ValueError("a sum of digests stands between 0 and 2**256")
    return f"{value:0{2 * DIGEST_BYTES}x}"


def digest_value(text: str) -> int:
    """Read what `digest_text` wrote.

    Raises:
        ValueError: it is not 64 hex characters.
    """
    data = bytes.fromhex(text)
    if len(text) != 2 * DIGEST_BYTES or len(data) != DIGEST_BYTES:
        raise ValueError(f"{text!r} is not {2 * DIGEST_BYTES} hex characters")
    return int.from_bytes(data, "big")


def _demand_digests(*columns: pl.Series) -> None:
    """Refuse what polars would read as null and add as nothing: a null, a digest cut short."""
    for column in columns:
        if column.bin.size().ne_missing(DIGEST_BYTES).any():
            raise ValueError(f"column {column.name!r} holds more than digests of {DIGEST_BYTES} bytes")


def _leads(lengths: pl.Series) -> pl.Series:
    """Give what stands before each value of a column: its name, and the length of the value or that there is none."""
    name = f"{len(lengths.name.encode())}:{lengths.name}"
    if (lengths > _SHORT).any():
        return (name + lengths.cast(pl.String) + ":").fill_null(f"{name}-")
    # To look it up costs a third of putting it together, and the names are few.
    return _short_leads(name).gather(lengths.fill_null(_SHORT + 1))


@cache
def _short_leads(name: str) -> pl.Series:
    return pl.Series([*(f"{name}{length}:" for length in range(_SHORT + 1)), f"{name}-"])


def _text(column: str, dtype: pl.DataType) -> pl.Expr:
    """The one text of a value, whatever the column's scale or zone."""
    value = pl.col(column)
    if isinstance(dtype, pl.String):
        return value
    if isinstance(dtype, pl.Decimal):
        return value.cast(MONEY).cast(pl.String)
    if isinstance(dtype, pl.Date):
        return value.dt.to_string("%Y-%m-%d")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone == "UTC":
        return value.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("hex")
    if dtype.is_integer() or isinstance(dtype, (pl.Boolean, pl.Null)):
        return value.cast(pl.String)
    raise TypeError(f"column {column!r} of type {dtype} has no one text to hash")


def _sha256(value: pl.Expr) -> pl.Expr:
    return plh.CryptographicHashingNameSpace(value).sha2_256().str.decode("hex")


def _limb_sums(column: str) -> list[pl.Expr]:
    """Eight sums of 32-bit limbs, the highest first; 64 bits hold 2**32 rows of each."""
    size = DIGEST_BYTES // _LIMBS
    return [
        pl.col(column)
        .bin.slice(limb * size, size)
        .bin.reinterpret(dtype=pl.UInt32, endianness="big")
        .cast(pl.UInt64)
        .sum()
        .alias(f"limb_{limb}")
        for limb in range(_LIMBS)
    ]


def _join_limbs(sums: Sequence[int]) -> int:
    total = sum(int(value) << (_LIMB_BITS * (_LIMBS - 1 - limb)) for limb, value in enumerate(sums))
    return total % _MODULUS
