"""When a slice last made progress, as its rows tell: what has made none for too long has stalled."""

from datetime import datetime

from shared.engine import Engine
from shared.read.sources import reader_of
from shared.registry.pages import last_written
from shared.runs import Slice, started


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
