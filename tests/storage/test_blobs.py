"""Blobs on the real emulator: whole in one PUT, and who loses a race."""

import logging
import os
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.azurite import Azurite
from shared.storage import Conflict, Missing, Storage, TooLarge, storage_connection
from shared.storage.blobs import Blob
from shared.storage.clients import Clients
from shared.storage.errors import Busy, Refused, Unavailable
from tests.faults import FaultyEdge, Killed


async def test_blob_comes_back_under_the_etag_it_was_put_with(storage: Storage, container: str) -> None:
    etag = await storage.blobs.put(container, "a/metric=x/data.parquet", b"PAR1", content_type="text/plain")

    assert await storage.blobs.get(container, "a/metric=x/data.parquet") == Blob(b"PAR1", etag)
    assert await storage.blobs.get(container, "a/metric=x/data.parquet", if_match=etag) == Blob(b"PAR1", etag)


async def test_content_type_and_metadata_reach_the_reader(
    azurite: Azurite, storage: Storage, container: str
) -> None:
    await storage.blobs.put(
        container, "m.json", b"{}", content_type="application/json", metadata={"run": "7"}
    )

    clients = Clients(storage_connection({"COST_STORAGE": azurite.connection_string}))
    properties = await clients.blobs().get_blob_client(container, "m.json").get_blob_properties()
    await clients.close()

    assert properties.content_settings.content_type == "application/json"
    assert properties.metadata == {"run": "7"}


async def test_empty_blob_is_not_a_missing_one(storage: Storage, container: str) -> None:
    await storage.blobs.put(container, "empty", b"")

    found = await storage.blobs.get(container, "empty")

    assert found is not None
    assert found.data == b""
    assert await storage.blobs.get(container, "never") is None


