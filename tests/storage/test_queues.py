"""Queues on the real emulator: bodies as the Functions host reads them, and who holds a message."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.azurite import Azurite
from shared.storage import Conflict, Missing, Storage, TooLarge, storage_connection
from shared.storage.clients import Clients
from tests.faults import FaultyEdge, Killed

BODIES = [b'{"page": 1}', b"", b"\x00\xff\n", "€".encode(), b"x" * 48 * 1024]


@pytest.mark.parametrize("body", BODIES, ids=["json", "empty", "binary", "text", "48 KiB"])
async def test_body_comes_back_as_it_went(storage: Storage, queue: str, body: bytes) -> None:
    await storage.queues.send(queue, body)

    [message] = await storage.queues.receive(queue, hide_seconds=30)

    assert message.body == body
    assert message.raw == base64.b64encode(body).decode()  # what the host expects by default
    assert message.dequeue_count == 1
    assert abs(datetime.now(UTC) - message.inserted_on) < timedelta(minutes=1)


async def test_body_that_cannot_fit_is_refused_before_it_is_sent(
    storage: Storage, edge: FaultyEdge, queue: str
) -> None:
    with pytest.raises(TooLarge):
        await storage.queues.send(queue, b"x" * (48 * 1024 + 1))
    assert edge.calls == []


async def test_message_that_is_not_base64_is_received_and_named(
    azurite: Azurite, storage: Storage, queue: str
) -> None:
    """A person typed a message in the portal: it must be seen, and can be deleted."""
    clients = Clients(storage_connection({"COST_STORAGE": azurite.connection_string}))
    await clients.queues().get_queue_client(queue).send_message('{"page": 1} & <b>')
    await clients.close()

    [message] = await storage.queues.receive(queue, hide_seconds=30)

    assert (message.body, message.raw) == (None, '{"page": 1} & <b>')
    assert await storage.queues.delete(queue, message) is True


async def test_message_never_expires(azurite: Azurite, storage: Storage, queue: str) -> None:
    """The service's own default is seven days."""
    await storage.queues.send(queue, b"x")

    clients = Clients(storage_connection({"COST_STORAGE": azurite.connection_string}))
    [peeked] = await clients.queues().get_queue_client(queue).peek_messages()
    await clients.close()

    assert peeked.expires_on is not None
    assert peeked.expires_on.year == 9999


async def test_delay_hides_a_message_and_then_shows_it(storage: Storage, queue: str) -> None:
    await storage.queues.send(queue, b"later", delay=timedelta(seconds=1.2))  # two seconds, rounded up

    assert await storage.queues.receive(queue, hide_seconds=30) == []
    assert await storage.queues.length(queue) == 1
    await asyncio.sleep(1.4)
    assert await storage.queues.receive(queue, hide_seconds=30) == []
    await asyncio.sleep(1.2)
    assert [m.body for m in await storage.queues.receive(queue, hide_seconds=30)] == [b"later"]


@pytest.mark.parametrize("delay", [timedelta(days=30), 1e9], ids=["time", "seconds"])
async def test_delay_beyond_seven_days_is_cut_to_them(
    storage: Storage, queue: str, delay: timedelta | float
) -> None:
    """The service refuses more; whoever wakes up early checks its own time anyway."""
    await storage.queues.send(queue, b"x", delay=delay)

    assert await storage.queues.length(queue) == 1
    assert await storage.queues.peek(queue) == []


async def test_delay_in_the_past_is_none(storage: Storage, queue: str) -> None:
    await storage.queues.send(queue, b"x", delay=-5)
    assert len(await storage.queues.receive(queue, hide_seconds=30)) == 1


async def test_renewed_message_stays_hidden_and_takes_its_new_receipt_only(
    storage: Storage, queue: str
) -> None:
    # GIVEN a message whose lease is about to end
    await storage.queues.send(queue, b"x")
    [message] = await storage.queues.receive(queue, hide_seconds=1)

    # WHEN it is renewed
    renewed = await storage.queues.renew(queue, message, 30)
    await asyncio.sleep(1.3)

    # THEN nobody else gets it, its content is whole, and only the new receipt deletes it
    assert await storage.queues.receive(queue, hide_seconds=30) == []
    assert renewed.body == b"x"
    assert renewed.receipt != message.receipt
    assert await storage.queues.delete(queue, message) is False
    assert await storage.queues.delete(queue, renewed) is True
    assert await storage.queues.length(queue) == 0


async def test_message_in_other_hands_can_be_neither_renewed_nor_deleted(
    storage: Storage, queue: str
) -> None:
    # GIVEN a lease that ran out and a second receiver
    await storage.queues.send(queue, b"x")
    [first] = await storage.queues.receive(queue, hide_seconds=1)
    await asyncio.sleep(1.2)
    [second] = await storage.queues.receive(queue, hide_seconds=30)
    assert second.dequeue_count == 2

    # WHEN the first receiver wakes up
    with pytest.raises(Conflict):
        await storage.queues.renew(queue, first, 30)
    assert await storage.queues.delete(queue, first) is False

    # THEN the second one still holds it
    assert await storage.queues.delete(queue, second) is True
    with pytest.raises(Missing):
        await storage.queues.renew(queue, second, 30)
    assert await storage.queues.delete(queue, second) is False


async def test_receive_takes_as_many_as_asked_in_one_call(
    storage: Storage, edge: FaultyEdge, queue: str
) -> None:
    for number in range(5):
        await storage.queues.send(queue, str(number).encode())
    edge.calls.clear()

    some = await storage.queues.receive(queue, most=3, hide_seconds=30)
    rest = await storage.queues.receive(queue, most=100, hide_seconds=30)
    none = await storage.queues.receive(queue, most=32, hide_seconds=30)

    assert [len(some), len(rest), len(none)] == [3, 2, 0]
    assert len({message.id for message in some + rest}) == 5
    assert edge.made() == [f"queue receive {queue}"] * 3


async def test_peek_leaves_the_message_as_it_is(storage: Storage, queue: str) -> None:
    await storage.queues.send(queue, b"x")

    [peeked] = await storage.queues.peek(queue)
    [message] = await storage.queues.receive(queue, hide_seconds=30)

    assert (peeked.body, peeked.receipt, peeked.dequeue_count) == (b"x", "", 0)
    assert (message.id, message.dequeue_count) == (peeked.id, 1)


async def test_missing_queue_is_named(storage: Storage) -> None:
    with pytest.raises(Missing):
        await storage.queues.send("never-made", b"x")
    with pytest.raises(Missing):
        await storage.queues.receive("never-made", hide_seconds=1)
    with pytest.raises(Missing):
        await storage.queues.length("never-made")


async def test_edge_sees_every_call_and_can_end_it_on_either_side(
    storage: Storage, edge: FaultyEdge, queue: str
) -> None:
    edge.kill_on("queue send")
    with pytest.raises(Killed):
        await storage.queues.send(queue, b"before")
    edge.kill_on("queue send", after=True)
    with pytest.raises(Killed):
        await storage.queues.send(queue, b"after")

    [message] = await storage.queues.receive(queue, hide_seconds=30)
    message = await storage.queues.renew(queue, message, 30)
    await storage.queues.delete(queue, message)
    await storage.queues.peek(queue)
    await storage.queues.length(queue)

    assert message.body == b"after"
    names = ["send", "receive", "renew", "delete", "peek", "length"]
    assert edge.made() == [f"queue {name} {queue}" for name in names]
