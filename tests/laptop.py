"""A laptop for one test: storage of its own in the emulator, a simulated tenant, and an engine on both.

The contract's names of tables and queues are fixed, so what keeps tests apart is the account: one emulator
serves them all, with an account for each.
"""

import atexit
import io
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import count
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec
import polars as pl

from infra.local.azurite import ACCOUNT, ACCOUNT_KEY, Azurite, start
from infra.local.simulator import Faults, Running, Tenant, serve
from shared.engine import Engine, open_engine
from shared.ledger.columns import COST_COLUMN
from shared.messages import DAYS, PAGES, RUNS, PageItem
from shared.plan.seed import Order, new_run_id, seed
from shared.read.fetch_page import fetch_page
from shared.registry.generations import Generations
from shared.runs import Run, Slice
from shared.scopes import Scope
from shared.staging import Staging
from shared.worker import STEPS
from tests.faults import FaultyEdge
from tests.truth import Totals

ACCOUNTS = 200
"""How many accounts one emulator has: where they are used up, another is started."""
_numbers = count()

AT_ONCE = {
    "COST_QUOTA_TENANT": "1000/1s",
    "COST_QUOTA_SCOPE": "1000/1s",
    "COST_QUOTA_DETAILS": "1000/1s",
    "COST_RETRY_DELAY": "0",
    "COST_THROTTLE_FLOOR": "0",
    "COST_PAGE_SIZE": "100",
}
"""Settings under which nothing waits."""


@cache
def _emulator(_: int) -> Azurite:
    """Start another emulator of these tests on first use; it ends with the process."""
    names = [ACCOUNT, *(f"laptop{number}" for number in range(ACCOUNTS))]
    accounts = ";".join(f"{name}:{ACCOUNT_KEY}" for name in names)
    stack = ExitStack()
    atexit.register(stack.close)
    with patch.dict(os.environ, AZURITE_ACCOUNTS=accounts):
        return stack.enter_context(start())


def fresh_storage() -> str:
    """Give the connection string of an account that nobody has used."""
    emulator, account = divmod(next(_numbers), ACCOUNTS)
    return _emulator(emulator).connection_string.replace(ACCOUNT, f"laptop{account}")


