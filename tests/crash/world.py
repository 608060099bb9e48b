"""A world that processes live and die in: storage, a provider, a clock, and messages that come back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TypeVar, cast

from infra.local.simulator import Faults, Running, Tenant, serve
from shared.edge import Call
from shared.engine import Engine, open_engine
from shared.messages import DAYS, PAGES, RUNS
from shared.plan.seed import Order, seed
from shared.storage import Conflict, Message, Missing, Storage, StorageError, storage_connection
from shared.worker import STEPS
from tests.fates import Answer, dated
from tests.faults import FaultyEdge
from tests.laptop import AT_ONCE, fresh_storage

T = TypeVar("T")

FIRST_DAY = date(2030, 5, 1)
BEGINNING = datetime(2030, 5, 5, 12, tzinfo=UTC)
"""When the world's clock starts: of the days from `FIRST_DAY` on two are settled, the third is not.

It lies far ahead of the storage's own clock, so that what waits has always stalled when a sweep looks.
"""

TICK = timedelta(milliseconds=20)
HIDDEN_SECONDS = 3600

SETTINGS = {
    **AT_ONCE,
    "COST_WINDOW_DAYS": "1",
    "COST_PAGE_SIZE": "8",
    "COST_REGISTRY_DAYS": "45",
}


@dataclass
class Time:
    """The world's clock: it goes on with every call that leaves a process."""

    now: datetime = BEGINNING

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, span: timedelta = TICK) -> None:
        self.now += span


@dataclass
class ProcessEdge:
    """The edge of one process after the other: the clock ticks, the provider dates its answers by it."""

    time: Time
    faults: FaultyEdge = field(default_factory=FaultyEdge)
    received: list[tuple[str, Message]] = field(default_factory=list)
    """What was taken off a queue, whoever heard of it."""
    onlooker: Callable[[Call], Awaitable[None]] | None = None
    """Looks at the world after each call that had its effect, whoever heard of that."""

    async def __call__(self, call: Call, effect: Callable[[], Awaitable[T]]) -> T:
        self.time.pass_by()

        async def seen() -> T:
            answer = await effect()
            if call.operation == "receive":
                self.received += [(call.target, message) for message in cast("list[Message]", answer)]
            if self.onlooker is not None:
                await self.onlooker(call)
            return answer

        answer = await self.faults(call, seen)
        return cast("T", dated(cast("Answer", answer), self.time())) if call.service == "api" else answer


@dataclass
class World:
    """One storage account and one provider. `storage` is the onlooker's own way to it, past all faults."""

    running: Running
    storage: Storage
    environ: Mapping[str, str]
    time: Time
    edge: ProcessEdge

    @property
    def tenant(self) -> Tenant:
        return self.running.simulator.tenant

    @asynccontextmanager
    async def process(self) -> AsyncIterator[Engine]:
        """Begin a process: it knows nothing of those before it."""
        async with open_engine(self.environ, edge=self.edge, clock=self.time, jitter=Random(0)) as engine:
            yield engine

    async def give_back(self) -> int:
        """Let what was received and is not worked off be visible again, as when its lease ran out; count it."""
        given_back = 0
        for queue, message in self.edge.received:
            # What was worked off is gone; what was received again has another receipt.
            with suppress(Missing, Conflict):
                await self.storage.queues.renew(queue, message, 0)
                given_back += 1
        self.edge.received.clear()
        return given_back

    async def work(self, engine: Engine) -> None:
        """Work the queues, one message after the other, until they are empty, as the Functions host does."""
        while sum([await self.work_once(engine, queue) for queue in (PAGES, RUNS, DAYS)]):
            pass

    async def work_once(self, engine: Engine, queue: str) -> int:
        """Work what is visible in a queue, and tell how many messages that were."""
        messages = await engine.storage.queues.receive(queue, most=32, hide_seconds=HIDDEN_SECONDS)
        for message in messages:
            await self._step(engine, queue, message)
        return len(messages)

    async def take(self, queue: str) -> bytes:
        """Take the only message off a queue: whoever is given it may lose it."""
        (message,) = await self.storage.queues.receive(queue, most=32, hide_seconds=HIDDEN_SECONDS)
        await self.storage.queues.delete(queue, message)
        assert message.body is not None
        return message.body

    async def _step(self, engine: Engine, queue: str, message: Message) -> None:
        """Work a message; one whose step fails is visible again at once."""
        assert message.body is not None
        try:
            await STEPS[queue](engine, message.body)
        except* StorageError:
            await self.storage.queues.renew(queue, message, 0)
        else:
            await engine.storage.queues.delete(queue, message)

    async def seed(self, engine: Engine, name: str) -> None:
        """Seed a run over all of the tenant's days; a second try of the same makes no second run."""
        first, last = self.tenant.days[0], self.tenant.days[-1]
        await seed(engine, Order(run=name, kind="run", first=first, last=last))


@asynccontextmanager
async def world(tenant: Tenant, scopes: list[str], faults: Faults | None = None) -> AsyncIterator[World]:
    """Make a world of a tenant, read through these scopes."""
    time = Time()
    with serve(tenant, faults) as running:
        environ = {**SETTINGS, **running.settings(scopes), "COST_STORAGE": fresh_storage()}
        async with Storage(storage_connection(environ)) as storage:
            yield World(running, storage, environ, time, ProcessEdge(time))
