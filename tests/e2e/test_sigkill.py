"""Processes that SIGKILL ends at any moment, alone and two at once, leave the truth to whoever comes after them.

`COST_TEST_KILLS` says how many kills each storm needs (a run that ended before its moment was none), and
`COST_TEST_SEED` draws other moments; both are printed where a test fails.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from infra.local.simulator import Faults, Running, Tenant, add, restate, serve, withdraw
from shared.engine import Engine, open_engine
from shared.messages import QUEUES
from shared.normalise.exact import add_by_currency, text
from shared.runs import Run, RunStatus
from shared.sweep import sweep
from shared.worker import STEPS, Worker
from tests.lake import CURRENT_TWICE, DAILY_TWICE, VALID_TOGETHER, Lake
from tests.laptop import AT_ONCE, Hands, fresh_storage
from tests.processes import Program, Programs
from tests.truth import Totals, truth_of

KILLS = int(os.environ.get("COST_TEST_KILLS", "2"))
SEED = os.environ.get("COST_TEST_SEED", "1")

SETTINGS = {
    **AT_ONCE,
    "COST_LEASE_SECONDS": "1",
    "COST_PAGE_SIZE": "20",
    # The faults begin anew with each change, so that a slice may meet more of them than one run would.
    "COST_MAX_READINGS": "20",
}
FAULTS = Faults(
    overlap=5,
    throttle_rate=0.03,
    hint_seconds=0,
    move_rate=0.15,
    lose_rate=0.15,
    loop_rate=0.15,
    out_of_window=1,
    empty_tail=True,
    error_rate=0.03,
)
CHANGES = (restate, withdraw, add)
PUBLISHED = "blob PUT costs/"
STALLED = timedelta(hours=1)

pytestmark = pytest.mark.timeout(300 + 60 * KILLS)


@dataclass
class Storm:
    """A tenant that changes its mind, a storage, and the processes that come and go on it."""

    running: Running
    programs: Programs
    random: Random
    lake: Lake
    at: Counter[str] = field(default_factory=Counter)
    """What the killed processes were at: the targets of their last writes."""
    half_published: int = 0
    """How often a reader found a day whose manifest was not that of its files."""

    @property
    def tenant(self) -> Tenant:
        return self.running.simulator.tenant

    @property
    def run(self) -> tuple[str, ...]:
        return ("run", *self.days, "--json", "--verbose")

    @property
    def days(self) -> tuple[str, ...]:
        return ("--from", self.tenant.days[0].isoformat(), "--to", self.tenant.days[-1].isoformat())

    @property
    def kills(self) -> int:
        return self.at.total()

    def change(self) -> None:
        """Let the tenant change its mind, each time in another way, and the service stumble anew."""
        CHANGES[self.kills % 3](self.tenant, 12)
        self.running.simulator.faults = FAULTS

    async def killed(self, program: Program, most: float, *, since: str = "") -> bool:
        """Kill a process at a random moment of so many seconds; one that was faster must have done its work."""
        if await program.killed(self.random.uniform(0, most), since=since):
            self.at[program.tap.last_write] += 1
            return True
        assert program.process.returncode == 0, program
        return False

    async def glance(self) -> None:
        """Read what is published at any moment: no file is torn, no cost is there twice."""
        await self.lake.copy()
        self.half_published += not self.lake.is_whole()
        assert self.lake.query(CURRENT_TWICE) == []
        assert self.lake.query(DAILY_TWICE) == []


@pytest.fixture
def storm(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Storm]:
    print(f"COST_TEST_SEED={SEED} COST_TEST_KILLS={KILLS}")  # noqa: T201 - shown where the test fails
    with serve(Tenant(3, subscriptions=2, days=3, rows_per_day=60), FAULTS) as running:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("COST_", "ARM_"))}
        environ = {**own, **running.settings(), **SETTINGS, "COST_STORAGE": fresh_storage()}
        output = tmp_path / "output"
        output.mkdir()
        random = Random(f"{SEED}/{request.node.name}")
        storm = Storm(running, Programs(environ, output), random, Lake(environ, tmp_path / "lake"))
        yield storm
        print(f"{storm.kills} kills, after these writes: {dict(storm.at.most_common())}")  # noqa: T201
        print(f"{storm.half_published} times a reader found a day half published")  # noqa: T201


@dataclass(frozen=True)
class Before:
    """What an undisturbed run published, how long it was at work, and how long at publishing (seconds)."""

    truth: Totals
    read_at: str
    working: float
    publishing: float


@pytest.fixture
async def before(storm: Storm) -> Before:
    """Let a first run go through: it says how long one takes, and its figures must survive as history."""
    program = await storm.programs.finished(*storm.run)
    assert program.process.returncode == 0, program
    await storm.glance()
    ((read_at,),) = storm.lake.query("select max(x_ValidFrom)::varchar from ledger")
    found = Before(truth_of(storm.tenant), read_at, program.tap.span(""), program.tap.span(PUBLISHED))
    assert storm.lake.totals() == found.truth
    return found


async def demand_truth(storm: Storm, before: Before) -> None:
    """What is published is the provider's truth to the last digit, with its history, and verifies."""
    await storm.glance()
    truth = truth_of(storm.tenant)
    assert storm.lake.totals() == truth
    assert storm.lake.daily_totals() == truth

    # All days were settled before the first run: what it said of them stays.
    assert storm.lake.totals(before.read_at) == before.truth
    assert storm.lake.query(VALID_TOGETHER) == []

    for day in storm.tenant.days:
        manifest = storm.lake.manifest(day)
        assert manifest["status"] == "reconciled"
        said = add_by_currency({key[1]: amount} for key, (amount, _) in truth.items() if key[0] == day)
        assert manifest["totals"] == {currency: text(amount) for currency, amount in said.items()}


