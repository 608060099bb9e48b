"""The final function: turns a run whose slices have all ended into days to publish, and closes it.

It waits for nothing in memory. Woken by whoever ends the run's last open slice or day, it looks what is still
open, and either does the next step or leaves it to the one who will wake it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any

from shared.days import Day
from shared.engine import Engine
from shared.events import RUN_CLOSED, emit
from shared.ledger.files import lying, published
from shared.ledger.standing import left_by
from shared.messages import BadMessage, DayItem, RunItem
from shared.runs import DayTask, Run, RunStatus
from shared.storage.errors import Conflict
from shared.summary import summarise
from shared.versions import UnreadableError, tell
from shared.view import differs, scope_list, view_of

RACES = 5


async def orchestrate(engine: Engine, body: bytes) -> None:
    """Work one message of `cost-runs`.

    Raises:
        BadMessage: no such message or run: it belongs on the poison queue.
    """
    item = RunItem.decode(body)
    try:
        run = await engine.runs.run(item.run)
    except UnreadableError as error:
        raise BadMessage(str(error)) from error
    if run is None:
        raise BadMessage(f"there is no run {item.run}")
    if run.status is not RunStatus.OPEN:
        return
    if await engine.runs.slices(run, only_open=True, refused=tell):
        return
    if not run.publishing:
        run = await _plan_days(engine, run)
        if run.status is not RunStatus.OPEN:
            # Another orchestrator was faster, and the run has come to its end meanwhile.
            return
    waiting = await engine.runs.days(run, only_open=True, refused=tell)
    if not waiting:
        await _close(engine, run)
        return
    for task in waiting:
        await engine.send_day(DayItem(run=run.id, metric=task.metric, day=task.day))


async def known_days(
    engine: Engine, run: Run, refused: Callable[[str, date, UnreadableError], None]
) -> dict[str, dict[date, Day]]:
    """Read, per metric, what CostDays holds of the run's days; `refused` is told of those that cannot be read."""
    metrics = sorted({metric for scope in run.scopes for metric in scope.metrics})
    return {
        metric: await engine.days.days(metric, run.first, run.last, refused=partial(refused, metric))
        for metric in metrics
    }


async def _plan_days(engine: Engine, run: Run) -> Run:
    """Write a row for each day that is to be published, then mark the run as publishing."""
    tasks: list[DayTask] = []

    def refuse(metric: str, day: date, error: UnreadableError) -> None:
        tell(error)
        tasks.append(DayTask(run.id, run.seeding, metric, day, state="failed", cause=error.cause))

    for metric, days in (await known_days(engine, run, refuse)).items():
        tasks += [
            DayTask(run.id, run.seeding, metric, day) for day in await _to_publish(engine, run, metric, days)
        ]
    planned = {(task.metric, task.day) for task in await engine.runs.days(run, refused=tell)}
    try:
        await engine.runs.plan_days(task for task in tasks if (task.metric, task.day) not in planned)
        return await engine.runs.save_run(replace(run, publishing=True))
    except Conflict:
        # Another orchestrator is at it: its plan and ours are made of the same rows.
        again = await engine.runs.run(run.id)
        if again is None or not again.publishing:
            raise
        return again


async def _to_publish(engine: Engine, run: Run, metric: str, days: Mapping[date, Day]) -> list[date]:
    """Name the days that differ from their publication, or whose files are not those that it left.

    A publisher that was killed half-way leaves such files, and so does whoever deletes or edits one.
    """
    files = await lying(engine.storage.blobs, engine.settings.container, metric, run.first, run.last)
    named = []
    for day, known in days.items():
        scopes = scope_list(run, metric, known.publication)
        view = view_of(scopes, known.pointers, engine.settings.settle)
        found = published(files.get(day, {}), metric, day)
        if differs(view, scopes, known.publication) or (
            known.publication is not None and left_by(known.publication) != found
        ):
            named.append(day)
    return named


async def _close(engine: Engine, run: Run) -> None:
    unreadable: list[tuple[str, date, UnreadableError]] = []
    known = await known_days(engine, run, lambda *said: unreadable.append(said))
    await close_run(engine, run, await summarise(engine, run, known, unreadable))


async def close_run(engine: Engine, run: Run, summary: dict[str, Any]) -> None:
    """Close a run with its summary, unless it is closed already.

    Raises:
        Conflict: its row kept changing; the message comes again.
    """
    status = RunStatus(summary["status"])
    for _ in range(RACES):
        if run.status is not RunStatus.OPEN:
            return
        closed = replace(run, status=status, closed_at=engine.clock(), summary=summary)
        try:
            await engine.runs.save_run(closed)
        except Conflict:
            again = await engine.runs.run(run.id)
            if again is None:
                return
            run = again
        else:
            emit(
                RUN_CLOSED, run=run.id, status=status.value, pages=summary["pages"], rows=summary["rows_read"]
            )
            return
    raise Conflict(f"run {run.id}")
