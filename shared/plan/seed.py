"""Seeding: from an order (a timer tick, a backfill, a command) to a run, its slices and their first messages.

All slice rows are written first, then the run's row with their number: only now the run exists. Then the
messages are sent, spread over time. A seeding that dies before the run's row leaves slices that nothing names;
one that dies after it is finished by whoever finds it, since a first page's message may be sent twice.
"""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from shared.engine import Engine
from shared.events import RUN_SEEDED, SEEDING_FINISHED, emit
from shared.plan.schedule import REQUESTS_OF_A_SLICE, last_tick, next_tick, run_id_of
from shared.plan.sizes import longest_windows
from shared.plan.windows import Window, lookback, windows
from shared.progress import last_progress
from shared.quota.limits import Limit, slowest, spare
from shared.read.ending import first_page, follow_up, generation_id
from shared.read.sources import page_size
from shared.runs import BACKFILL, ListedScope, Run, Slice, SliceState, slice_name
from shared.scopes import Scope
from shared.settings import ScopeSettings
from shared.storage.errors import Conflict
from shared.together import together
from shared.versions import UnreadableError, tell

TIMER = "timer"
SENT_AT_ONCE = 16
"""Messages that are sent side by side: a request over 37 months of 1,000 scopes is answered when all are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a run is asked to read. Without `only` it covers every scope of the settings (a full run)."""

    run: str
    kind: str
    first: date
    last: date
    only: tuple[Scope, ...] | None = None
    accept_vanished: bool = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    settings: ScopeSettings
    metric: str
    window: Window


async def seed_timer(engine: Engine) -> Run:
    """Seed the run of the tick that just fired: the look-back, less what an open run is still reading.

    The run is named after the schedule's last time, so a tick that fires twice makes one run.
    """
    now = engine.clock()
    schedule = engine.settings.seed_schedule
    first, last = lookback(now.date(), engine.settings.lookback_days)
    order = Order(run=run_id_of(last_tick(schedule, now)), kind=TIMER, first=first, last=last)
    known = await engine.runs.run(order.run)
    if known is not None:
        return await finish_seeding(engine, known)
    wanted = await _not_under_way(engine, await _wanted(engine, order), now)
    most = clears(engine.settings.quota_tenant, next_tick(schedule, now) - now) // REQUESTS_OF_A_SLICE
    if len(wanted) > most:
        wanted = await _oldest_first(engine, wanted, order, most)
    return await _seed(engine, order, wanted)


async def seed(engine: Engine, order: Order) -> Run:
    """Seed a run that skips nothing and waits for nobody: a later reading wins, so both may go on."""
    return await _seed(engine, order, await _wanted(engine, order))


def new_run_id(kind: str, now: datetime) -> str:
    """Name a run that no timer asked for; names sort by their start."""
    return f"{now:%Y%m%dT%H%M%SZ}-{kind}-{secrets.token_hex(3)}"


async def finish_seeding(engine: Engine, run: Run) -> Run:
    """Send the first messages of a run whose seeding did not come to its end; else do nothing."""
    if run.seeded:
        return run
    pieces = await engine.runs.slices(run, only_open=True, refused=tell)
    run = await _send(engine, run, pieces)
    emit(SEEDING_FINISHED, run=run.id, slices=len(pieces))
    return run


async def _seed(engine: Engine, order: Order, wanted: list[_Wanted]) -> Run:
    now = engine.clock()
    seeding = secrets.token_hex(4)
    pieces = [_slice(engine, order, seeding, number, item, now) for number, item in enumerate(wanted)]
    await engine.runs.plan(pieces)
    run = Run(
        id=order.run,
        kind=order.kind,
        first=order.first,
        last=order.last,
        full=order.only is None,
        seeding=seeding,
        planned=len(pieces),
        scopes=listed(engine.settings.scopes),
        created_at=now,
        accept_vanished=order.accept_vanished,
    )
    try:
        run = await engine.runs.open(run)
    except Conflict:
        # The same tick was seeded elsewhere, or this very insert was retried: the run that stands counts.
        standing = await engine.runs.run(order.run)
        if standing is None:
            raise
        return await finish_seeding(engine, standing)
    emit(RUN_SEEDED, run=run.id, kind=run.kind, slices=len(pieces))
    return await _send(engine, run, pieces)


async def _send(engine: Engine, run: Run, pieces: Collection[Slice]) -> Run:
    unsent = list(pieces)
    while unsent:
        some, unsent = unsent[:SENT_AT_ONCE], unsent[SENT_AT_ONCE:]
        await together(engine.send_page(first_page(piece)) for piece in some)
    if not pieces:
        await follow_up(engine, run.id, run.seeding)
    try:
        return await engine.runs.save_run(replace(run, seeded=True))
    except Conflict:
        # The run went on meanwhile: its row says more than ours. Sending twice harms nothing.
        return await engine.runs.run(run.id) or run


