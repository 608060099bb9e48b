"""A storm: several processes, runs that overlap, and everything that can go wrong, by the dice of one seed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import msgspec

from infra.local.simulator import Faults, Tenant, add, restate, transfer, withdraw
from shared.edge import Call
from shared.engine import Engine, open_engine
from shared.messages import DAYS, PAGES, POISON, RUNS, BadMessage
from shared.runs import Run, RunBook
from shared.sweep import sweep
from shared.worker import MOST_DEQUEUES, STEPS
from tests.crash.schedule import Schedule, Waiting
from tests.crash.watch import Watch
from tests.crash.world import FIRST_DAY, World, world
from tests.fates import Fate, Killed, failures_of

PROCESSES = 3
SWEEPS_AT_MOST, CHANGES_AT_MOST, LOST_AT_MOST = 2, 3, 2
STEPS_OF_A_STORM = 220
ROUNDS = 40
SKEW_SECONDS = 300
STALLED = timedelta(hours=1)
MISFORTUNE = 0.03
NAP, NAP_AT_A_WRITE, STEPS_OF_A_NAP = 0.003, 0.12, (20, 120)

WEATHER = Faults(
    overlap=2,
    throttle_rate=0.05,
    hint_seconds=0,
    error_rate=0.05,
    move_rate=0.15,
    lose_rate=0.15,
    loop_rate=0.1,
    spoiled_readings=2,
)


class EngineOfAStorm(Engine):
    """Messages are visible at once: when they are delivered is the storm's to decide, too early included."""

    def _delay(self, not_before: datetime | None) -> float:
        return 0


@dataclass(eq=False)
class Letter:
    """A message off a queue; it comes again as long as nobody has worked it."""

    queue: str
    body: bytes
    tries: int = 0


@dataclass
class Process:
    """One process; its clock is wrong by `skew`."""

    name: str
    skew: timedelta
    engine: Engine
    stack: AsyncExitStack
    task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        return self.task is None or self.task.done()


