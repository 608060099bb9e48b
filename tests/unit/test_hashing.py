"""Identities and digests against hashlib, and the ways in which two records could be taken for one."""

import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.columns import MONEY
from shared.normalise import hashing

texts = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["-", "0:", "1:a", "é", "a|b", "a" * 1023, "a" * 1024])
)
digests = st.lists(st.binary(min_size=32, max_size=32), max_size=20)


def written(*parts: str | None) -> bytes:
    """The bytes of parts, written by the rule in plain Python."""
    return b"".join(
        b"-" if part is None else b"%d:%s" % (len(part.encode()), part.encode()) for part in parts
    )


def sha(*parts: str | None) -> bytes:
    return hashlib.sha256(written(*parts)).digest()


def binary(values: list[bytes]) -> pl.Series:
    return pl.Series("digest", values, dtype=pl.Binary)


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8))
def test_identity_is_the_hash_of_names_and_values(rows: list[tuple[str | None, str | None]]) -> None:
    frame = pl.DataFrame(rows, schema={"Meter": pl.String, "ResourceId": pl.String}, orient="row")

    result = hashing.identity(frame, ["ResourceId", "Meter"])

    assert result.dtype == pl.Binary
    assert result.to_list() == [sha("ResourceId", resource, "Meter", meter) for meter, resource in rows]


@given(st.lists(st.tuples(texts, texts), max_size=8, unique=True))
def test_different_parts_are_written_differently(rows: list[tuple[str | None, str | None]]) -> None:
    """Null is not empty, and no part runs into the next."""
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.String}, orient="row")

    result = hashing.written(frame, ["a", "b"])

    assert [text.encode() for text in result] == [written("a", a, "b", b) for a, b in rows]
    assert result.n_unique() == len(rows)


def test_another_grouping_cannot_collide() -> None:
    """GIVEN the same values under other names THEN the identities differ."""
    frame = pl.DataFrame({"Meter": ["x"], "MeterCategory": ["x"]})

    assert hashing.identity(frame, ["Meter"])[0] != hashing.identity(frame, ["MeterCategory"])[0]


def test_a_column_without_any_value_is_hashed_as_null() -> None:
    frame = pl.DataFrame({"a": [None], "b": pl.Series([None], dtype=pl.String)})

    assert hashing.identity(frame, ["a", "b"]).to_list() == [sha("a", None, "b", None)]


def test_content_hashes_the_value_not_the_type() -> None:
    """An amount is the same at any scale it was read with, a day is ISO, a time is UTC."""
    frame = pl.DataFrame(
        {
            "cost": pl.Series([Decimal("-1.5")], dtype=MONEY),
            "quantity": pl.Series([Decimal("2.50")], dtype=pl.Decimal(10, 2)),
            "day": [date(2026, 5, 10)],
            "start": [datetime(2026, 5, 10, tzinfo=UTC)],
            "flag": [True],
            "count": [7],
            "raw": [b"\x00\xff"],
        }
    )

    result = hashing.content(frame, frame.columns)

    expected = sha(
        *("cost", "-1.500000000000000000", "quantity", "2.500000000000000000", "day", "2026-05-10"),
        *("start", "2026-05-10T00:00:00.000000Z", "flag", "true", "count", "7", "raw", "00ff"),
    )
    assert result.name == "content"
    assert result.to_list() == [expected]


@pytest.mark.parametrize("values", [[1.5], [datetime(2026, 5, 10)]])  # noqa: DTZ001 - without a zone on purpose
def test_refuses_values_without_one_text(values: list[object]) -> None:
    with pytest.raises(TypeError, match="'cost'"):
        hashing.content(pl.DataFrame({"cost": values}), ["cost"])


def test_refuses_to_hash_nothing() -> None:
    with pytest.raises(ValueError, match="at least one column"):
        hashing.identity(pl.DataFrame({"a": ["x"]}), [])


@given(st.lists(st.tuples(*[st.binary(min_size=32, max_size=32)] * 2), max_size=10))
def test_packed_records_come_back_as_their_keys(rows: list[tuple[bytes, bytes]]) -> None:
    identities, contents = binary([row[0] for row in rows]), binary([row[1] for row in rows])

    data = hashing.packed(identities, contents)

    assert data == b"".join(identity[:16] + content[:8] for identity, content in rows)
    assert hashing.unpack(data).equals(hashing.keys(identities, contents))
    assert hashing.unpack(data).schema == dict.fromkeys(hashing.KEY_COLUMNS, pl.UInt64)


def test_refuses_half_a_packed_record() -> None:
    with pytest.raises(ValueError, match="25 bytes"):
        hashing.unpack(bytes(25))


@given(digests, digests)
def test_a_sum_of_digests_knows_no_order_and_no_pages(first: list[bytes], second: list[bytes]) -> None:
    """GIVEN records split into two pages THEN their sums add up to the sum of all, in whatever order."""
    rows = [*first, *second]
    expected = sum(int.from_bytes(row, "big") for row in rows) % 2**256
    shuffled = sorted(rows, key=lambda row: hashlib.sha256(row).digest())

    assert hashing.digest_sum(binary(rows)) == expected
    assert hashing.digest_sum(binary(shuffled)) == expected
    pages = [hashing.digest_sum(binary(page)) for page in (first, second)]
    assert hashing.add_digests(*pages) == expected
    assert hashing.digest_value(hashing.digest_text(expected)) == expected
    assert len(hashing.digest_text(expected)) == 64


def test_sums_of_the_largest_digests_wrap() -> None:
    assert hashing.digest_sum(binary([b"\xff" * 32] * 3)) == 2**256 - 3


def test_digests_are_added_for_each_day() -> None:
    days = [date(2026, 5, 10), date(2026, 5, 11), date(2026, 5, 10)]
    rows = [b"\x01" * 32, b"\xff" * 32, b"\x02" * 32]
    frame = pl.DataFrame({"usage_date": days, "digest": rows})

    result = hashing.digest_by(frame, ["usage_date"], "digest")

    assert result == {
        (days[0],): int.from_bytes(b"\x03" * 32, "big"),
        (days[1],): int.from_bytes(b"\xff" * 32, "big"),
    }


def test_record_digest_joins_identity_and_content() -> None:
    identity, content = b"\x00" * 31 + b"i", b"\xff" * 32

    result = hashing.record_digest(binary([identity]), binary([content]))

    assert result.to_list() == [hashlib.sha256(identity + content).digest()]


@pytest.mark.parametrize("value", [None, b"short", b"\x00" * 31, b"\x00" * 33])
def test_refuses_what_is_no_digest(value: bytes | None) -> None:
    """polars would read it as null and count it as nothing."""
    good, bad = binary([bytes(32)]), pl.Series("digest", [value], dtype=pl.Binary)

    for attempt in (
        lambda: hashing.digest_sum(bad),
        lambda: hashing.digest_by(bad.to_frame().with_columns(day=1), ["day"], "digest"),
        lambda: hashing.record_digest(good, bad),
        lambda: hashing.packed(bad, good),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            attempt()


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 66, "g" * 64, "00 " * 32])
def test_refuses_what_is_no_sum(text: str) -> None:
    with pytest.raises(ValueError, match=r"hex|fromhex"):
        hashing.digest_value(text)


@pytest.mark.parametrize("value", [-1, 2**256])
def test_refuses_to_write_what_is_no_sum(value: int) -> None:
    with pytest.raises(ValueError, match="between"):
        hashing.digest_text(value)
