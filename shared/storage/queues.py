"""Azure Queues: work items that come back until they are deleted.

Bodies are base64, as the Functions host reads and writes them by default. Messages never expire. A send that
the client tried again may have left two messages; whoever receives must bear that anyway.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from shared.edge import Call
from shared.storage.clients import through
from shared.storage.errors import Conflict, Missing, TooLarge

if TYPE_CHECKING:
    from azure.storage.queue import QueueMessage
    from azure.storage.queue.aio import QueueClient

    from shared.edge import Edge
    from shared.storage.clients import Clients

MESSAGE_BYTES: Final = 64 * 1024
"""What a message may take once it is base64: 48 KiB before."""
LONGEST_DELAY: Final = timedelta(days=7)
MOST_AT_ONCE: Final = 32
_NEVER: Final = -1


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it was received.

    `body` is None if the text, `raw`, isn't base64: someone other than the engine or the host wrote it.
    `receipt` proves the lease; it is empty for a message that was only peeked at. `dequeue_count` counts this
    receipt too. When the time it was hidden for is over, the message may be in other hands.
    """

    id: str
    receipt: str
    body: bytes | None
    raw: str
    dequeue_count: int
    inserted_on: datetime


class Queues:
    """The queues of one storage account."""

    def __init__(self, clients: Clients, edge: Edge) -> None:
        self._clients = clients
        self._edge = edge
        self._cache: dict[str, QueueClient] = {}

    async def create(self, queue: str) -> None:
        """Make a queue; one that exists is fine."""

        async def effect() -> None:
            await self._client(queue).create_queue()

        try:
            await through(self._edge, Call("queue", "create", queue), effect)
        except Conflict:
            return

    async def send(self, queue: str, body: bytes, *, delay: timedelta | float = 0) -> None:
        """Put a message into the queue, hidden for `delay`: a time or a number of seconds, 7 days at most.

        Raises:
            Missing: There is no such queue.
            TooLarge: The body is larger than 48 KiB.
        """
        text = base64.b64encode(body).decode("ascii")
        if len(text) > MESSAGE_BYTES:
            raise TooLarge(f"a message of {len(body)} bytes to {queue}", "RequestBodyTooLarge")
        hidden = _whole_seconds(delay, least=0)

        async def effect() -> None:
            await self._client(queue).send_message(text, visibility_timeout=hidden, time_to_live=_NEVER)

        await through(self._edge, Call("queue", "send", queue), effect)

    async def receive(self, queue: str, *, most: int = 1, hide_seconds: float) -> list[Message]:
        """Take up to `most` (32 at most) messages and hide them from others for so many seconds (1 at least).

        Raises:
            Missing: There is no such queue.
        """
        hidden = _whole_seconds(hide_seconds, least=1)
        wanted = min(most, MOST_AT_ONCE)

        async def effect() -> list[Message]:
            pages = (
                self._client(queue)
                .receive_messages(messages_per_page=wanted, max_messages=wanted, visibility_timeout=hidden)
                .by_page()
            )
            # An empty queue has no page at all, and a second page would be a second call.
            async for page in pages:
                return [_message(message) async for message in page]
            return []

        return await through(self._edge, Call("queue", "receive", queue), effect)

    async def renew(self, queue: str, message: Message, hide_seconds: float) -> Message:
        """Hide a received message for so many seconds from now, and give it with its new receipt.

        The old receipt is worth nothing after this.

        Raises:
            Conflict: The lease ran out and another receiver has the message.
            Missing: The message is gone.
        """
        hidden = _whole_seconds(hide_seconds, least=0)

        async def effect() -> Message:
            renewed = await self._client(queue).update_message(
                message.id, message.receipt, visibility_timeout=hidden
            )
            return replace(message, receipt=str(renewed.pop_receipt))

        return await through(self._edge, Call("queue", "renew", queue), effect, f"{queue}/{message.id}")

    async def delete(self, queue: str, message: Message) -> bool:
        """Take a received message off the queue.

        Returns:
            False if it is gone already, or the lease ran out and another receiver has it.
        """

        async def effect() -> None:
            await self._client(queue).delete_message(message.id, message.receipt)

        try:
            await through(self._edge, Call("queue", "delete", queue), effect, f"{queue}/{message.id}")
        except Conflict:
            return False
        except Missing as missing:
            if missing.code == "QueueNotFound":
                raise
            return False
        return True

    async def move(self, queue: str, message: Message, target: str) -> None:
        """Put a received message's text, unchanged, into another queue and take it off this one.

        A crash in between leaves it in both.

        Raises:
            Missing: There is no such queue.
        """

        async def effect() -> None:
            await self._client(target).send_message(message.raw, time_to_live=_NEVER)

        await through(self._edge, Call("queue", "send", target), effect)
        await self.delete(queue, message)

    async def peek(self, queue: str, *, most: int = MOST_AT_ONCE) -> list[Message]:
        """Look at up to `most` (32 at most) visible messages and leave them as they are, without receipts.

        Raises:
            Missing: There is no such queue.
        """
        wanted = min(most, MOST_AT_ONCE)

        async def effect() -> list[Message]:
            return [_message(message) for message in await self._client(queue).peek_messages(wanted)]

        return await through(self._edge, Call("queue", "peek", queue), effect)

    async def length(self, queue: str) -> int:
        """Give about how many messages there are, hidden ones included; never fewer than there are.

        Raises:
            Missing: There is no such queue.
        """

        async def effect() -> int:
            properties = await self._client(queue).get_queue_properties()
            return int(properties.approximate_message_count or 0)

        return await through(self._edge, Call("queue", "length", queue), effect)

    def _client(self, queue: str) -> QueueClient:
        if queue not in self._cache:
            self._cache[queue] = self._clients.queues().get_queue_client(queue)
        return self._cache[queue]


def _message(message: QueueMessage) -> Message:
    raw = str(message.content or "")
    inserted_on = message.inserted_on or datetime.fromtimestamp(0, UTC)
    return Message(
        id=message.id,
        receipt=message.pop_receipt or "",
        body=_decoded(raw),
        raw=raw,
        dequeue_count=message.dequeue_count or 0,
        inserted_on=inserted_on.astimezone(UTC),
    )


def _decoded(raw: str) -> bytes | None:
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        return None


def _whole_seconds(delay: timedelta | float, *, least: int) -> int:
    """Round up, since the service counts whole seconds and too early is worse than late."""
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    longest = int(LONGEST_DELAY.total_seconds())
    return max(least, min(math.ceil(seconds), longest))
