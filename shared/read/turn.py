"""Waiting for one's turn: all of it is a message put back on the queue, hidden until its time.

Sleeping in a function costs money and raising burns one of the message's dequeue counts, so neither is done
for a throttle. A place that was taken is kept: whoever wakes looks only whether a 429 has moved the gate since.
"""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec.structs

from shared.engine import Engine
from shared.events import RETRIED, THROTTLED, emit
from shared.messages import PageItem
from shared.quota.gate import QuotaGate, Turn
from shared.read import ending
from shared.read.answers import PageAnswer, Transient
from shared.registry.pages import Page
from shared.runs import Slice, SliceState
from shared.storage.errors import Conflict

SHORTEST_PARKING = timedelta(seconds=15)
LONGEST_PARKING = timedelta(minutes=15)
"""Over how long those who gave way are spread before they ask again: well below the stall's least default."""


async def take_turn(engine: Engine, gate: QuotaGate, piece: Slice, item: PageItem) -> PageItem | None:
    """Give the item with its request counted if it is its turn at the gate; else put it back and give None."""
    now = engine.clock()
    if item.place is None:
        if item.not_before is not None and item.not_before > now:
            await engine.send_page(item)
            return None
        turn = await _place(engine, gate, piece, item, now)
        if turn is None:
            return None
        due = turn.place
    else:
        turn = Turn(item.place, item.shifts)
        due = await gate.due(piece.scope_key, turn)
    if due > now:
        await engine.send_page(_holding(item, turn, due))
        return None
    return msgspec.structs.replace(item, requests=item.requests + 1)


async def _place(engine: Engine, gate: QuotaGate, piece: Slice, item: PageItem, now: datetime) -> Turn | None:
    """Take a place at the gate. In the background only one that nobody else wants, or look again later."""
    if not piece.background:
        return await gate.take(piece.scope_key, now)
    found = await gate.take_spare(piece.scope_key, now)
    if isinstance(found, Turn):
        return found
    # All that were parked would wake at once: the longer it goes on, the further they are spread.
    spread = min(SHORTEST_PARKING * (1 << min(item.parked, 10)), LONGEST_PARKING)
    until = found + spread * engine.jitter.randrange(0, 1001) / 1000
    await _say_that_it_waits(engine, piece, until)
    await engine.send_page(msgspec.structs.replace(item, parked=item.parked + 1, not_before=until))
    return None


def charged(piece: Slice, item: PageItem | Page) -> Slice:
    """Give the slice with what this item cost: for items that end in no committed page, which would count it."""
    return replace(piece, requests=piece.requests + item.requests, throttled=piece.throttled + item.throttled)


async def give_way(engine: Engine, gate: QuotaGate, piece: Slice, item: PageItem, wait: timedelta) -> None:
    """After a 429: move the gate for everyone, take a place behind the pause, and put the message back."""
    now = engine.clock()
    emit(
        THROTTLED, run=piece.run, slice=piece.name, page=item.page, wait_ms=wait // timedelta(milliseconds=1)
    )
    jitter = wait * engine.jitter.randrange(0, 101) / 1000
    await gate.pause(piece.scope_key, now, wait + jitter)
    turn = await gate.take(piece.scope_key, now)
    await engine.send_page(
        _holding(msgspec.structs.replace(item, throttled=item.throttled + 1), turn, turn.place)
    )


async def heed(engine: Engine, gate: QuotaGate, piece: Slice, answer: PageAnswer) -> None:
    """Let everyone know what an answer says of the quota, where the gate does not know it."""
    # Others were first, many times: they learn it from their own answers.
    with suppress(Conflict):
        await gate.learn(piece.scope_key, engine.clock(), answer.used)


async def try_again(engine: Engine, piece: Slice, item: PageItem, answer: Transient) -> None:
    """After a stumble of the service: put the message back with a growing delay, or end the slice."""
    attempt = item.attempt + 1
    said = f"{answer.cause}: {answer.detail}"
    if attempt >= engine.settings.max_attempts:
        cure = f"the service failed {attempt} times in a row; the next run over these days reads them again"
        await ending.end(engine, charged(piece, item), SliceState.FAILED, said, cure)
        return
    wait = max(ending.pause(engine, item.attempt), answer.wait or timedelta())
    emit(RETRIED, run=piece.run, slice=piece.name, page=item.page, attempt=attempt, cause=said)
    until = engine.clock() + wait
    await _say_that_it_waits(engine, piece, until)
    await engine.send_page(msgspec.structs.replace(item, attempt=attempt, place=None, not_before=until))


async def _say_that_it_waits(engine: Engine, piece: Slice, until: datetime) -> None:
    """Write down on the slice's row, which tells of its progress, that its message is put off until then.

    Not each time: as long as the row was touched lately, nobody takes the wait for a stall. A message that is there
    has survived its restarts: they are counted anew, else every outage of the workers would be held against it.
    """
    if piece.touched_at is not None and until - piece.touched_at < engine.settings.stall / 2:
        return
    # Who changed the slice meanwhile knows more.
    with suppress(Conflict):
        await engine.runs.save_slice(replace(piece, not_before=until, restarts=0))


def _holding(item: PageItem, turn: Turn, due: datetime) -> PageItem:
    return msgspec.structs.replace(item, place=turn.place, shifts=turn.shifts, not_before=due)
