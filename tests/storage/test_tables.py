"""Rows on the real emulator: what comes back, who loses a race, and what a query brings."""

import os
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.storage import (
    Conflict,
    Delete,
    Insert,
    Missing,
    Operation,
    Replace,
    Row,
    Storage,
    TooLarge,
    Upsert,
    Value,
    pack,
    pack_json,
    quoted,
    unpack,
    unpack_json,
)
from shared.storage.errors import StorageError
from tests.fates import Fate
from tests.faults import FaultyEdge, Killed


async def test_values_come_back_as_they_went(storage: Storage, table: str) -> None:
    """Every type of value survives, and none comes back in the SDK's wrapping."""
    written: dict[str, Value] = {
        "text": "it's 7 €",
        "digits": "2026-05-10T00:00:00Z",  # a text that looks like a time stays a text
        "small": 7,
        "large": 2**53 + 1,
        "least": -(2**63),
        "yes": True,
        "no": False,
        "raw": b"\x00\xff",
        "nothing": b"",
        "when": datetime(2026, 5, 10, 1, 2, 3, 456789, tzinfo=UTC),
    }
    etag = await storage.tables.insert(table, Row("p", "r", {**written}))

    row = await storage.tables.get(table, "p", "r")

    assert row is not None
    assert row.values == written
    assert {name: type(value) for name, value in row.values.items()} == {
        name: type(value) for name, value in written.items()
    }
    assert row.etag == etag
    assert row.timestamp is not None
    assert abs(datetime.now(UTC) - row.timestamp) < timedelta(minutes=1)


async def test_time_of_another_zone_comes_back_in_utc(storage: Storage, table: str) -> None:
    noon = datetime(2026, 5, 10, 12, tzinfo=timezone(timedelta(hours=2)))
    await storage.tables.insert(table, Row("p", "r", {"when": noon}))

    row = await storage.tables.get(table, "p", "r")

    assert row is not None
    assert str(row.values["when"]) == "2026-05-10 10:00:00+00:00"


@pytest.mark.parametrize("value", [1.5, None, [1]], ids=["float", "null", "list"])
async def test_value_that_a_row_cannot_hold_is_refused(storage: Storage, table: str, value: object) -> None:
    with pytest.raises(TypeError, match="property amount"):
        await storage.tables.insert(table, Row("p", "r", {"amount": value}))  # type: ignore[dict-item]


async def test_number_beyond_64_bits_and_time_without_zone_are_refused(storage: Storage, table: str) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        await storage.tables.insert(table, Row("p", "r", {"n": 2**63}))
    with pytest.raises(ValueError, match="without a zone"):
        await storage.tables.insert(table, Row("p", "r", {"t": datetime(2026, 5, 10)}))  # noqa: DTZ001


@pytest.mark.parametrize("key", ["a/b", "a\\b", "a#b", "a?b", "a\nb", "a\x85b"])
async def test_key_that_the_service_cannot_store_never_leaves(
    storage: Storage, edge: FaultyEdge, table: str, key: str
) -> None:
    """The emulator answers 500 to some of these and loses others."""
    with pytest.raises(ValueError, match="table key"):
        await storage.tables.insert(table, Row("p", key))
    with pytest.raises(ValueError, match="table key"):
        await storage.tables.get(table, key, "r")
    with pytest.raises(ValueError, match="table key"):
        await storage.tables.batch(table, [Delete("p", key)])
    assert edge.calls == []


async def test_second_insert_conflicts_and_changes_nothing(storage: Storage, table: str) -> None:
    await storage.tables.insert(table, Row("p", "r", {"by": "first"}))

    with pytest.raises(Conflict) as caught:
        await storage.tables.insert(table, Row("p", "r", {"by": "second"}))

    assert (caught.value.what, caught.value.code) == (f"{table}/p/r", "EntityAlreadyExists")
    row = await storage.tables.get(table, "p", "r")
    assert row is not None
    assert row.values == {"by": "first"}