@dataclass
class Storm:
    """What is going on. `trace` tells every choice."""

    seed: int
    world: World
    watch: Watch
    schedule: Schedule
    dice: Random
    processes: list[Process] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    worked: list[Letter] = field(default_factory=list)
    runs_at_most: int = 2
    calm: bool = False
    seeded: int = 0
    swept: int = 0
    changed: int = 0
    lost: int = 0
    _sent: bool = False
    _step: int = 0
    _naps: dict[str, int] = field(default_factory=dict)

    @property
    def trace(self) -> list[str]:
        return self.schedule.trace

    @property
    def idle(self) -> list[Process]:
        return [process for process in self.processes if process.idle]

    async def rage(self) -> None:
        """Let things happen, one at a time."""
        for _ in range(STEPS_OF_A_STORM):
            await self.schedule.quiet()
            await self._collect()
            await self.dice.choice(self._choices())()
        self.calm = True

    async def settle(self) -> None:
        """Let everything that was begun come to its end: sweeps find what was lost, and every run closes."""
        for _ in range(ROUNDS):
            await self.work_off()
            if all(run.summary is not None for run in await self.runs()):
                return
            self.world.time.pass_by(STALLED)
            await self.do("sweep", sweep)
        open_runs = [run.id for run in await self.runs() if run.summary is None]
        raise AssertionError(f"{open_runs} never end")

    async def do(self, what: str, step: Callable[[Engine], Awaitable[None]]) -> None:
        """Let one process do something in the calm, and work off what comes of it."""
        await self._begin(self.processes[0], what, step)
        await self.work_off()

    async def run_to_the_end(self, name: str) -> Run:
        """Seed a run in the calm and work it off."""
        await self.do(f"seed {name}", lambda engine: self.world.seed(engine, name))
        await self.settle()
        (run,) = [run for run in await self.runs() if run.id == name]
        return run

    async def runs(self) -> list[Run]:
        return await RunBook(self.world.storage.tables).runs()

    async def begin_anew(self, process: Process) -> None:
        """Let a process begin where another ended: it remembers nothing."""
        await process.stack.aclose()
        edge = self.schedule.edge(process.name)
        clock = self.world.time
        opened = await process.stack.enter_async_context(
            open_engine(self.world.environ, edge=edge, clock=lambda: clock() + process.skew, jitter=Random(0))
        )
        edge.open = False
        process.engine = EngineOfAStorm(
            **{name: getattr(opened, name) for name in Engine.__dataclass_fields__}
        )

    def _choices(self) -> list[Callable[[], Awaitable[None]]]:
        """What may happen next, the likelier the more often it stands here."""
        choices: list[Callable[[], Awaitable[None]]] = []
        choices += [self._let_one_go] * (12 if self.schedule.waiting else 0)
        if self.idle:
            choices += [self._deliver] * (6 if self.letters else 0)
            choices += [self._deliver_again] * (1 if self.worked else 0)
            choices += [self._seed] * (1 if self.seeded < self.runs_at_most else 0)
            choices += [self._sweep] * (1 if self.swept < SWEEPS_AT_MOST and self.seeded else 0)
        choices += [self._change] * (1 if self.changed < CHANGES_AT_MOST and self.seeded else 0)
        choices += [self._lose] * (1 if self.lost < LOST_AT_MOST and self.letters else 0)
        return choices or [self._seed]

    async def _let_one_go(self) -> None:
        chosen = self._choose()
        fate = self.dice.choice(list(Fate)) if self.dice.random() < MISFORTUNE else None
        await self._go(chosen, fate)

    def _choose(self) -> Waiting:
        """Choose a call, of whoever does not nap: a process may be paused for long, most likely at a write."""
        self._step += 1
        for waiting in self.schedule.waiting:
            chance = NAP_AT_A_WRITE if is_publishing(waiting.call) else NAP
            if self._naps.get(waiting.process, 0) < self._step and self.dice.random() < chance:
                self._naps[waiting.process] = self._step + self.dice.randrange(*STEPS_OF_A_NAP)
        awake = [one for one in self.schedule.waiting if self._naps.get(one.process, 0) < self._step]
        return self.dice.choice(awake or self.schedule.waiting)

    async def _go(self, chosen: Waiting, fate: Fate | None = None) -> None:
        failure = self.dice.choice(failures_of(chosen.call)) if fate is Fate.FAILS else ""
        self.schedule.let_go(chosen, fate, failure)
        await self.schedule.quiet()
        call = chosen.call
        self._sent = self._sent or (call.service, call.operation) == ("queue", "send")
        if is_publishing(call) and call.service == "table":
            await self.watch.look_at_pointers()
        elif is_publishing(call):
            await self.watch.look_at_files()

    async def _deliver(self) -> None:
        await self._hand_over(self.letters.pop(self.dice.randrange(len(self.letters))))

    async def _deliver_again(self) -> None:
        """A message comes again: its lease ran out while it was worked, or it was sent twice."""
        letter = self.dice.choice(self.worked)
        await self._hand_over(Letter(letter.queue, letter.body))

    async def _hand_over(self, letter: Letter) -> None:
        process = self.dice.choice(self.idle)
        self.worked.append(letter)

        async def step(engine: Engine) -> None:
            letter.tries += 1
            try:
                await STEPS[letter.queue](engine, letter.body)
            except* BadMessage:
                await self._poison(letter)
            except* Exception as failed:  # noqa: BLE001 - as the host does: whatever a step raises is a failed try
                self.trace.append(f"{process.name}: failed, {type(failed.exceptions[0]).__name__}")
                await self._return(letter)
            except* Killed:
                await self._return(letter)
                raise

        if self.calm:
            self._wait_for(letter, process)
        await self._begin(process, f"work {letter.queue}", step)

    def _wait_for(self, letter: Letter, process: Process) -> None:
        """Let the time pass that a message asks to be hidden for, by its receiver's clock."""
        text = msgspec.json.decode(letter.body).get("not_before")
        if text is not None:
            due = datetime.fromisoformat(text)
            self.world.time.pass_by(max(due - process.skew - self.world.time(), timedelta()))

    async def _return(self, letter: Letter) -> None:
        if letter.tries < MOST_DEQUEUES:
            self.letters.append(letter)
        else:
            await self._poison(letter)

    async def _poison(self, letter: Letter) -> None:
        self.trace.append(f"poison {letter.queue}")
        await self.world.storage.queues.send(letter.queue + POISON, letter.body)

    async def _seed(self) -> None:
        if self.idle:
            self.seeded += 1
            name = f"run-{self.seeded}"
            await self._begin(
                self.dice.choice(self.idle), f"seed {name}", lambda engine: self.world.seed(engine, name)
            )

    async def _sweep(self) -> None:
        self.swept += 1
        await self._begin(self.dice.choice(self.idle), "sweep", sweep)

    async def _change(self) -> None:
        """The provider changes its mind.

        A cost changes hands once at most: of two such changes within one reading no total could tell.
        """
        self.changed += 1
        tenant = self.world.tenant
        kinds = (restate, withdraw, add) if "transfer" in self.trace else (restate, withdraw, add, transfer)
        change = self.dice.choice(kinds)(tenant, 2, [self.dice.choice(tenant.days)])
        self.trace.append(change.kind)
        self.watch.remember()

    async def _lose(self) -> None:
        self.lost += 1
        letter = self.letters.pop(self.dice.randrange(len(self.letters)))
        self.trace.append(f"lost {letter.queue}")

    async def _begin(self, process: Process, what: str, step: Callable[[Engine], Awaitable[None]]) -> None:
        self.trace.append(f"{process.name}: {what}")

        async def live() -> None:
            try:
                await step(process.engine)
            except* Killed:
                self.trace.append(f"{process.name}: dead")
                with self.schedule.out():
                    await self.begin_anew(process)
            except* Exception as failed:  # noqa: BLE001 - a timer's step that fails is tried at the next tick
                self.trace.append(f"{process.name}: failed, {type(failed.exceptions[0]).__name__}")

        process.task = asyncio.create_task(live())

    async def work_off(self) -> None:
        """Deliver and let go, in any order still, until nothing is left to do."""
        while True:
            await self.schedule.quiet()
            await self._collect()
            if self.schedule.waiting:
                await self._go(self._choose())
            elif self.letters and self.idle:
                await self._deliver()
            elif len(self.idle) == len(self.processes):
                return
            else:
                await asyncio.sleep(0.001)

    async def _collect(self) -> None:
        """Take what was sent off the queues; who gets it, and when, is the storm's to decide."""
        if not self._sent:
            return
        self._sent = False
        queues = self.world.storage.queues
        for queue in (PAGES, RUNS, DAYS):
            for message in await queues.receive(queue, most=32, hide_seconds=60):
                assert message.body is not None
                self.letters.append(Letter(queue, message.body))
                await queues.delete(queue, message)