async def test_blob_of_70_mb_is_one_put_and_one_get(
    storage: Storage, edge: FaultyEdge, container: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client's own limits are 64 MiB for a put and 32 MiB for a get; beyond them it works in blocks."""
    caplog.set_level(logging.INFO, "azure.core.pipeline.policies.http_logging_policy")
    data = os.urandom(1024) * 70 * 1024

    etag = await storage.blobs.put(container, "big", data)
    found = await storage.blobs.get(container, "big")

    assert found == Blob(data, etag)
    assert sum(record.message.startswith("Request URL") for record in caplog.records) == 2
    assert edge.made() == [f"blob put {container}/big", f"blob get {container}/big"]


async def test_put_under_a_stale_etag_conflicts(storage: Storage, container: str) -> None:
    # GIVEN a blob that was replaced since it was read
    stale = await storage.blobs.put(container, "b", b"1")
    fresh = await storage.blobs.put(container, "b", b"2", if_match=stale)

    # WHEN the reader writes, reads or deletes on what it knows
    with pytest.raises(Conflict) as caught:
        await storage.blobs.put(container, "b", b"3", if_match=stale)
    with pytest.raises(Conflict):
        await storage.blobs.get(container, "b", if_match=stale)
    with pytest.raises(Conflict):
        await storage.blobs.delete(container, "b", stale)

    # THEN the replacement stands
    assert caught.value.what == f"{container}/b"
    assert await storage.blobs.get(container, "b") == Blob(b"2", fresh)


async def test_put_under_an_etag_of_a_deleted_blob_conflicts(storage: Storage, container: str) -> None:
    etag = await storage.blobs.put(container, "b", b"1")
    assert await storage.blobs.delete(container, "b", etag)

    with pytest.raises(Conflict):
        await storage.blobs.put(container, "b", b"2", if_match=etag)

    assert await storage.blobs.get(container, "b") is None


async def test_put_where_none_may_be_conflicts_with_one_that_is(storage: Storage, container: str) -> None:
    await storage.blobs.put(container, "b", b"1", if_none_match=True)

    with pytest.raises(Conflict):
        await storage.blobs.put(container, "b", b"2", if_none_match=True)

    found = await storage.blobs.get(container, "b")
    assert found is not None
    assert found.data == b"1"


@pytest.mark.parametrize("etag", ["", "*"])
async def test_condition_that_is_none_never_leaves(
    storage: Storage, edge: FaultyEdge, container: str, etag: str
) -> None:
    """The emulator takes `If-Match: *` for true where there is no blob."""
    with pytest.raises(ValueError, match="ETag"):
        await storage.blobs.put(container, "b", b"", if_match=etag)
    with pytest.raises(ValueError, match="not both"):
        await storage.blobs.put(container, "b", b"", if_match='"0x1"', if_none_match=True)
    assert edge.calls == []


async def test_delete_tells_whether_there_was_one(storage: Storage, container: str) -> None:
    await storage.blobs.put(container, "b", b"1")

    assert await storage.blobs.delete(container, "b") is True
    assert await storage.blobs.delete(container, "b") is False


async def test_listed_etag_is_the_one_to_write_under(storage: Storage, container: str) -> None:
    """A listing writes ETags without the quotes that headers have."""
    etag = await storage.blobs.put(container, "day=1/b", b"22")
    await storage.blobs.put(container, "day=1/a", b"1")
    await storage.blobs.put(container, "day=10/a", b"1")

    listing = await storage.blobs.list(container, "day=1/")

    assert [(item.name, item.size) for item in listing] == [("day=1/a", 1), ("day=1/b", 2)]
    assert listing[1].etag == etag
    assert abs(datetime.now(UTC) - listing[1].last_modified) < timedelta(minutes=1)
    await storage.blobs.put(container, "day=1/b", b"3", if_match=listing[1].etag)


async def test_missing_container_is_not_taken_for_a_missing_blob(storage: Storage) -> None:
    with pytest.raises(Missing):
        await storage.blobs.get("never-made", "b")
    with pytest.raises(Missing):
        await storage.blobs.put("never-made", "b", b"", if_match='"0x1"')
    with pytest.raises(Missing):
        await storage.blobs.delete("never-made", "b")
    with pytest.raises(Missing):
        await storage.blobs.list("never-made", "")


async def test_edge_sees_every_call_and_can_end_it_on_either_side(
    storage: Storage, edge: FaultyEdge, container: str
) -> None:
    edge.kill_on("blob put")
    with pytest.raises(Killed):
        await storage.blobs.put(container, "before", b"")
    edge.kill_on("blob put", after=True)
    with pytest.raises(Killed):
        await storage.blobs.put(container, "after", b"")

    listing = await storage.blobs.list(container, "")
    await storage.blobs.delete(container, "after")

    assert [item.name for item in listing] == ["after"]
    expected = ["put %s/after", "list %s/", "delete %s/after"]
    assert edge.made() == [f"blob {call % container}" for call in expected]


async def test_secrets_never_reach_the_log(
    azurite: Azurite, storage: Storage, table: str, queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK logs every header at INFO; the signature of a request must not be among what it shows."""
    caplog.set_level(logging.DEBUG)

    await storage.tables.query(table, "")
    await storage.queues.send(queue, b"x")
    with pytest.raises(Missing):
        await storage.blobs.get("never-made", "b")

    shown = caplog.text
    assert "Request URL" in shown
    assert "SharedKey" not in shown
    assert "AccountKey" not in shown
    assert "AccountKey" not in repr(storage_connection({"COST_STORAGE": azurite.connection_string}))


async def test_wrong_key_is_refused_by_name(azurite: Azurite, container: str) -> None:
    head, key, tail = azurite.connection_string.partition("AccountKey=")
    wrong = f"{head}{key}AAAA{tail[4:]}"
    async with Storage(storage_connection({"COST_STORAGE": wrong})) as storage:
        with pytest.raises(Refused):
            await storage.blobs.list(container, "")
        with pytest.raises(Refused):
            await storage.tables.query("CostRuns", "")
        with pytest.raises(Refused):
            await storage.queues.peek("cost-pages")


async def test_no_service_is_unavailable_and_that_is_not_a_refusal() -> None:
    """Nobody listens on port 9 of this machine: the tries end after some seconds, by name."""
    key = "AccountName=a;AccountKey=QUFBQQ==;"
    dead = f"DefaultEndpointsProtocol=http;{key}" + "".join(
        f"{service}Endpoint=http://127.0.0.1:9/a;" for service in ("Blob", "Queue", "Table")
    )
    async with Storage(storage_connection({"COST_STORAGE": dead})) as storage:
        with pytest.raises(Unavailable) as caught:
            await storage.tables.query("CostRuns", "")
    assert not isinstance(caught.value, Busy)


async def test_data_beyond_one_put_is_refused_before_it_is_sent(
    storage: Storage, edge: FaultyEdge, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.blobs.ONE_PUT_BYTES", 3)
    with pytest.raises(TooLarge):
        await storage.blobs.put(container, "b", b"1234")
    assert edge.calls == []
