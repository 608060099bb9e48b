"""The laptop's Azure: the emulator and the provider in processes of their own, and the functions.

These run under `func start` where Azure Functions Core Tools are installed, else in this process, under the
laptop's own host.

Time is sped up and trouble is frequent, nothing else differs from a deployment: the quotas hold for a second
instead of a minute, pauses are short, and every fault comes far more often than from the real service.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from infra.local.azurite import start
from infra.local.demo.core_tools import core_tools
from infra.local.demo.provider import Provider, TenantShape, providing
from infra.local.host import FunctionHost, load_app
from infra.local.host.settings import read_host_json
from shared import process
from shared.engine import Engine
from shared.messages import POISON, QUEUES
from shared.plan.seed import Order, new_run_id, seed
from shared.runs import Run, RunStatus

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT.parent / "shared" / "data"
"""Real billing rows, mixed into the tenant where the folder is there."""

_OURS = ("COST_", "ARM_", "AzureWebJobs")
_LIMIT_SECONDS = 300.0
_SEED_SECONDS = 60.0
_LOOK_EVERY = timedelta(seconds=1.5)

Watch = Callable[[Engine, Run], Awaitable[None]]


class FunctionFailedError(Exception):
    """The functions cannot bring a run to its end."""


class Host(Protocol):
    """What the demo asks of a function host."""

    async def fire(self, name: str) -> bool:
        """Run a timer's function; False says that it failed, True that it succeeded or was begun."""

    async def run_until(
        self, predicate: Callable[[], bool | Awaitable[bool]], *, limit_seconds: float = 300.0
    ) -> None:
        """Serve until the predicate holds, or raise TimeoutError."""


@dataclass(frozen=True, slots=True)
class Laptop:
    """Everything running. `host` serves the functions of `function_app.py`, `provider` the tenant's cost API."""

    engine: Engine
    host: Host
    provider: Provider

    async def tick(self) -> Run:
        """Fire the timer `seed` and give the run it made.

        Raises:
            FunctionFailedError: it failed, and has logged why.
            TimeoutError: there is no run after a minute.
        """
        known = {run.id for run in await self.engine.runs.runs()}
        made: list[Run] = []

        async def is_made() -> bool:
            made[:] = [run for run in await self.engine.runs.runs() if run.id not in known]
            return bool(made)

        if not await self.host.fire("seed"):
            raise FunctionFailedError("the function `seed` failed")
        await self.host.run_until(is_made, limit_seconds=_SEED_SECONDS)
        (run,) = made
        return run

    async def order(self, first: date, last: date) -> Run:
        """Seed the days from `first` to `last` as the command `run` does; the functions work it.

        The timer would not do: its tick has a run already, and one tick makes one run however often it fires.
        """
        run = new_run_id("run", self.engine.clock())
        return await seed(self.engine, Order(run=run, kind="run", first=first, last=last))

    async def closed(self, run_id: str, watch: Watch) -> Run:
        """Wait while the functions work, tell `watch` how the run stands now and then, and give the closed run.

        Raises:
            TimeoutError: the run is still open after five minutes.
            FunctionFailedError: a message failed for the last time; the host's log has why.
        """
        latest: list[Run] = []
        again = datetime.min.replace(tzinfo=UTC)

        async def is_closed() -> bool:
            nonlocal again
            if self.engine.clock() < again:
                return False
            for queue in QUEUES:
                if await self.engine.storage.queues.length(queue + POISON):
                    raise FunctionFailedError(f"a message of the queue `{queue}` failed for the last time")
            run = await self.engine.runs.run(run_id)
            if run is None:
                raise FunctionFailedError(f"the run {run_id} is gone")
            latest[:] = [run]
            await watch(self.engine, run)
            again = self.engine.clock() + _LOOK_EVERY
            return run.status is not RunStatus.OPEN

        await self.host.run_until(is_closed, limit_seconds=_LIMIT_SECONDS)
        return latest[0]


@asynccontextmanager
async def running(shape: TenantShape, page_size: int) -> AsyncIterator[Laptop]:
    """Run everything for the length of the block.

    Raises:
        AzuriteError: the emulator cannot be started.
        HostError: the function app cannot be served as declared.
        CoreToolsError: Core Tools are installed and cannot be started.
    """
    async with providing(shape) as provider:
        with (
            start() as storage,
            _environment(
                {
                    **provider.settings,
                    "COST_STORAGE": storage.connection_string,
                    **_settings(len(provider.days), page_size),
                }
            ),
        ):
            try:
                engine = await process.engine()
                async with _host(storage.connection_string) as host:
                    yield Laptop(engine, host, provider)
            finally:
                await process.close()


@asynccontextmanager
async def _host(storage: str) -> AsyncIterator[Host]:
    """Serve the functions, by Core Tools where they are installed; these keep their own books in `storage`."""
    if func := shutil.which("func"):
        environ = {**os.environ, "AzureWebJobsStorage": storage}
        async with core_tools(func, ROOT, environ, _host_json()) as tools:
            yield tools
        return
    # Only now: the app reads its schedules and connection when it is imported.
    app = load_app(ROOT, "function_app")
    async with FunctionHost(app, os.environ, _host_json()) as host:
        yield host


def _host_json() -> dict[str, Any]:
    """Give the app's host.json, with idle queues looked at as often as time is sped up."""
    host_json = read_host_json(ROOT)
    queues = {**host_json["extensions"]["queues"], "maxPollingInterval": "00:00:00.200"}
    return {**host_json, "extensions": {**host_json["extensions"], "queues": queues}}


def _settings(days: int, page_size: int) -> dict[str, str]:
    """Give the demo's settings; what is not here is as in a deployment."""
    # An hourly tick that has just been: the host's own timer stays silent while the demo fires it.
    minute = (datetime.now(UTC) - timedelta(minutes=1)).minute
    return {
        "COST_LOOKBACK_DAYS": str(days + 1),
        "COST_PAGE_SIZE": str(page_size),
        "COST_QUOTA_TENANT": "40/1s",
        "COST_QUOTA_SCOPE": "20/1s",
        "COST_RETRY_DELAY": "0.2",
        "COST_THROTTLE_FLOOR": "0.5",
        "COST_SEED_SCHEDULE": f"0 {minute} * * * *",
    }


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Set the process's environment to these settings alone: no exported one may lead to a real account."""
    before = dict(os.environ)
    for name in before:
        if name.startswith(_OURS):
            del os.environ[name]
    os.environ.update(settings)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
