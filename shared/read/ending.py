"""How a slice goes on or ends: a new generation, or a state with cause and cure.

What follows from an end is sent before the message that brought it is taken off its queue, and whoever finds
a slice ended already does the same again: a worker that dies in between leaves nothing undone.
"""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial

from shared.days import Attempt, Pointer, ScopeState
from shared.engine import Engine
from shared.events import GENERATION_DISCARDED, SLICE_ENDED, emit
from shared.messages import BadMessage, PageItem, RunItem
from shared.plan.windows import Window
from shared.registry import pages
from shared.runs import Slice, SliceState, started
from shared.storage.errors import Conflict
from shared.versions import UnreadableError, tell

RACES = 10
LONGEST_PAUSE = timedelta(minutes=5)
_SCOPE_STATES = {
    SliceState.FAILED: ScopeState.FAILED,
    SliceState.VANISHED: ScopeState.VANISHED,
    SliceState.UNRECONCILED: ScopeState.UNRECONCILED,
}


def generation_id(now: datetime) -> str:
    """Name a generation so that names sort by their start."""
    return f"{now:%Y%m%dT%H%M%S%f}Z-{secrets.token_hex(3)}"


def first_page(piece: Slice) -> PageItem:
    """Give the message that starts the slice's current generation."""
    return PageItem(
        run=piece.run,
        slice=piece.name,
        generation=piece.generation,
        page=1,
        not_before=piece.not_before,
    )


def pause(engine: Engine, attempt: int) -> timedelta:
    """Give the growing pause before the next try: the base doubled each time, bounded, with jitter."""
    base = min(engine.settings.retry_delay * (1 << min(attempt, 10)), LONGEST_PAUSE)
    return base * (1 + engine.jitter.randrange(0, 251) / 1000)


async def read_again(  # noqa: PLR0913 - what the next reading needs
    engine: Engine,
    piece: Slice,
    *,
    cause: str,
    cure: str,
    first: date,
    last: date,
    must_control: bool,
    exhausted: SliceState,
    days: Mapping[date, str] | None = None,
    awaits: str | None = None,
) -> None:
    """Start another generation over `first` to `last`; the slice's own is thrown away, unless it is to be repeated.

    Where the next one must repeat a complete one (`awaits`), it asks for smaller pages: an overlap would come
    elsewhere. After `COST_MAX_READINGS` generations the slice ends as `exhausted` (see `end`). Where another
    worker has changed the slice meanwhile, what it made of it counts.
    """
    if piece.reading >= engine.settings.max_readings:
        await end(engine, piece, exhausted, cause, cure, days)
        return
    now = engine.clock()
    # The first of two that must agree is not thrown away: it is the proof of the second.
    discards = awaits is None or piece.awaits is not None
    # A generation's name must sort after its predecessor's, whichever worker's clock is behind.
    name = generation_id(max(now, started(piece.generation) + timedelta(microseconds=1)))
    following = replace(
        piece,
        generation=name,
        reading=piece.reading + 1,
        reading_first=first,
        reading_last=last,
        must_control=must_control,
        awaits=awaits or piece.awaits,
        page_size=piece.page_size if awaits is None else smaller(piece.page_size),
        not_before=now + pause(engine, piece.reading - 1),
        discarded=piece.discarded + discards,
    )
    if not await _save(engine, following, piece.generation):
        return
    if discards:
        emit(GENERATION_DISCARDED, run=piece.run, slice=piece.name, generation=piece.generation, cause=cause)
    await engine.send_page(first_page(following))


