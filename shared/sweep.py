"""Sweep: what makes sure that every run ends, and that nothing is kept for ever.

It restarts what made no progress for `COST_STALL_SECONDS`, by sending its message again: harmless where the
first is still on its way. What stalls again after so many restarts, or goes on beyond its deadline, fails with a
named cause. It finishes seedings, drains the poison queues into recorded states, purges old registry partitions
and removes staged pages that nothing names any more.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from shared.engine import Engine
from shared.events import DAY_RESTARTED, POISON_DRAINED, SLICE_RESTARTED, STEP_FAILED, emit
from shared.line import Planned, moved
from shared.messages import DAYS, PAGES, POISON, QUEUES, BadMessage, DayItem, PageItem, RunItem
from shared.orchestrate import close_run
from shared.plan.deadlines import GRACE, deadline, longest_run, patience
from shared.plan.seed import finish_seeding
from shared.progress import last_page, last_progress, went_on
from shared.purge import purge
from shared.read import ending
from shared.registry.pages import next_number
from shared.runs import DayTask, Run, RunStatus, Slice, SliceState
from shared.runs.book import poison_key
from shared.storage.errors import Conflict, Unavailable
from shared.storage.packing import pack
from shared.storage.queues import Message
from shared.storage.rows import Row
from shared.summary import abandoned
from shared.versions import UnreadableError, tell

RESTARTS = 3
SHOWN = 30_000
"""How much of a poisoned message's text one property holds; more of it is packed beside it."""

DEADLINE_CURE = (
    "see the throttles in the logs: others use up the quota of this tenant; "
    "the next run over these days reads them again"
)
STALL_CURE = (
    "the next run over these days reads them again; if it stalls too, look at the poison records and the logs"
)


async def sweep(engine: Engine) -> None:
    """Sweep once."""
    await drain(engine)
    now = engine.clock()
    runs = await engine.runs.runs(only_open=True, refused=tell)
    # They wait for none that goes on in the background.
    sharing = sum(run.planned for run in runs if not run.background)
    line: list[Planned] = []
    for run in runs:
        try:
            if await _sweep_run(engine, run, now, patience(engine.settings, sharing)):
                line.append(Planned(run, await engine.runs.days(run, refused=tell)))
        except Exception as error:  # noqa: BLE001 - a run that resists must not keep the others from their ends
            emit(STEP_FAILED, run=run.id, cause=f"{type(error).__name__}: {error}")
    for planned in line:
        try:
            await _sweep_days(engine, planned, line, now)
        except Exception as error:  # noqa: BLE001 - nor with its days
            emit(STEP_FAILED, run=planned.run.id, cause=f"{type(error).__name__}: {error}")
    await purge(engine)


async def drain(engine: Engine) -> int:
    """Record every poisoned message, mark what it named as failed, and tell how many there were."""
    drained = 0
    for queue in QUEUES:
        while messages := await engine.storage.queues.receive(queue + POISON, most=32, hide_seconds=300):
            for message in messages:
                drained += await _drain_one(engine, queue, message)
    return drained


async def _drain_one(engine: Engine, queue: str, message: Message) -> bool:
    """Drain a message and take it off the poison queue; one that resists stays, and harms no other."""
    try:
        await _drain(engine, queue, message)
    except Exception as error:  # noqa: BLE001 - poison may break anything, and the sweep must go on
        emit(STEP_FAILED, queue=queue + POISON, message=message.id, cause=f"{type(error).__name__}: {error}")
        return False
    await engine.storage.queues.delete(queue + POISON, message)
    return True


async def _drain(engine: Engine, queue: str, message: Message) -> None:
    """Keep the evidence first, then mark: a crash in between drains the message again, to the same end."""
    cause = (
        f"PoisonMessage: a message of {queue} was tried time and again; its step failed, or its workers died"
    )
    rest = message.raw[SHOWN:].encode()
    await engine.runs.keep_poison(
        queue,
        message.id,
        {
            "raw": message.raw[:SHOWN],
            "inserted_on": message.inserted_on,
            "drained_at": engine.clock(),
            **(pack("rest", rest) if rest else {}),
        },
    )
    emit(POISON_DRAINED, queue=queue, message=message.id)
    if message.body is None:
        return
    try:
        if queue == PAGES:
            await _fail_page(engine, PageItem.decode(message.body), cause)
        elif queue == DAYS:
            await _fail_day(engine, DayItem.decode(message.body), cause)
        else:
            kept = await engine.runs.poison(refused=tell)
            before = [row for row in kept if _failed_before(engine, row, queue, message)]
            await _fail_run(engine, RunItem.decode(message.body), cause, again=bool(before))
    except (BadMessage, UnreadableError):
        # It names nothing, or what cannot be read: the record is all there is to keep.
        return


