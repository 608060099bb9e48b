"""Purging: staged pages that nothing names, and the registry of runs past the retention.

A listing of blobs is never truth: what may go is decided by the runs and the pointers. A page stays as long
as its run is open, as a day still waits to be published from it, and for seven days in any case.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from shared.days import Day
from shared.engine import Engine
from shared.events import REGISTRY_PURGED, STAGED_PAGE_REMOVED, emit
from shared.registry import pages
from shared.runs import Run, RunStatus
from shared.storage.errors import Conflict

STAGED_FOR = timedelta(days=7)


async def purge(engine: Engine) -> None:
    """Remove what is past its time."""
    now = engine.clock()
    for run in await engine.runs.runs():
        if run.status is RunStatus.OPEN or run.closed_at is None:
            continue
        if not run.cleaned and now - run.closed_at > STAGED_FOR:
            await _clean(engine, run, now)
        elif run.cleaned and now - run.closed_at > timedelta(days=engine.settings.registry_days):
            removed = await pages.purge(engine.storage.tables, f"{run.id}|")
            await engine.runs.forget(run)
            emit(REGISTRY_PURGED, run=run.id, entities=removed)


async def _clean(engine: Engine, run: Run, now: datetime) -> None:
    """Remove a closed run's staged pages, unless a day still waits to be published from one of them."""
    needed = await _needed(engine, run)
    container = engine.settings.staging_container
    for blob in await engine.storage.blobs.list(container, f"pages/{run.id}/"):
        _, _, piece, generation, _ = blob.name.split("/")
        if (piece, generation) not in needed and now - blob.last_modified > STAGED_FOR:
            await engine.storage.blobs.delete(container, blob.name)
            emit(STAGED_PAGE_REMOVED, run=run.id, blob=blob.name)
    if not needed:
        try:
            await engine.runs.save_run(replace(run, cleaned=True))
        except Conflict:
            # Another sweep did the same.
            return


async def _needed(engine: Engine, run: Run) -> set[tuple[str, str]]:
    """Name the (slice, generation) pairs of a run that a pointer names and no publication stands for."""
    needed = set()
    for metric in {metric for scope in run.scopes for metric in scope.metrics}:
        for day in (await engine.days.days(metric, run.first, run.last)).values():
            needed |= _unpublished(run, day)
    return needed


def _unpublished(run: Run, day: Day) -> set[tuple[str, str]]:
    published = day.publication
    view = {} if published is None or published.unfinished else published.view
    return {
        (pointer.reading.slice, pointer.reading.generation)
        for pointer in day.pointers
        if pointer.reading is not None and pointer.reading.run == run.id
        if view.get(pointer.key, ("", "", "", ""))[1:3] != (pointer.reading.digest, pointer.reading.shape)
    }
