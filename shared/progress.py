"""When a slice or run last made progress, as its rows tell: what has made none for too long has stalled."""

from datetime import datetime

from shared.engine import Engine
from shared.read.sources import reader_of
from shared.registry.pages import any_since, last_written
from shared.runs import Run, Slice, started
from shared.versions import tell


async def last_progress(engine: Engine, piece: Slice) -> datetime:
    """Give the latest of: the slice's own change, its last committed page, and the time it waits for.

    Waiting for a place at the quota gate, or for a pause between two readings, is progress. Who gives way to others
    says so on the slice's row.
    """
    # A page waits at its source's gate, the closing at that of Query: for most scopes they are one.
    gates = dict.fromkeys((engine.gate, reader_of(piece).gate(engine, piece)))
    times = [
        piece.touched_at,
        piece.not_before,
        await last_written(engine.storage.tables, piece.partition),
        *[await gate.waits_until(piece.scope_key) for gate in gates],
    ]
    return max(time for time in times if time is not None)


async def last_page(engine: Engine, piece: Slice) -> datetime:
    """Give when the current generation last got a page, or was started: no wait counts here."""
    begun = started(piece.generation)
    return max(begun, await last_written(engine.storage.tables, piece.partition) or begun)


async def went_on(engine: Engine, run: Run, since: datetime) -> bool:
    """Tell whether any slice of a run got a page or a verdict, or any day of it was published, since a time."""
    if await any_since(engine.storage.tables, f"{run.id}|", since):
        return True
    days = await engine.runs.days(run, refused=tell)
    # Whatever else is written to a row (a restart, a failure) may be the sweep's own doing.
    return any(
        task.state == "published" and task.touched_at is not None and task.touched_at >= since
        for task in days
    )