@dataclass
class Hands:
    """A clock whose hands a test can move; it runs with the true time."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@dataclass
class Laptop:
    """An engine at work on a simulated tenant. `worked` are the messages that came to their end."""

    engine: Engine
    running: Running
    edge: FaultyEdge
    clock: Hands
    environ: Mapping[str, str]
    worked: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def tenant(self) -> Tenant:
        return self.running.simulator.tenant

    def fault(self, **faults: Any) -> None:  # noqa: ANN401 - the fields of Faults
        """Let the simulator behave so from now on."""
        self.running.simulator.faults = Faults(**faults)

    def restart(self) -> None:
        """Forget what the process remembered, as a new one would."""
        self.edge.heal()
        storage, settings = self.engine.storage, self.engine.settings
        self.engine = replace(
            self.engine,
            generations=Generations(storage.tables),
            staging=Staging(storage.blobs, settings.staging_container),
        )

    @asynccontextmanager
    async def other(self) -> AsyncIterator[tuple[Engine, FaultyEdge]]:
        """Open the engine of another process on the same storage, with an edge of its own."""
        edge = FaultyEdge(self.clock)
        async with open_engine(self.environ, edge=edge, clock=self.clock, jitter=Random(0)) as engine:
            edge.heal()
            yield engine, edge

    async def seed(self, *only: str, accept_vanished: bool = False, days: int | None = None) -> Run:
        """Seed a run over the tenant's days (the first `days` of them), for all scopes or `only` these.

        Each run begins in a second of its own: the service dates its answers no finer.
        """
        self.clock.ahead += timedelta(seconds=1)
        asked = self.tenant.days[:days]
        return await seed(
            self.engine,
            Order(
                run=new_run_id("run", self.clock()),
                kind="run",
                first=asked[0],
                last=asked[-1],
                only=tuple(map(Scope.parse, only)) or None,
                accept_vanished=accept_vanished,
            ),
        )

    async def drain(self, *queues: str) -> None:
        """Work the queues, one message after the other, until all are empty."""
        names = queues or (DAYS, RUNS, PAGES)
        while sum([await self.engine.storage.queues.length(name) for name in names]):
            for name in names:
                for body in await self.take(name):
                    await STEPS[name](self.engine, body)
                    self.worked.append((name, body))

    async def take(self, queue: str) -> list[bytes]:
        """Take what is visible off a queue."""
        bodies = []
        for message in await self.engine.storage.queues.receive(queue, most=32, hide_seconds=60):
            assert message.body is not None
            bodies.append(message.body)
            await self.engine.storage.queues.delete(queue, message)
        return bodies

    async def work_up_to(self, page: int) -> tuple[Run, bytes]:
        """Seed a run of one slice and work its pages until the message of `page` is in hand."""
        run = await self.seed()
        for number in range(1, page):
            (body,) = await self.take(PAGES)
            assert PageItem.decode(body).page == number
            await fetch_page(self.engine, body)
        (body,) = await self.take(PAGES)
        return run, body

    async def run(self, *only: str, accept_vanished: bool = False) -> Run:
        """Seed a run and work it to its end."""
        run = await self.seed(*only, accept_vanished=accept_vanished)
        await self.drain()
        return await self.closed(run)

    async def closed(self, run: Run) -> Run:
        """Read a run again, which must be closed."""
        found = await self.engine.runs.run(run.id)
        assert found is not None
        assert found.summary is not None, f"{found.id} is still {found.status}"
        return found

    async def slices(self, run: Run) -> list[Slice]:
        return await self.engine.runs.slices(run)

    async def slice(self, run: Run) -> Slice:
        """Read the only slice of a run."""
        (piece,) = await self.slices(run)
        return piece

    async def manifest(self, metric: str, day: date) -> dict[str, Any]:
        blob = await self.engine.storage.blobs.get("costs", f"manifests/metric={metric}/{day}.json")
        assert blob is not None
        return msgspec.json.decode(blob.data, type=dict[str, Any])

    async def ledger(self, metric: str, day: date) -> pl.DataFrame:
        """Read a day's partitions, each row with its subscription."""
        frames = []
        for name in await self._names(f"ledger/metric={metric}/usage_date={day}/"):
            blob = await self.engine.storage.blobs.get("costs", name)
            assert blob is not None
            subscription = name.split("subscription_id=")[1].split("/")[0]
            frames.append(
                pl.read_parquet(io.BytesIO(blob.data)).with_columns(subscription=pl.lit(subscription))
            )
        return pl.concat(frames)

    async def totals(self, metric: str = "ActualCost") -> Totals:
        """Add up what is published, as the simulator tells its truth: by day, currency and subscription."""
        found = {}
        for day in self.tenant.days:
            if await self._names(f"ledger/metric={metric}/usage_date={day}/"):
                current = (await self.ledger(metric, day)).filter(pl.col("x_ValidTo").is_null())
                for currency, subscription, amount, rows in (
                    current.group_by("BillingCurrency", "subscription")
                    .agg(pl.col(COST_COLUMN[metric]).sum(), pl.len())
                    .iter_rows()
                ):
                    found[day, currency, subscription] = (amount, rows)
        return found

    async def etags(self, prefix: str = "") -> dict[str, str]:
        """Give the ETags of the published files by name."""
        return {item.name: item.etag for item in await self.engine.storage.blobs.list("costs", prefix)}

    async def _names(self, prefix: str) -> list[str]:
        return list(await self.etags(prefix))


@asynccontextmanager
async def laptop(tenant: Tenant, /, **settings: str) -> AsyncIterator[Laptop]:
    """Open an engine on a tenant and a fresh account; `settings` come on top of `AT_ONCE`."""
    clock = Hands()
    edge = FaultyEdge(clock)
    with serve(tenant) as running:
        environ = {**AT_ONCE, **running.settings(), "COST_STORAGE": fresh_storage(), **settings}
        async with open_engine(environ, edge=edge, clock=clock, jitter=Random(0)) as engine:
            edge.heal()
            yield Laptop(engine, running, edge, clock, environ)


def page_message(piece: Slice, page: int = 1) -> bytes:
    """Give the message of a page of a slice's current generation."""
    return PageItem(run=piece.run, slice=piece.name, generation=piece.generation, page=page).encode()