def is_publishing(call: Call) -> bool:
    """Tell whether a call changes what is believed or published."""
    if call.service == "table":
        return call.target == "CostDays" and call.operation in {"insert", "replace"}
    return call.service == "blob" and call.operation == "put" and call.target.startswith("costs/")


@asynccontextmanager
async def storm(seed: int) -> AsyncIterator[Storm]:
    """Raise a storm over two scopes that see the same, of a settled day and of an open one."""
    dice = Random(seed)
    tenant = Tenant(
        dice.randrange(1000),
        subscriptions=2,
        days=2,
        rows_per_day=14,
        first_day=FIRST_DAY + timedelta(days=1),
        currencies=("USD",),
    )
    scopes = [tenant.subscription_scopes[0], tenant.management_group]
    async with world(tenant, scopes, WEATHER) as place:
        watch = Watch(tenant, scopes, place.storage)
        watch.remember()
        raised = Storm(seed, place, watch, Schedule(place.time), dice, runs_at_most=dice.choice((2, 2, 3)))
        async with AsyncExitStack() as all_of_them:
            for number in range(PROCESSES):
                skew = timedelta(seconds=dice.randint(-SKEW_SECONDS, SKEW_SECONDS))
                stack = AsyncExitStack()
                all_of_them.push_async_callback(stack.aclose)
                process = Process(f"p{number}", skew, None, stack)  # type: ignore[arg-type]  # opened below
                await raised.begin_anew(process)
                raised.processes.append(process)
            yield raised
