"""Queue triggers by the rules of the Functions host.

The rules are those of Microsoft.Azure.WebJobs.Extensions.Storage.Queues (QueueListener, QueueProcessor): one
function runs at most `batchSize + newBatchThreshold` times at once; a message is hidden, and that renewed,
while it is worked, deleted on success, released with `visibilityTimeout` on failure, and moved to
`<queue>-poison` after `maxDequeueCount` of them.
"""

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.functions.queue import QueueMessage as TriggerMessage
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from infra.local.host.draining import finish
from infra.local.host.settings import QueueRules

_log = logging.getLogger("infra.local.host")

_SHORTEST_WAIT = 0.1  # the host's own shortest polling interval, seconds


class QueueListener:
    """Works one queue with one function.

    `run` gets the trigger's message and tells whether the function succeeded; it raises nothing of the
    function's. `poisoned` is called for each message that was moved to the poison queue.
    """

    def __init__(
        self,
        queue: str,
        connection: str,
        rules: QueueRules,
        run: Callable[[TriggerMessage], Awaitable[bool]],
        poisoned: Callable[[], None],
    ) -> None:
        self._client = QueueClient.from_connection_string(connection, queue)
        self._poison = QueueClient.from_connection_string(connection, f"{queue}-poison")
        self._rules = rules
        self._run = run
        self._poisoned = poisoned
        self._receiving: asyncio.Future[bool] | None = None
        self._working: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Poll until cancelled: at once while there is work, less and less often when there is none."""
        wait = _SHORTEST_WAIT
        while True:
            while len(self._working) > self._rules.new_batch_threshold:
                await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
            # Messages of an answer that nobody waits for any more would stay hidden for minutes: the end of
            # the host cancels the wait alone, and drain lets the request and what it brings end.
            self._receiving = asyncio.ensure_future(self._take_batch())
            if await asyncio.shield(self._receiving):
                wait = _SHORTEST_WAIT
                continue
            await asyncio.sleep(wait)
            longest = self._rules.max_polling_interval.total_seconds()
            wait = min(longest, wait * random.uniform(1.6, 2.4))

    async def drain(self, seconds: float) -> None:
        """Let what runs end; what does not within `seconds` is cut off, and its message comes back."""
        if self._receiving is not None:
            await finish([self._receiving], seconds)
        await finish(set(self._working), seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._poison.close()

    async def _take_batch(self) -> bool:
        try:
            batch = await self._receive()
        except ResourceNotFoundError:
            return False  # a queue that nobody has made yet is an idle queue
        except AzureError as error:
            _log.warning("queue %s: cannot receive: %s", self._client.queue_name, _first_line(error))
            return False
        for message in batch:
            task = asyncio.create_task(self._work(message))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return bool(batch)

    async def _receive(self) -> list[QueueMessage]:
        size = self._rules.batch_size
        hidden = round(self._rules.hidden.total_seconds())
        pages = self._client.receive_messages(
            messages_per_page=size, max_messages=size, visibility_timeout=hidden
        )
        # The second page of the iterator would be another request: one batch is one page.
        async for page in pages.by_page():
            return [message async for message in page]
        return []

    async def _work(self, message: QueueMessage) -> None:
        try:
            await self._process(message)
        except AzureError as error:
            # The message was lost to another worker, or the service does not answer: it comes back when its
            # visibility ends, so the host only says so.
            _log.warning("queue %s: message %s: %s", self._client.queue_name, message.id, _first_line(error))

    async def _process(self, message: QueueMessage) -> None:
        body = self._decoded(_text(message))
        if body is None:
            _log.error("queue %s: message %s is not base64", self._client.queue_name, message.id)
            await self._bury(message)
        elif _attempts(message) > self._rules.max_dequeue_count:
            # Every attempt so far ended without a word, as in a crash of the process.
            await self._bury(message)
        elif await self._run_hidden(message, body):
            await self._client.delete_message(message.id, message.pop_receipt)
        elif _attempts(message) >= self._rules.max_dequeue_count:
            await self._bury(message)
        else:
            await self._extend(message, self._rules.visibility_timeout)

    async def _run_hidden(self, message: QueueMessage, body: bytes) -> bool:
        running = asyncio.ensure_future(self._run(_trigger_message(message, body)))
        try:
            while not (await asyncio.wait({running}, timeout=self._rules.hidden.total_seconds() / 2))[0]:
                await self._renew(message)
            return running.result()
        finally:
            await finish([running], 0)

    async def _renew(self, message: QueueMessage) -> None:
        try:
            await self._extend(message, self._rules.hidden)
        except AzureError as error:
            # The function runs on, as it does in Azure; what it does must bear a second delivery anyway.
            _log.warning(
                "queue %s: cannot renew %s: %s", self._client.queue_name, message.id, _first_line(error)
            )

    async def _extend(self, message: QueueMessage, hidden: timedelta) -> None:
        renewed = await self._client.update_message(
            message.id, message.pop_receipt, visibility_timeout=round(hidden.total_seconds())
        )
        message.pop_receipt = renewed.pop_receipt

    async def _bury(self, message: QueueMessage) -> None:
        """Copy the message as it came, then delete it; a crash between the two leaves both, never neither."""
        try:
            await self._poison.send_message(_text(message))
        except ResourceNotFoundError:
            await self._make_poison_queue()
            await self._poison.send_message(_text(message))
        await self._client.delete_message(message.id, message.pop_receipt)
        self._poisoned()
        _log.error(
            "queue %s: message %s went to %s", self._client.queue_name, message.id, self._poison.queue_name
        )

    async def _make_poison_queue(self) -> None:
        try:
            await self._poison.create_queue()
        except ResourceExistsError:
            return  # another message of this batch was first

    def _decoded(self, text: str) -> bytes | None:
        if not self._rules.base64:
            return text.encode()
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            return None


def _text(message: QueueMessage) -> str:
    return str(message.content or "")  # the SDK gives None for an empty message


def _attempts(message: QueueMessage) -> int:
    return message.dequeue_count or 0


def _trigger_message(message: QueueMessage, body: bytes) -> TriggerMessage:
    return TriggerMessage(
        id=message.id,
        body=body,
        dequeue_count=message.dequeue_count,
        expiration_time=message.expires_on,
        insertion_time=message.inserted_on,
        time_next_visible=message.next_visible_on,
        pop_receipt=message.pop_receipt,
    )


def _first_line(error: AzureError) -> str:
    return str(error).partition("\n")[0]