async def test_replace_under_a_lost_etag_conflicts(storage: Storage, table: str) -> None:
    # GIVEN a row that two have read and one has replaced
    stale = await storage.tables.insert(table, Row("p", "r", {"n": 1, "old": True}))
    fresh = await storage.tables.replace(table, Row("p", "r", {"n": 2}), stale)

    # WHEN the other replaces it
    with pytest.raises(Conflict):
        await storage.tables.replace(table, Row("p", "r", {"n": 3}), stale)

    # THEN the first replacement stands, whole, under the ETag it was given
    row = await storage.tables.get(table, "p", "r")
    assert row is not None
    assert (row.values, row.etag) == ({"n": 2}, fresh)


async def test_replace_of_a_row_that_is_gone_conflicts(storage: Storage, table: str) -> None:
    etag = await storage.tables.insert(table, Row("p", "r"))
    await storage.tables.delete(table, "p", "r", etag)

    with pytest.raises(Conflict):
        await storage.tables.replace(table, Row("p", "r"), etag)
    with pytest.raises(Missing):
        await storage.tables.merge(table, Row("p", "r"))


@pytest.mark.parametrize("etag", ["", "*"])
async def test_etag_that_matches_everything_is_refused(storage: Storage, table: str, etag: str) -> None:
    await storage.tables.insert(table, Row("p", "r"))
    with pytest.raises(ValueError, match="ETag"):
        await storage.tables.replace(table, Row("p", "r"), etag)


async def test_merge_keeps_other_properties_and_upsert_does_not(storage: Storage, table: str) -> None:
    etag = await storage.tables.insert(table, Row("p", "r", {"a": 1, "b": 1}))
    await storage.tables.merge(table, Row("p", "r", {"b": 2}))
    with pytest.raises(Conflict):
        await storage.tables.merge(table, Row("p", "r", {"b": 3}), etag)

    merged = await storage.tables.get(table, "p", "r")
    assert merged is not None
    assert merged.values == {"a": 1, "b": 2}

    await storage.tables.upsert(table, Row("p", "r", {"c": 1}))
    replaced = await storage.tables.get(table, "p", "r")
    assert replaced is not None
    assert replaced.values == {"c": 1}


async def test_delete_of_what_is_gone_is_fine_and_of_what_changed_is_not(
    storage: Storage, table: str
) -> None:
    stale = await storage.tables.insert(table, Row("p", "r"))
    await storage.tables.upsert(table, Row("p", "r", {"n": 2}))

    with pytest.raises(Conflict):
        await storage.tables.delete(table, "p", "r", stale)
    await storage.tables.delete(table, "p", "r")
    await storage.tables.delete(table, "p", "r")

    assert await storage.tables.get(table, "p", "r") is None


async def test_missing_table_is_not_taken_for_a_missing_row(storage: Storage) -> None:
    with pytest.raises(Missing):
        await storage.tables.get("NeverMade", "p", "r")
    with pytest.raises(Missing):
        await storage.tables.query("NeverMade", "")
    with pytest.raises(Missing):
        await storage.tables.batch("NeverMade", [Insert(Row("p", "r"))])


async def test_batch_does_all_and_tells_the_new_etags(storage: Storage, table: str) -> None:
    etag = await storage.tables.insert(table, Row("p", "replaced", {"n": 1}))
    await storage.tables.insert(table, Row("p", "deleted"))

    etags = await storage.tables.batch(
        table,
        [
            Insert(Row("p", "inserted", {"n": 1})),
            Replace(Row("p", "replaced", {"n": 2}), etag),
            Upsert(Row("p", "upserted", {"n": 3})),
            Delete("p", "deleted"),
        ],
    )

    rows = {row.rk: row for row in await storage.tables.query(table, "PartitionKey eq 'p'")}
    assert {key: row.values["n"] for key, row in rows.items()} == {
        "inserted": 1,
        "replaced": 2,
        "upserted": 3,
    }
    assert etags == [rows["inserted"].etag, rows["replaced"].etag, rows["upserted"].etag, None]


@pytest.mark.parametrize("race", ["lost etag", "inserted by another", "deleted by another"])
async def test_batch_that_loses_one_race_does_nothing(storage: Storage, table: str, race: str) -> None:
    # GIVEN a row that was changed since it was read
    stale = await storage.tables.insert(table, Row("p", "taken", {"n": 1}))
    await storage.tables.upsert(table, Row("p", "taken", {"n": 2}))
    races: dict[str, Operation] = {
        "lost etag": Replace(Row("p", "taken", {"n": 3}), stale),
        "inserted by another": Insert(Row("p", "taken", {"n": 3})),
        "deleted by another": Delete("p", "gone"),
    }
    lost = races[race]

    # WHEN a transaction rests on what was read
    with pytest.raises(Conflict):
        await storage.tables.batch(table, [Insert(Row("p", "a")), lost, Upsert(Row("p", "z"))])

    # THEN nothing of it is done, neither before nor after the lost operation
    rows = await storage.tables.query(table, "")
    assert [(row.rk, row.values) for row in rows] == [("taken", {"n": 2})]


