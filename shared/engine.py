"""The engine: the settings, the seams and the books that every step works with, opened once per process."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

from shared.connection import ConnectionProblems, StorageConnection, storage_connection
from shared.days import TABLE as DAYS_TABLE
from shared.days import DayBook
from shared.edge import Clock, Edge, direct, utc_now
from shared.messages import DAYS, PAGES, POISON, QUEUES, RUNS, DayItem, PageItem, RunItem
from shared.quota.details import details_gates
from shared.quota.gate import TABLE as QUOTA_TABLE
from shared.quota.gate import QuotaGate
from shared.read.client import CostApi, IdentityTokens, StaticToken, Tokens
from shared.registry.generations import Generations
from shared.registry.pages import TABLE as HASHES_TABLE
from shared.runs import TABLE as RUNS_TABLE
from shared.runs import RunBook
from shared.scopes import ScopeKind
from shared.settings import Settings, SettingsError
from shared.settings import load as load_settings
from shared.staging import Staging
from shared.storage.account import Storage


@dataclass(frozen=True, slots=True)
class Engine:
    """What every step works with. Make one with `open_engine`, once per process and event loop.

    `gate` is that of Query, `details_gates` are those of usageDetails.
    """

    settings: Settings
    storage: Storage
    api: CostApi
    clock: Clock
    gate: QuotaGate
    details_gates: Mapping[ScopeKind, QuotaGate]
    runs: RunBook
    days: DayBook
    generations: Generations
    staging: Staging
    jitter: random.Random = field(default_factory=random.SystemRandom)
    told: set[str] = field(default_factory=set)
    """What this process has told of and need not tell of again."""

    async def ensure(self) -> None:
        """Make the tables, queues and containers of the contract where they are not there yet."""
        await self.storage.ensure(
            tables=(RUNS_TABLE, HASHES_TABLE, DAYS_TABLE, QUOTA_TABLE),
            queues=[*QUEUES, *(queue + POISON for queue in QUEUES)],
            containers=(self.settings.container, self.settings.staging_container),
        )

    async def send_page(self, item: PageItem) -> None:
        """Put a page on its queue, hidden until its `not_before`."""
        await self.storage.queues.send(PAGES, item.encode(), delay=self._delay(item.not_before))

    async def send_run(self, item: RunItem) -> None:
        """Say that a slice or a day of a run has ended."""
        await self.storage.queues.send(RUNS, item.encode())

    async def send_day(self, item: DayItem) -> None:
        """Ask for a day to be published."""
        await self.storage.queues.send(DAYS, item.encode())

    def _delay(self, not_before: datetime | None) -> float:
        if not_before is None:
            return 0
        return max((not_before - self.clock()).total_seconds(), 0)


@asynccontextmanager
async def open_engine(
    environ: Mapping[str, str],
    *,
    edge: Edge = direct,
    clock: Clock = utc_now,
    jitter: random.Random | None = None,
) -> AsyncIterator[Engine]:
    """Open the engine on the settings of `environ`.

    Raises:
        SettingsError: settings are missing or wrong, all of them listed; nothing was called.
    """
    settings, connection = read_settings(environ)
    async with (
        Storage(connection, edge) as storage,
        CostApi(
            endpoint=settings.arm_endpoint,
            tokens=lambda: _tokens(settings),
            edge=edge,
            clock=clock,
            floor=settings.throttle_floor,
        ) as api,
    ):
        engine = Engine(
            settings=settings,
            storage=storage,
            api=api,
            clock=clock,
            gate=QuotaGate(storage.tables, settings.quota_tenant, settings.quota_scope),
            details_gates=details_gates(storage.tables, settings.quota_details),
            runs=RunBook(storage.tables),
            days=DayBook(storage.tables),
            generations=Generations(storage.tables),
            staging=Staging(storage.blobs, settings.staging_container),
            jitter=jitter or random.SystemRandom(),
        )
        await engine.ensure()
        yield engine


def read_settings(environ: Mapping[str, str]) -> tuple[Settings, StorageConnection]:
    """Read the settings and where the storage is.

    Raises:
        SettingsError: something is missing or wrong; it lists all of it, the storage's part included.
    """
    problems: list[str] = []
    settings = connection = None
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        problems.extend(error.problems)
    try:
        connection = storage_connection(environ)
    except ConnectionProblems as error:
        problems.extend(error.problems)
    if settings is None or connection is None:
        raise SettingsError(tuple(problems))
    return settings, connection


def _tokens(settings: Settings) -> Tokens:
    if settings.arm_token is not None:
        return StaticToken(settings.arm_token)
    return IdentityTokens(settings.token_scope)
