"""Purging: what nothing names any more, and the registry of runs past the retention.

A listing of blobs is never truth: what may go is decided by the runs, the pointers and the publications. A page
stays as long as its run is open, as a day still waits to be published from it, or is not as its publication left it,
and for seven days in any case. What bears the name of a run that is forgotten (a worker was slow to write it) goes
when it is as old.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta

from shared.days import Day
from shared.engine import Engine
from shared.events import REGISTRY_PURGED, STAGED_PAGE_REMOVED, STEP_FAILED, emit
from shared.ledger import hold
from shared.ledger.files import lying, published
from shared.ledger.standing import left_by
from shared.registry import pages
from shared.runs import Run, RunStatus
from shared.storage.errors import Conflict, StorageError
from shared.versions import UnreadableError, tell

STAGED_FOR = timedelta(days=7)


async def purge(engine: Engine) -> None:
    """Remove what is past its time."""
    now = engine.clock()
    blobs, container = engine.storage.blobs, engine.settings.staging_container
    kept_for = {"pages/": STAGED_FOR, "quarantine/": timedelta(days=engine.settings.registry_days)}
    # Listed before the runs are: one that begins in between is not taken for unknown.
    found = {folder: await blobs.folders(container, folder) for folder in kept_for}
    names = await engine.runs.names()
    for folder, span in kept_for.items():
        for name in sorted(set(found[folder]) - names):
            await _or_told(_remove(engine, f"{folder}{name}/", now - span), name)
    for run in await engine.runs.runs(refused=tell):
        await _or_told(_purge_run(engine, run, now), run.id)
    await _purge_aside(engine, now - STAGED_FOR)


async def _or_told(step: Awaitable[None], run: str) -> None:
    """Purge what is of one run, or one blob; what resists (a blob that may not be deleted) harms no other."""
    try:
        await step
    except UnreadableError as error:
        # Nobody knows what the day needs, so all of the run stays.
        tell(error)
    except StorageError as error:
        emit(STEP_FAILED, run=run, cause=f"{type(error).__name__}: {error}")


async def _purge_run(engine: Engine, run: Run, now: datetime) -> None:
    if run.status is RunStatus.OPEN or run.closed_at is None:
        return
    if not run.cleaned and now - run.closed_at > STAGED_FOR:
        await _clean(engine, run, now)
    elif run.cleaned and now - run.closed_at > timedelta(days=engine.settings.registry_days):
        at_last = now - run.closed_at > 2 * timedelta(days=engine.settings.registry_days)
        if not at_last and await _needed(engine, run):
            # What was published of it is not what lies there any more: who looks into that finds the run's rows.
            return
        removed = await pages.purge(engine.storage.tables, f"{run.id}|")
        await engine.runs.forget(run)
        emit(REGISTRY_PURGED, run=run.id, entities=removed)


async def _clean(engine: Engine, run: Run, now: datetime) -> None:
    """Remove a closed run's staged pages, unless a day still waits to be published from one of them."""
    needed = await _needed(engine, run)
    await _remove(engine, f"pages/{run.id}/", now - STAGED_FOR, needed)
    if not needed:
        try:
            await engine.runs.save_run(replace(run, cleaned=True))
        except Conflict:
            # Another sweep did the same.
            return


async def _purge_aside(engine: Engine, before: datetime) -> None:
    """Remove what publishers put aside and no publication names any more: the publisher died, or its removal did."""
    container = engine.settings.staging_container
    for blob in await engine.storage.blobs.list(container, hold.FOLDER):
        if blob.last_modified < before:
            await _or_told(_remove_aside(engine, container, blob.name), blob.name)


async def _remove_aside(engine: Engine, container: str, name: str) -> None:
    metric_and_day = hold.day_of(name)
    publication = None if metric_and_day is None else await engine.days.publication(*metric_and_day)
    if metric_and_day is not None and (publication is None or publication.aside != name):
        await engine.storage.blobs.delete(container, name)


async def _remove(
    engine: Engine, prefix: str, before: datetime, needed: Collection[tuple[str, str]] = ()
) -> None:
    """Remove the blobs of a run that were written before a time and are of no (slice, generation) needed."""
    container = engine.settings.staging_container
    for blob in await engine.storage.blobs.list(container, prefix):
        piece, _, rest = blob.name.removeprefix(prefix).partition("/")
        if (piece, rest.partition("/")[0]) in needed or blob.last_modified >= before:
            continue
        if await engine.storage.blobs.delete(container, blob.name):
            emit(STAGED_PAGE_REMOVED, blob=blob.name)


async def _needed(engine: Engine, run: Run) -> set[tuple[str, str]]:
    """Name the (slice, generation) pairs of a run that a pointer names and no publication stands for.

    Raises:
        UnreadableError: a day cannot be read, so nobody knows what it needs.
    """
    needed = set()
    blobs, container = engine.storage.blobs, engine.settings.container
    for metric in sorted({metric for scope in run.scopes for metric in scope.metrics}):
        days = await engine.days.days(metric, run.first, run.last)
        files = await lying(blobs, container, metric, run.first, run.last)
        found = {day: published(files.get(day, {}), metric, day) for day in days}
        needed |= _unpublished(run, days, found)
    return needed


def _unpublished(
    run: Run, days: Mapping[date, Day], found: Mapping[date, Mapping[str, str]]
) -> set[tuple[str, str]]:
    """Name what is needed of a run, where `found` are the days' files: a publication stands only for its own."""
    needed = set()
    for name, day in days.items():
        publication = day.publication
        stands = (
            publication is not None and not publication.unfinished and left_by(publication) == found[name]
        )
        view = publication.view if publication is not None and stands else {}
        needed |= {
            (pointer.reading.slice, pointer.reading.generation)
            for pointer in day.pointers
            if pointer.reading is not None and pointer.reading.run == run.id
            if view.get(pointer.key, ("", "", "", ""))[1:3] != (pointer.reading.digest, pointer.reading.shape)
        }
    return needed