def listed(scopes: Collection[ScopeSettings]) -> tuple[ListedScope, ...]:
    """Give the settings' scopes as a run's row keeps them."""
    return tuple(
        ListedScope(
            path=item.scope.path,
            key=item.scope.key,
            source=item.source.value,
            grouping=item.grouping,
            metrics=item.metrics,
        )
        for item in scopes
    )


def clears(limits: Collection[Limit], span: timedelta) -> int:
    """Tell how many requests the limits let through in a span of time, at least one."""
    return max(1, min(limit.count * int(span / limit.per) or limit.count for limit in limits))


async def _wanted(engine: Engine, order: Order) -> list[_Wanted]:
    only = None if order.only is None else {scope.key for scope in order.only}
    asked = [item for item in engine.settings.scopes if only is None or item.scope.key in only]
    most = engine.settings.window_days
    longest = await longest_windows(engine, asked, engine.clock().date())
    wanted = [
        _Wanted(item, metric, window)
        for item in asked
        for metric in item.metrics
        for window in windows(order.first, order.last, min(most, longest.get((metric, item.scope.key), most)))
    ]
    # Fresh days first: the windows of the latest month stand before those of the month before.
    return sorted(wanted, key=lambda item: item.window.last, reverse=True)


def _slice(engine: Engine, order: Order, seeding: str, number: int, item: _Wanted, now: datetime) -> Slice:
    return Slice(
        run=order.run,
        name=slice_name(seeding, number),
        seeding=seeding,
        scope=item.settings.scope.path,
        scope_key=item.settings.scope.key,
        metric=item.metric,
        source=item.settings.source.value,
        grouping=item.settings.grouping,
        first=item.window.first,
        last=item.window.last,
        page_size=page_size(item.settings.source, engine.settings.page_size),
        period=item.settings.period,
        tolerance=engine.settings.control_tolerance,
        accept_vanished=order.accept_vanished,
        background=order.kind == BACKFILL,
        not_before=_spread(engine, order, number, now),
        generation=generation_id(now),
        reading=1,
        reading_first=item.window.first,
        reading_last=item.window.last,
    )


def _spread(engine: Engine, order: Order, number: int, now: datetime) -> datetime | None:
    """Say when a run's `number`-th slice begins: those that come too early would only be sent back by the gate.

    A run's slices come as the first limit lets them through; those of a backfill as all that is spare is cleared.
    """
    limits = engine.settings.quota_tenant
    if order.kind == BACKFILL:
        each = slowest(spare(limits)) * REQUESTS_OF_A_SLICE
        return now + number * each if number else None
    return now + (number // limits[0].count) * limits[0].per if number >= limits[0].count else None


async def _not_under_way(engine: Engine, wanted: list[_Wanted], now: datetime) -> list[_Wanted]:
    """Leave out what another open run is reading right now: reading it twice would only cost quota."""
    busy: set[tuple[str, str, date, date]] = set()
    for run in await engine.runs.runs(only_open=True, refused=tell):
        for piece in await engine.runs.slices(run, only_open=True, refused=tell):
            # What goes on in the background comes whenever there is nothing else to do.
            if not piece.background and await _is_read(engine, piece, now):
                busy.add((piece.scope_key, piece.metric, piece.first, piece.last))
    return [
        item
        for item in wanted
        if (item.settings.scope.key, item.metric, item.window.first, item.window.last) not in busy
    ]


async def _is_read(engine: Engine, piece: Slice, now: datetime) -> bool:
    """Tell whether somebody is reading an open slice right now."""
    try:
        progress = await last_progress(engine, piece)
    except UnreadableError as error:
        # Its gate cannot be read: whoever works the slice ends it for that.
        tell(error)
        return False
    return piece.state is SliceState.OPEN and now - progress < engine.settings.stall


async def _oldest_first(engine: Engine, wanted: list[_Wanted], order: Order, most: int) -> list[_Wanted]:
    """Keep as many slices as the quota clears, those whose days were read longest ago."""
    # A failed attempt counts as well: a scope that always fails must not starve the others.
    read: Mapping[tuple[str, str, date], datetime] = {
        (pointer.metric, pointer.key, day): max(times)
        for metric in sorted({item.metric for item in wanted})
        for day, known in (
            await engine.days.days(metric, order.first, order.last, refused=lambda _, error: tell(error))
        ).items()
        for pointer in known.pointers
        if (
            times := [
                *([pointer.reading.read_at] if pointer.reading is not None else []),
                *([pointer.attempt.at] if pointer.attempt is not None else []),
            ]
        )
    }
    never = datetime.min.replace(tzinfo=engine.clock().tzinfo)

    def oldest(item: _Wanted) -> datetime:
        keys = ((item.metric, item.settings.scope.key, day) for day in item.window.days)
        return min(read.get(key, never) for key in keys)

    return sorted(wanted, key=oldest)[:most]