def _failed_before(engine: Engine, kept: Row, queue: str, message: Message) -> bool:
    """Tell whether the same message was drained a stall before this one came, both by the storage's clock.

    Copies of one message that fail in one outage are one failure, though each is drained as it comes.
    """
    if kept.rk == poison_key(queue, message.id) or kept.timestamp is None:
        return False
    return (
        kept.values["raw"] == message.raw[:SHOWN]
        and kept.timestamp + engine.settings.stall < message.inserted_on
    )


async def _fail_page(engine: Engine, item: PageItem, cause: str) -> None:
    """Fail the slice, if it still waits for this very page: an old message harms nothing."""
    piece = await engine.runs.slice(item.run, item.slice)
    if piece is None or piece.state is not SliceState.OPEN or piece.generation != item.generation:
        return
    if await next_number(engine.storage.tables, piece.partition) == item.page:
        await ending.end(engine, piece, SliceState.FAILED, cause, STALL_CURE)


async def _fail_day(engine: Engine, item: DayItem, cause: str) -> None:
    run = await engine.runs.run(item.run)
    task = None if run is None else await engine.runs.day(run, item.metric, item.day)
    if run is not None and task is not None and task.state == "open":
        await _end_day(engine, run, task, cause)


async def _fail_run(engine: Engine, item: RunItem, cause: str, *, again: bool) -> None:
    """Let the orchestrator look once more; a run that it failed on twice is closed as it is."""
    run = await engine.runs.run(item.run)
    if run is None or run.status is not RunStatus.OPEN:
        return
    if again:
        await close_run(engine, run, abandoned(run, cause))
    else:
        await ending.follow_up(engine, run.id, run.seeding)


async def _end_day(engine: Engine, run: Run, task: DayTask, cause: str) -> None:
    await engine.days.leave_unfinished(task.metric, task.day)
    try:
        await engine.runs.save_day(replace(task, state="failed", cause=cause))
    except Conflict:
        # It was published after all.
        return
    await ending.follow_up(engine, run.id, run.seeding)


async def _sweep_run(engine: Engine, run: Run, now: datetime, longest: timedelta) -> bool:
    """Sweep a run's slices, and tell whether all have ended: its days are to be swept."""
    open_for = now - run.created_at
    if await _is_late(engine, run, now, by=GRACE):
        cause = f"DeadlineExceeded: it could not be closed within {open_for.days} days"
        await close_run(engine, run, abandoned(run, cause))
        return False
    late = await _is_late(engine, run, now)
    if not run.seeded and open_for > engine.settings.stall:
        run = await finish_seeding(engine, run)
    pieces = await engine.runs.slices(run, only_open=True, refused=tell)
    for piece in pieces:
        try:
            if late:
                cause = f"DeadlineExceeded: the run is not done after {open_for.days} days"
                await ending.end(engine, piece, SliceState.FAILED, cause, DEADLINE_CURE)
            else:
                await _sweep_slice(engine, piece, now, longest)
        except Unavailable:
            # The next slice would fare no better.
            raise
        except Exception as error:  # noqa: BLE001 - one that resists must not keep the others of its run from it
            cause = f"{type(error).__name__}: {error}"
            emit(STEP_FAILED, run=run.id, slice=piece.name, cause=cause)
    return not pieces


async def _is_late(engine: Engine, run: Run, now: datetime, by: timedelta = timedelta()) -> bool:
    """Tell whether a run is past its end by so much: it was open for too long, or went on for too long in nothing."""
    open_for = now - run.created_at
    if open_for > longest_run(engine.settings, run) + by:
        return True
    quiet = deadline(engine.settings, run) + by
    return open_for > quiet and not await went_on(engine, run, now - quiet)