def smaller(page_size: int) -> int:
    """Give a page size whose page borders lie elsewhere."""
    return max(1, page_size - max(1, page_size // 10))


async def end(
    engine: Engine,
    piece: Slice,
    state: SliceState,
    cause: str | None,
    cure: str | None,
    days: Mapping[date, str] | None = None,
) -> None:
    """End a slice and, if it was the run's last open one, say so to the orchestrator.

    A slice that ends without counting is noted at its days first: its run must not close before the days know.
    `days` are those that the state is about, each with its own cause, all of the reading where they are not given.
    """
    if state is not SliceState.RECONCILED:
        if await _still_open(engine, piece, piece.generation) is None:
            # Another worker brought it to its end: what failed here says nothing about its days.
            await take_up(engine, piece.run, piece.name)
            return
        await _note_days(engine, piece, state, cause or "", days)
    ended = replace(piece, state=state, cause=cause, cure=cure and _for_its_run(piece, cure))
    if not await _save(engine, ended, piece.generation):
        return
    emit(
        SLICE_ENDED,
        run=piece.run,
        slice=piece.name,
        scope=piece.scope,
        metric=piece.metric,
        state=state.value,
        cause=cause,
    )
    await follow_up(engine, piece.run, piece.seeding)


def _for_its_run(piece: Slice, cure: str) -> str:
    """Give the cure: the days of a backfill are seldom among those that the timer reads by itself."""
    if not piece.background:
        return cure
    return (
        f"{cure}; to ask for them again: `python -m shared backfill --from {piece.first} --to {piece.last}`"
    )


async def _save(engine: Engine, following: Slice, generation: str) -> bool:
    """Write what becomes of an open slice, and tell whether it was ours to say.

    A change that leaves the slice open in the same generation (a restart, a long wait) does not stand against it:
    giving way to it would leave nobody to go on. Any other does, and is taken up.
    """
    for _ in range(RACES):
        try:
            await engine.runs.save_slice(following)
        except Conflict:
            standing = await _still_open(engine, following, generation)
            if standing is None:
                await take_up(engine, following.run, following.name)
                return False
            following = replace(following, etag=standing.etag)
        else:
            return True
    raise Conflict(f"slice {following.name} of {following.run}")


async def _still_open(engine: Engine, piece: Slice, generation: str) -> Slice | None:
    """Read a slice as it stands, None where it has ended or gone on to another generation."""
    standing = await engine.runs.slice(piece.run, piece.name)
    if standing is None or (standing.state, standing.generation) != (SliceState.OPEN, generation):
        return None
    return standing


async def take_up(engine: Engine, run: str, name: str) -> None:
    """Do again what must follow from what a slice's row says: its end's news, or its generation's first page."""
    piece = await engine.runs.slice(run, name)
    if piece is None:
        raise BadMessage(f"there is no slice {name} of a run {run}")
    if piece.state is not SliceState.OPEN:
        await follow_up(engine, run, piece.seeding)
    elif not await pages.any_entry(engine.storage.tables, piece.partition):
        await engine.send_page(first_page(piece))


async def _note_days(
    engine: Engine, piece: Slice, state: SliceState, cause: str, days: Mapping[date, str] | None
) -> None:
    """Note a slice's end at its days.

    A day that has moved to this very reading did not fail: another worker of the same message was faster. Of a
    reading that vanished, the other days were withheld with those that lost their cost: they failed, unless they had
    moved to it before the cost was known that it lost. Of one that did not agree, the other days agreed and moved
    their pointers: nothing is noted at them.
    """
    first, last = piece.reading_first, piece.reading_last
    unreadable: dict[date, UnreadableError] = {}
    known = await engine.days.of_scope(
        piece.metric, piece.scope_key, first, last, refused=unreadable.__setitem__
    )
    now = engine.api.service_now()
    for day in Window(first, last).days:
        if day in unreadable:
            # It is not written over; the run that closes names it.
            tell(unreadable[day])
            continue
        pointer = known.get(day) or blank_pointer(piece, day)
        told, why = _SCOPE_STATES[state], cause
        if days is not None and day in days:
            why = days[day]
        elif days is not None:
            if state is not SliceState.VANISHED:
                continue
            told = ScopeState.FAILED
        stands = partial(_moved_to, piece) if told is ScopeState.FAILED else _never
        await engine.days.note(pointer, Attempt(piece.run, told, why, now), stands)


def _never(_: Pointer) -> bool:
    return False


def _moved_to(piece: Slice, pointer: Pointer) -> bool:
    return pointer.reading is not None and pointer.reading.generation == piece.generation


def blank_pointer(piece: Slice, day: date) -> Pointer:
    """Give the pointer of a scope's day that nobody has read yet."""
    return Pointer(piece.metric, day, piece.scope, piece.scope_key)


async def follow_up(engine: Engine, run: str, seeding: str) -> None:
    """Wake the orchestrator if no slice and no day of the run is open any more."""
    if not await engine.runs.any_open(run, seeding):
        await engine.send_run(RunItem(run=run))