async def test_batch_refuses_what_the_service_cannot_do_at_once(
    storage: Storage, edge: FaultyEdge, table: str
) -> None:
    """The emulator drops the connection at 101 operations; the service answers 400."""
    with pytest.raises(ValueError, match="at most 100"):
        await storage.tables.batch(table, [Insert(Row("p", str(n))) for n in range(101)])
    with pytest.raises(ValueError, match="one partition"):
        await storage.tables.batch(table, [Insert(Row("p", "a")), Insert(Row("q", "b"))])
    with pytest.raises(ValueError, match="different rows"):
        await storage.tables.batch(table, [Insert(Row("p", "a")), Delete("p", "a")])
    assert await storage.tables.batch(table, []) == []
    assert edge.calls == []


async def test_query_follows_pages_and_top_stops_them(storage: Storage, edge: FaultyEdge, table: str) -> None:
    # GIVEN more rows than the 1,000 of one page
    for start in range(0, 1250, 100):
        chunk = [Insert(Row("p", f"{n:05d}", {"n": n})) for n in range(start, min(start + 100, 1250))]
        await storage.tables.batch(table, chunk)
    edge.calls.clear()

    # WHEN all are asked for
    rows = await storage.tables.query(table, "PartitionKey eq 'p'")

    # THEN two pages bring each once, in order
    assert [row.values["n"] for row in rows] == list(range(1250))
    assert edge.made() == [f"table query {table}"] * 2

    # AND `top` reads no page more than it needs
    assert len(await storage.tables.query(table, "", top=1100)) == 1100
    assert [row.rk for row in await storage.tables.query(table, "n ge 5L", top=2)] == ["00005", "00006"]
    assert len(edge.calls) == 5


async def test_query_that_is_repeated_by_the_edge_gives_each_row_once(
    storage: Storage, edge: FaultyEdge, table: str
) -> None:
    """A page is asked for by its position, so asking twice does not skip one."""
    for start in range(0, 1100, 100):
        await storage.tables.batch(table, [Insert(Row("p", f"{n:05d}")) for n in range(start, start + 100)])
    edge.befall("table query", Fate.TWICE)

    rows = await storage.tables.query(table, "")

    assert len({row.rk for row in rows}) == len(rows) == 1100


async def test_select_reads_less_and_still_knows_the_row(storage: Storage, table: str) -> None:
    etag = await storage.tables.insert(table, Row("p", "r", {"a": 1, "big": b"x" * 1000}))

    [row] = await storage.tables.query(table, "", select=["a"])

    assert (row.pk, row.rk, row.values, row.etag) == ("p", "r", {"a": 1}, etag)


async def test_quoted_values_find_their_rows(storage: Storage, table: str) -> None:
    """A quote in a value neither breaks the filter nor widens it."""
    when = datetime(2026, 5, 10, 1, 2, 3, 400000, tzinfo=UTC)
    await storage.tables.insert(
        table,
        Row("it's", "r", {"n": 2**40, "b": True, "t": when, "s": "x' or 'a' eq 'a", "raw": b"\x01\xff"}),
    )
    await storage.tables.insert(table, Row("other", "r", {"n": 1, "b": False}))

    looked_for: dict[str, Value] = {
        "PartitionKey": "it's",
        "n": 2**40,
        "b": True,
        "t": when,
        "raw": b"\x01\xff",
    }
    for name, value in looked_for.items():
        rows = await storage.tables.query(table, f"{name} eq {quoted(value)}")
        assert [row.pk for row in rows] == ["it's"], name
    assert [row.pk for row in await storage.tables.query(table, f"s eq {quoted(chr(39))}")] == []