async def _sweep_days(engine: Engine, planned: Planned, line: Sequence[Planned], now: datetime) -> None:
    for task in planned.waiting:
        # Its restarts bound it: it must not fail for the time that the slices took, nor for that of the line.
        ended = moved(line, task)
        times = [time for time in (task.touched_at, ended) if time is not None]
        if times and now - max(times) <= engine.settings.stall:
            continue
        if ended is not None and task.touched_at is not None and ended > task.touched_at:
            # Since it was last sent the line has moved: it was not its message that stood still.
            await _restart_day(engine, planned.run, replace(task, restarts=0))
        else:
            await _restart_day(engine, planned.run, task)
    if not planned.waiting:
        # Its last end was never told to the orchestrator, or the orchestrator died: it may look again.
        await engine.send_run(RunItem(run=planned.run.id))


async def _sweep_slice(engine: Engine, piece: Slice, now: datetime, longest: timedelta) -> None:
    told = [time for time in (piece.touched_at, piece.not_before) if time is not None]
    if told and now - max(told) <= engine.settings.stall:
        # Its row alone tells: of a backfill's thousands of slices most wait for their day.
        return
    try:
        await _sweep_silent(engine, piece, now, longest)
    except UnreadableError as error:
        await ending.end(engine, piece, SliceState.FAILED, error.cause, error.cure)


async def _sweep_silent(engine: Engine, piece: Slice, now: datetime, longest: timedelta) -> None:
    """Sweep a slice whose own row has said nothing for the time of a stall."""
    if now - await last_progress(engine, piece) > engine.settings.stall:
        await _restart(engine, piece)
    elif not piece.background and now - await _last_asked(engine, piece) > longest:
        # Others may have kept its gate busy while no worker had its message, or while there was no worker at all:
        # only one that was sent again and still got no page is the service's fault.
        if piece.restarts == 0 or piece.waiting_for != _waiting_for(piece, await _next_page(engine, piece)):
            await _restart(engine, piece)
            return
        hours = longest // timedelta(hours=1)
        cause = f"DeadlineExceeded: the service gave no page for {hours} hours"
        await ending.end(engine, piece, SliceState.FAILED, cause, DEADLINE_CURE)


async def _last_asked(engine: Engine, piece: Slice) -> datetime:
    """Tell when the slice last got a page, or was restarted: both are counted, so that neither goes on for ever."""
    page = await last_page(engine, piece)
    return page if piece.touched_at is None else max(page, piece.touched_at)


async def _next_page(engine: Engine, piece: Slice) -> int:
    return await next_number(engine.storage.tables, piece.partition)


def _waiting_for(piece: Slice, page: int) -> str:
    return f"{piece.generation}/{page}"


async def _restart(engine: Engine, piece: Slice) -> None:
    page = await _next_page(engine, piece)
    waiting_for = _waiting_for(piece, page)
    restarts = piece.restarts + 1 if piece.waiting_for == waiting_for else 1
    if restarts > RESTARTS:
        minutes = engine.settings.stall // timedelta(minutes=1)
        cause = f"Stalled: no progress for {minutes} minutes, {piece.restarts} restarts did not help"
        await ending.end(engine, piece, SliceState.FAILED, cause, STALL_CURE)
        return
    try:
        piece = await engine.runs.save_slice(replace(piece, restarts=restarts, waiting_for=waiting_for))
    except Conflict:
        return
    emit(SLICE_RESTARTED, run=piece.run, slice=piece.name, restarts=piece.restarts)
    await engine.send_page(PageItem(run=piece.run, slice=piece.name, generation=piece.generation, page=page))


async def _restart_day(engine: Engine, run: Run, task: DayTask) -> None:
    if task.restarts >= RESTARTS:
        await _end_day(engine, run, task, f"Stalled: {task.restarts} restarts did not help")
        return
    try:
        await engine.runs.save_day(replace(task, restarts=task.restarts + 1))
    except Conflict:
        return
    emit(DAY_RESTARTED, run=run.id, metric=task.metric, day=task.day.isoformat())
    await engine.send_day(DayItem(run=run.id, metric=task.metric, day=task.day))