def demand_complete(storm: Storm, program: Program) -> None:
    """The run of a process that was left to finish is complete, and its figures are the truth."""
    assert program.process.returncode == 0, program
    summary = program.told()
    assert (summary["status"], summary["failures"]) == ("complete", [])
    said = add_by_currency({key[1]: amount} for key, (amount, _) in truth_of(storm.tenant).items())
    assert summary["totals"] == {"ActualCost": {currency: text(amount) for currency, amount in said.items()}}


@pytest.fixture
async def later(storm: Storm) -> AsyncIterator[Engine]:
    """An engine an hour later, when all that makes no progress has stalled."""
    async with open_engine(storm.programs.environ, clock=Hands(STALLED)) as engine:
        yield engine


async def demand_ends(storm: Storm, engine: Engine) -> list[Run]:
    """Every run that killed processes left open comes to its end, and no message is left to be worked.

    What was killed six times over one message left poison, which the next sweep may not see yet: a drain that
    was killed hides it for five minutes. It is evidence by then, and no run waits for it.
    """
    await sweep(engine)
    for run in await engine.runs.runs(only_open=True):
        async with asyncio.timeout(300):
            await Worker(engine).work(run.id)
    queues = engine.storage.queues
    async with asyncio.timeout(300):
        while sum([await queues.length(queue) for queue in QUEUES]):
            for queue in QUEUES:
                for message in await queues.receive(queue, most=32, hide_seconds=10):
                    assert message.body is not None
                    await STEPS[queue](engine, message.body)
                    await queues.delete(queue, message)

    runs = await engine.runs.runs()
    assert [run.id for run in runs if run.status is RunStatus.OPEN] == []
    return runs


async def demand_recovery(storm: Storm, before: Before, later: Engine) -> None:
    """After the storm: the truth is there, the open runs end, and ending them changed nothing of it."""
    await demand_truth(storm, before)
    left = await later.runs.runs(only_open=True)
    ended = await demand_ends(storm, later)
    await demand_truth(storm, before)
    verified = await storm.programs.finished("verify", *storm.days, "--json")
    assert verified.process.returncode == 0, verified.told()
    assert verified.told()["days"] == len(storm.tenant.days)
    causes = Counter(failure["cause"] for run in ended for failure in (run.summary or {})["failures"])
    statuses = Counter(run.status.value for run in ended)
    print(f"{len(left)} runs were open when the last process ended; now {dict(statuses)}, {dict(causes)}")  # noqa: T201


async def test_a_chain_of_killed_runs_leaves_the_truth_to_the_one_that_is_let_live(
    storm: Storm, before: Before, later: Engine
) -> None:
    # WHEN each run dies at any moment after its first call, and the tenant changes its mind now and then
    while storm.kills < KILLS:
        async with storm.programs.started(*storm.run) as program:
            await storm.killed(program, before.working)
        await storm.glance()
        if storm.random.random() < 0.5:
            storm.change()

    # THEN the one that may finish publishes the truth
    demand_complete(storm, await storm.programs.finished(*storm.run))
    await demand_recovery(storm, before, later)


async def test_two_processes_on_one_storage_are_killed_and_started_again_beside_each_other(
    storm: Storm, before: Before, later: Engine
) -> None:
    # WHEN two processes at a time run side by side, each killed at any moment and followed by another
    async def one_after_the_other() -> None:
        while storm.kills < KILLS:
            async with storm.programs.started(*storm.run) as program:
                # Two share what one had for itself.
                await storm.killed(program, 2 * before.working)
            if storm.random.random() < 0.5:
                storm.change()

    async with asyncio.TaskGroup() as both:
        for _ in range(2):
            both.create_task(one_after_the_other())
    await storm.glance()

    # THEN two that may finish, at once, both come to the truth
    for program in await asyncio.gather(*(storm.programs.finished(*storm.run) for _ in range(2))):
        demand_complete(storm, program)
    await demand_recovery(storm, before, later)


async def test_a_publisher_killed_between_any_two_files_leaves_a_day_that_the_next_one_repairs(
    storm: Storm, before: Before, later: Engine
) -> None:
    # WHEN runs die while they publish: from the first file to a little after the last
    while storm.kills < KILLS:
        restate(storm.tenant, 20)
        async with storm.programs.started(*storm.run) as program:
            await storm.killed(program, 1.2 * before.publishing, since=PUBLISHED)
        # THEN no reader ever sees a torn file, or a cost twice
        await storm.glance()

    # AND the one that may finish publishes the truth
    demand_complete(storm, await storm.programs.finished(*storm.run))
    await demand_recovery(storm, before, later)