async def test_packed_bytes_larger_than_a_property_come_back(storage: Storage, table: str) -> None:
    data = os.urandom(120_000)
    report = {"sums": {"USD": "1.25"}, "rows": list(range(1000))}
    values: dict[str, Value] = {**pack("digests", data), **pack_json("report", report), "n": 1}
    await storage.tables.insert(table, Row("p", "r", values))

    row = await storage.tables.get(table, "p", "r")

    assert row is not None
    assert sorted(row.values) == ["digests_0", "digests_1", "n", "report_0"]
    assert unpack("digests", row.values) == data
    assert unpack_json("report", row.values, dict) == report


async def test_row_of_900_kib_is_stored_and_more_is_refused(storage: Storage, table: str) -> None:
    data = os.urandom(900 * 1024)
    await storage.tables.insert(table, Row("p", "r", dict(pack("d", data))))

    row = await storage.tables.get(table, "p", "r")
    assert row is not None
    assert unpack("d", row.values) == data
    with pytest.raises(TooLarge):
        pack("d", data + b"x")


@pytest.mark.parametrize(
    "values",
    [
        {"a": b"x" * 65_537},
        {"a": "x" * 32_769},  # text counts two bytes a character
        {f"a{n}": b"x" * 65_536 for n in range(16)},
    ],
    ids=["bytes", "text", "row"],
)
async def test_row_that_azure_would_refuse_is_refused_here(
    storage: Storage, edge: FaultyEdge, table: str, values: dict[str, str | bytes]
) -> None:
    with pytest.raises(TooLarge):
        await storage.tables.insert(table, Row("p", "r", {**values}))
    assert edge.calls == []


async def test_batch_of_megabytes_passes(storage: Storage, table: str) -> None:
    """aiohttp warns of bodies above 1 MiB that are handed over raw, and a warning fails the test."""
    rows = [Row("p", str(n), dict(pack("d", os.urandom(400_000)))) for n in range(4)]

    await storage.tables.batch(table, [Insert(row) for row in rows])

    assert [row.values for row in await storage.tables.query(table, "")] == [row.values for row in rows]


def test_unpack_tells_a_gap_and_an_absence_from_empty_bytes() -> None:
    packed = pack("d", b"x" * 200_000)
    assert unpack("d", pack("d", b"")) == b""
    assert unpack("d", {**packed, "d_note": "other"}) == b"x" * 200_000
    with pytest.raises(StorageError):
        unpack("d", {})
    with pytest.raises(StorageError):
        unpack("d", {name: part for name, part in packed.items() if name != "d_1"})
    with pytest.raises(StorageError):
        unpack_json("d", pack("d", b"not compressed"), dict)


async def test_edge_sees_every_call_by_its_name(storage: Storage, edge: FaultyEdge, table: str) -> None:
    etag = await storage.tables.insert(table, Row("p", "r"))
    await storage.tables.get(table, "p", "r")
    await storage.tables.query(table, "")
    etag = await storage.tables.replace(table, Row("p", "r"), etag)
    await storage.tables.merge(table, Row("p", "r"), etag)
    await storage.tables.upsert(table, Row("p", "r"))
    await storage.tables.delete(table, "p", "r")
    await storage.tables.batch(table, [Insert(Row("p", "r"))])

    names = ["insert", "get", "query", "replace", "merge", "upsert", "delete", "batch"]
    assert edge.made() == [f"table {name} {table}" for name in names]


async def test_edge_can_end_a_call_before_and_after_its_effect(
    storage: Storage, edge: FaultyEdge, table: str
) -> None:
    edge.kill_on("table insert")
    with pytest.raises(Killed):
        await storage.tables.insert(table, Row("p", "before"))
    edge.kill_on("table insert", after=True)
    with pytest.raises(Killed):
        await storage.tables.insert(table, Row("p", "after"))

    assert [row.rk for row in await storage.tables.query(table, "")] == ["after"]


async def test_ensure_makes_each_thing_once_and_bears_what_exists(
    storage: Storage, edge: FaultyEdge, table: str, queue: str, container: str
) -> None:
    """Another process made them all: that is fine, and this one doesn't ask again."""
    edge.calls.clear()
    await storage.ensure(tables=[table], queues=[queue], containers=[container])
    assert edge.calls == []

    await storage.tables.create(table)
    await storage.queues.create(queue)
    await storage.blobs.create(container)
