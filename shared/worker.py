"""The standalone worker: works the three queues in this process until a run is closed.

It keeps the Functions host's rules: a message is hidden while it is worked, deleted when its step came to its
end, released when the step raised, and moved to the poison queue after five tries. A dead worker's message is
back after the lease (`COST_LEASE_SECONDS`), which is renewed while the work goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

from shared.engine import Engine
from shared.events import MESSAGE_POISONED, STEP_FAILED, STORAGE_UNAVAILABLE, emit
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, POISON, RUNS, BadMessage
from shared.orchestrate import orchestrate
from shared.read.fetch_page import fetch_page
from shared.runs import Run, RunStatus
from shared.storage.errors import StorageError, Unavailable
from shared.storage.queues import Message
from shared.sweep import drain, sweep

Step = Callable[[Engine, bytes], Awaitable[None]]
STEPS: Mapping[str, Step] = {PAGES: fetch_page, RUNS: orchestrate, DAYS: publish_day}

MOST_DEQUEUES = 5
AT_ONCE = 8
SHORTEST_POLL = timedelta(milliseconds=50)
LONGEST_POLL = timedelta(seconds=1)
SWEEP_EVERY = timedelta(minutes=1)
LONGEST_OUTAGE = timedelta(minutes=5)
"""How long the storage may fail, whatever it is asked, before the worker gives up."""

Watch = Callable[[Engine, Run], Awaitable[None]]


class Worker:
    """Works queues of one engine with a bounded number of steps at once."""

    def __init__(self, engine: Engine, at_once: int = AT_ONCE) -> None:
        self._engine = engine
        self._at_once = at_once
        self._running: set[asyncio.Task[None]] = set()
        # Never yet: what an earlier process left behind is taken up by a run of a few seconds too.
        self._swept: datetime | None = None
        self._looked: datetime | None = None

    async def work(self, run_id: str, watch: Watch | None = None) -> Run:
        """Work until the run is closed, and give it.

        `watch` is told now and then how the run stands, about once a second.

        Raises:
            StorageError: the storage refuses, for a reason that waiting does not cure, or fails for too long.
        """
        pause, failing_since = SHORTEST_POLL, None
        try:
            while True:
                try:
                    busy = await self._take()
                    closed = await self._look(run_id, watch, busy=busy)
                except Unavailable as error:
                    # The client has tried again for a while already; an outage is sat out, but not for ever.
                    now = self._engine.clock()
                    failing_since = failing_since or now
                    if now - failing_since > LONGEST_OUTAGE:
                        raise
                    emit(STORAGE_UNAVAILABLE, run=run_id, cause=str(error))
                    busy, closed = False, None
                else:
                    failing_since = None
                if closed is not None:
                    return closed
                pause = SHORTEST_POLL if busy else min(pause * 2, LONGEST_POLL)
                await self._rest(pause)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def _look(self, run_id: str, watch: Watch | None, *, busy: bool) -> Run | None:
        """Look now and then how the run stands, give it once it is closed, and sweep."""
        now = self._engine.clock()
        idle = not (busy or self._running)
        if self._looked is None or idle or now - self._looked >= LONGEST_POLL:
            self._looked = now
            run = await self._engine.runs.run(run_id)
            if run is None:
                raise BadMessage(f"there is no run {run_id}")
            if watch is not None:
                await watch(self._engine, run)
            if run.status is not RunStatus.OPEN:
                return run
        if self._swept is None or now - self._swept >= min(SWEEP_EVERY, self._engine.settings.stall):
            self._swept = now
            await sweep(self._engine)
        return None

    async def _take(self) -> bool:
        """Take what is visible, as far as there is room, the days first: they end runs."""
        took = False
        for queue in (DAYS, RUNS, PAGES):
            room = self._at_once - len(self._running)
            if room <= 0:
                return True
            lease = self._engine.settings.lease.total_seconds()
            messages = await self._engine.storage.queues.receive(queue, most=room, hide_seconds=lease)
            for message in messages:
                task = asyncio.create_task(self._work_one(queue, message))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
                took = True
        return took

    async def _rest(self, pause: timedelta) -> None:
        """Wait until a step ends or the pause is over: nothing else can have changed."""
        seconds = pause.total_seconds()
        if self._running:
            await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), seconds)

    async def _work_one(self, queue: str, message: Message) -> None:
        """Work a message to its end. What the queue refuses after that only lets the message come once more."""
        try:
            await self._work_through(queue, message)
        except StorageError as error:
            emit(STEP_FAILED, queue=queue, message=message.id, cause=f"{type(error).__name__}: {error}")

    async def _work_through(self, queue: str, message: Message) -> None:
        queues = self._engine.storage.queues
        if message.dequeue_count > MOST_DEQUEUES or message.body is None:
            await self._poison(queue, message)
            return
        lease = _Lease(self._engine, queue, message)
        try:
            await lease.during(STEPS[queue](self._engine, message.body))
        except BadMessage as error:
            emit(STEP_FAILED, queue=queue, message=message.id, cause=str(error))
            await self._poison(queue, lease.message)
        except Exception as error:  # noqa: BLE001 - as the host does: whatever a step raises is one failed try
            emit(STEP_FAILED, queue=queue, message=message.id, cause=f"{type(error).__name__}: {error}")
            # An outage must not use up a message's tries in seconds: the pauses grow, to minutes by default.
            growing = self._engine.settings.retry_delay * (2 << min(message.dequeue_count, 5))
            pause = growing.total_seconds() if isinstance(error, Unavailable) else 0
            await queues.renew(queue, lease.message, max(pause, 1))
        else:
            await queues.delete(queue, lease.message)

    async def _poison(self, queue: str, message: Message) -> None:
        """Move a message to the poison queue, and drain that: nobody else would for a standalone run."""
        await self._engine.storage.queues.move(queue, message, queue + POISON)
        emit(MESSAGE_POISONED, queue=queue, message=message.id)
        await drain(self._engine)


class _Lease:
    """Keeps a message hidden while its step goes on."""

    def __init__(self, engine: Engine, queue: str, message: Message) -> None:
        self._engine = engine
        self._queue = queue
        self.message = message

    async def during(self, step: Awaitable[None]) -> None:
        keeper = asyncio.create_task(self._keep())
        try:
            await step
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _keep(self) -> None:
        lease = self._engine.settings.lease.total_seconds()
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), lease / 2)
            self.message = await self._engine.storage.queues.renew(self._queue, self.message, lease)
