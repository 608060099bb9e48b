"""The tenant's provider in a process of its own, so that it does not take the functions' share of a core.

It answers the cost API over real HTTP. What the demo asks of it beside that (its truth, its log, a change of
the data) goes through a pipe, which also ends it: when this process is gone, however it went, so is the pipe.
"""

import asyncio
import multiprocessing
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from infra.local.simulator import (
    Change,
    Faults,
    Metric,
    Running,
    Tenant,
    Total,
    TruthKey,
    add,
    restate,
    scope_truth,
    serve,
    withdraw,
)

FAULTS = Faults(
    throttle_rate=0.07,
    hint_seconds=0.5,
    overlap=7,
    move_rate=0.2,
    lose_rate=0.2,
    loop_rate=0.1,
    spoiled_readings=1,
    error_rate=0.13,
    out_of_window=3,
)
"""All that the service does to its readers, at once. The 429s come at random and not from limits: a limit of a
second would measure how busy the laptop is, where one of a minute measures the reader."""

_STOP_SECONDS = 5.0

T = TypeVar("T")


class ProviderError(Exception):
    """The provider's process ended; it has said why on stderr."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantShape:
    """What the tenant is made from; `samples` is a folder of real billing rows to mix in, None for none."""

    seed: int
    subscriptions: int
    days: int
    rows_per_day: int
    samples: Path | None

    def make(self) -> Tenant:
        """Make the tenant; its days end yesterday, so that the look-back, which ends today, covers them.

        Ten minutes before midnight the coming day counts as today: it will be, before the demo is over.
        """
        today = (datetime.now(UTC) + timedelta(minutes=10)).date()
        return Tenant(
            self.seed,
            subscriptions=self.subscriptions,
            days=self.days,
            rows_per_day=self.rows_per_day,
            first_day=today - timedelta(days=self.days),
            data_dir=self.samples,
        )


@dataclass(frozen=True, slots=True)
class Log:
    """What the provider was asked so far, and what it did wrong on purpose, by name."""

    requests: int
    faults: Counter[str]


@dataclass(frozen=True, slots=True)
class Changed:
    """One change of the tenant: its kind, how many charges it changed, and their days."""

    kind: str
    charges: int
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that is being served; `settings` is the environment that reads it."""

    settings: dict[str, str]
    days: tuple[date, ...]
    _pipe: Connection

    async def truth(self) -> dict[TruthKey, Total]:
        """Give what it holds now, per day, currency and subscription, computed without the cost API."""
        return await self._ask(_truth)

    async def log(self) -> Log:
        """Give what it was asked and did so far."""
        return await self._ask(_log)

    async def change(self) -> list[Changed]:
        """Let the tenant restate, withdraw and add charges, on days that are settled and on others."""
        return await self._ask(_change)

    async def _ask(self, question: Callable[[Running], T]) -> T:
        answer: T = await asyncio.to_thread(partial(_exchange, self._pipe, question))
        return answer


@asynccontextmanager
async def providing(shape: TenantShape) -> AsyncIterator[Provider]:
    """Serve a tenant for the length of the block.

    Raises:
        ProviderError: the process ended.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(there, shape), name="provider", daemon=True)
    process.start()
    there.close()
    try:
        settings, days = await asyncio.to_thread(_received, here)
        yield Provider(settings, days, here)
    finally:
        here.close()
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(pipe: Connection, shape: TenantShape) -> None:
    """Serve, and answer questions, until the pipe ends."""
    # Ctrl-C reaches the whole group; the demo ends first, and the pipe with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with serve(shape.make(), FAULTS) as running, suppress(EOFError):
        pipe.send((running.settings(), running.simulator.tenant.days))
        while True:
            pipe.send(pipe.recv()(running))


def _exchange(pipe: Connection, question: Callable[[Running], T]) -> Any:  # noqa: ANN401 - what a pipe brings
    pipe.send(question)
    return _received(pipe)


def _received(pipe: Connection) -> Any:  # noqa: ANN401 - what a pipe brings
    try:
        return pipe.recv()
    except EOFError as error:
        raise ProviderError("the provider's process ended") from error


def _truth(running: Running) -> dict[TruthKey, Total]:
    tenant = running.simulator.tenant
    return {
        key: total
        for scope in tenant.subscription_scopes
        for key, total in scope_truth(tenant, scope, Metric.ACTUAL).items()
    }


def _log(running: Running) -> Log:
    journal = running.simulator.journal
    return Log(journal.requests, Counter(journal.by_fault))


def _change(running: Running) -> list[Changed]:
    tenant = running.simulator.tenant
    days, last = tenant.days, len(tenant.days) - 1
    return [
        _described(change)
        for change in (
            restate(tenant, 24, (days[last // 4], days[last // 2], days[last])),
            withdraw(tenant, 3 * len(tenant.subscriptions), (days[last // 3],)),
            add(tenant, 6, (days[0], days[last])),
        )
    ]


def _described(change: Change) -> Changed:
    days = sorted({charge.day for charge in change.charges})
    return Changed(change.kind, len(change.charges), tuple(days))
