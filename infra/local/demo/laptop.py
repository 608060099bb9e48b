"""The laptop's Azure: the emulator and the provider in processes of their own, the functions in this one.

Time is sped up and trouble is frequent, nothing else differs from a deployment: the quotas hold for a second
instead of a minute, pauses are short, and every fault comes far more often than from the real service.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from infra.local.azurite import start
from infra.local.demo.provider import Provider, TenantShape, providing
from infra.local.host import FunctionHost, load_app
from infra.local.host.settings import read_host_json
from shared import process
from shared.engine import Engine
from shared.plan.seed import Order, new_run_id, seed
from shared.runs import Run, RunStatus

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT.parent / "shared" / "data"
"""Real billing rows, mixed into the tenant where the folder is there."""

_OURS = ("COST_", "ARM_", "AzureWebJobs")
_LIMIT_SECONDS = 300.0
_LOOK_EVERY = timedelta(seconds=1.5)

Watch = Callable[[Engine, Run], Awaitable[None]]


class FunctionFailedError(Exception):
    """The functions cannot bring a run to its end."""


@dataclass(frozen=True, slots=True)
class Laptop:
    """Everything running. `host` serves the functions of `function_app.py`, `provider` the tenant's cost API."""

    engine: Engine
    host: FunctionHost
    provider: Provider

    async def tick(self) -> Run:
        """Fire the timer `seed` and give the run it made.

        Raises:
            FunctionFailedError: it failed, and has logged why.
        """
        known = {run.id for run in await self.engine.runs.runs()}
        if not await self.host.fire("seed"):
            raise FunctionFailedError("the function `seed` failed")
        (run,) = [run for run in await self.engine.runs.runs() if run.id not in known]
        return run

    async def order(self, first: date, last: date) -> Run:
        """Seed the days from `first` to `last` as the command `backfill` does; the functions work it.

        The timer would not do: its tick has a run already, and one tick makes one run however often it fires.
        """
        run = new_run_id("backfill", self.engine.clock())
        return await seed(self.engine, Order(run=run, kind="backfill", first=first, last=last))

    async def closed(self, run_id: str, watch: Watch) -> Run:
        """Wait while the functions work, tell `watch` how the run stands now and then, and give the closed run.

        Raises:
            TimeoutError: the run is still open after five minutes.
            FunctionFailedError: a function failed on a message for the last time, and has logged why.
        """
        latest: list[Run] = []
        again = datetime.min.replace(tzinfo=UTC)

        async def is_closed() -> bool:
            nonlocal again
            if failed := [name for name, count in self.host.counts.items() if count.poisoned]:
                raise FunctionFailedError(f"the function `{failed[0]}` failed on a message for the last time")
            if self.engine.clock() < again:
                return False
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
            # Only now: the app reads its schedules and connection when it is imported.
            app = load_app(ROOT, "function_app")
            try:
                engine = await process.engine()
                async with FunctionHost(app, os.environ, _host_json()) as host:
                    yield Laptop(engine, host, provider)
            finally:
                await process.close()


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
