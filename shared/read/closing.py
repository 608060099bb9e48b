"""Closing a generation: its sums against the provider's own totals, day by day, and what follows from it.

The verdict is stored before anything follows from it. Days that agree move their pointers to this generation,
the others are read again over the smallest range that holds them. A reading that would empty a reconciled day,
or take away more than half of it, moves nothing at all; whether it would is asked of the very pointer that a day
has, so also of one that another run moved while this one was closing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

from shared.days import Pointer, Reading
from shared.engine import Engine
from shared.events import PAGE_LOST_RACE, emit
from shared.messages import PageItem
from shared.normalise.hashing import digest_text
from shared.normalise.records import control as read_control
from shared.plan.windows import Window
from shared.read import ending, query, schema
from shared.read.answers import PageAnswer, Refused, Throttled, Transient
from shared.read.billing_period import untold_period
from shared.read.comparing import compare, left_out, repeat, variants
from shared.read.shape import shape_of
from shared.read.sources import reader_of
from shared.read.turn import charged, give_way, heed, take_turn, try_again
from shared.read.vanishing import unconfirmed, vanishes
from shared.registry import pages
from shared.registry.generations import Generation
from shared.registry.pages import DayVerdict, Page, Verdict
from shared.runs import Slice, SliceState, registry_partition
from shared.storage.errors import Conflict
from shared.together import together

CONTROL_PAGE = 5000
ROUNDS = 5
"""How often a closing decides anew because other runs moved its days meanwhile, before its message comes back."""
MOST_TOLD = 3
"""Of how many days that did not agree a slice's cause tells the totals."""

RECONCILE_CURE = (
    "the next run over these days reads them again; COST_PUBLISH_UNRECONCILED=true publishes them marked so"
)
REPEAT_CURE = "two readings must prove each other: set COST_MAX_READINGS to 2 at least"
VANISHED_CURE = (
    "if the cost is really gone, say `python -m shared run --accept-vanished --from {} --to {} --scope {}`"
)


async def close(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> None:
    """Close a generation whose last page is committed, or do again what follows from its verdict."""
    verdict = generation.verdict
    if verdict is None:
        verdict = await _decide(engine, piece, generation, item)
    if verdict is not None:
        await _apply(engine, piece, generation, verdict)


async def _decide(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> Verdict | None:
    verdict = await _prove(engine, piece, generation, item)
    if verdict is None:
        return None
    try:
        await pages.commit(engine.storage.tables, piece.partition, verdict)
    except Conflict:
        emit(PAGE_LOST_RACE, run=piece.run, slice=piece.name, page=verdict.number)
        standing = (await engine.generations.load(piece.partition)).verdict
        if standing is None:
            raise
        return standing
    return verdict


async def _prove(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> Verdict | None:
    first = generation.pages[1]
    if first.single and not piece.must_control:
        # One answer below $top without a nextLink is one execution of the query: nothing can have moved.
        days = [replace(variants(generation, day)[0], agreed=True) for day in _days(piece)]
        return _verdict(engine, generation, item, days, "single_page", first)
    if piece.awaits is not None:
        before = await engine.generations.load(registry_partition(piece.run, piece.name, piece.awaits))
        days = [repeat(before, generation, day) for day in _days(piece)]
        return _verdict(engine, generation, item, days, "repeated", generation.pages[generation.last])
    turn = await take_turn(engine, engine.gate, piece, item)
    return None if turn is None else await _control(engine, piece, generation, turn)


async def _control(engine: Engine, piece: Slice, generation: Generation, turn: PageItem) -> Verdict | None:
    """Ask for the control totals, and compare."""
    asked = query.body(piece.metric, (), piece.reading_first, piece.reading_last)
    url = query.first_url(engine.settings.arm_endpoint, piece.scope, CONTROL_PAGE)
    answer = await engine.api.post(url, asked, piece.scope)
    match answer:
        case PageAnswer():
            await heed(engine, engine.gate, piece, answer)
            return await _compare(engine, piece, generation, turn, answer)
        case Throttled(wait):
            await give_way(engine, engine.gate, piece, turn, wait)
        case Transient():
            await try_again(engine, piece, turn, answer)
        case Refused(cause, _, unserved=True) if reader_of(piece).repeats:
            await _await_repetition(engine, charged(piece, turn), generation, cause)
        case Refused(cause, cure):
            await ending.end(engine, charged(piece, turn), SliceState.FAILED, cause, cure)
    return None


async def _compare(
    engine: Engine, piece: Slice, generation: Generation, item: PageItem, answer: PageAnswer
) -> Verdict | None:
    try:
        table = schema.read(answer.body, ())
        totals = read_control(table, piece.reading_first, piece.reading_last)
    except schema.TornBodyError as error:
        await try_again(engine, piece, item, Transient("TornBody", str(error)))
        return None
    except schema.SchemaDriftError as error:
        kept = await engine.staging.quarantine(piece.partition, item.page, answer.body)
        cause = f"SchemaDrift: {error} (control totals)"
        cure = f"look at the payload, kept as {engine.settings.staging_container}/{kept}"
        await ending.end(engine, charged(piece, item), SliceState.FAILED, cause, cure)
        return None
    if table.next_link is not None:
        await try_again(engine, piece, item, Transient("ControlPaged", "the control totals came in pages"))
        return None
    days = [compare(generation, day, totals.get(day, {}), piece.tolerance) for day in _days(piece)]
    return _verdict(engine, generation, item, days, "query", answer)


async def _await_repetition(engine: Engine, piece: Slice, generation: Generation, cause: str) -> None:
    """Query gives no totals for this scope: let the next generation say the same again.

    Unless nothing tells which days the answer is of: the next one would leave out the same.
    """
    if not (reader_of(piece).asks_for_days(piece) or generation.tells_period):
        untold, cure = untold_period(
            piece.reading_first, sum(page.raw_rows for page in generation.pages.values())
        )
        await ending.end(engine, piece, SliceState.FAILED, f"ControlRefused: {cause}; {untold}", cure)
        return
    await ending.read_again(
        engine,
        piece,
        cause=f"ControlRefused: {cause}",
        cure=REPEAT_CURE,
        first=piece.reading_first,
        last=piece.reading_last,
        must_control=True,
        exhausted=SliceState.FAILED,
        awaits=piece.generation,
    )


def _verdict(
    engine: Engine,
    generation: Generation,
    item: PageItem,
    days: Sequence[DayVerdict],
    control_kind: str,
    proof: Page | PageAnswer,
) -> Verdict:
    return Verdict(
        number=generation.last + 1,
        read_at=proof.read_at,
        control_kind=control_kind,
        days=tuple(days),
        requests=item.requests,
        throttled=item.throttled,
        decided_at=engine.clock(),
        duplicates=left_out(generation, days),
    )


def _days(piece: Slice) -> tuple[date, ...]:
    return Window(piece.reading_first, piece.reading_last).days


async def _apply(engine: Engine, piece: Slice, generation: Generation, verdict: Verdict) -> None:
    """Do what follows from a verdict; where pointers change meanwhile, from those that stand by then.

    Each round begins with what is stored, as a redelivery would: both come to the same end.
    """
    readings = {day.day: _reading(piece, generation, verdict, day) for day in verdict.days}
    for _ in range(ROUNDS):
        known = await engine.days.of_scope(
            piece.metric, piece.scope_key, piece.reading_first, piece.reading_last
        )
        crossed = [
            day for day, reading in readings.items() if _crosses(engine, piece, known.get(day), reading)
        ]
        told = {day: reading for day, reading in readings.items() if day not in crossed}
        if lost := await _lost(engine, piece, known, told):
            await _vanish(engine, piece, lost)
            return
        if await _move(engine, piece, known, told):
            await _go_on(engine, piece, verdict, crossed)
            return
    raise Conflict(f"pointers of {piece.scope} from {piece.reading_first} to {piece.reading_last}")


def _crosses(engine: Engine, piece: Slice, pointer: Pointer | None, reading: Reading) -> bool:
    """Tell whether another run read the day at the same time, and otherwise: then it is read once more.

    The last reading that may be made counts by when it began. So does one in the background, that takes hours for
    days which others read all the while: where theirs began later, it has nothing to win.
    """
    if piece.reading >= engine.settings.max_readings or pointer is None or pointer.reading is None:
        return False
    if piece.background and pointer.reading.agreed and pointer.reading.since > reading.since:
        return False
    return reading.crosses(pointer.reading)


async def _lost(
    engine: Engine, piece: Slice, known: Mapping[date, Pointer], readings: Mapping[date, Reading]
) -> list[date]:
    """Name the days whose cost is gone, though nobody confirms it."""
    gone = {day: reading for day, reading in readings.items() if _vanishes(piece, known.get(day), reading)}
    return await unconfirmed(engine, piece, known, gone)


def _vanishes(piece: Slice, pointer: Pointer | None, reading: Reading) -> bool:
    return not piece.accept_vanished and reading.agreed and vanishes(pointer, reading)


async def _move(
    engine: Engine, piece: Slice, known: Mapping[date, Pointer], readings: Mapping[date, Reading]
) -> bool:
    """Move the days' pointers, and tell whether none of them stood for something else meanwhile."""
    publishes_all = piece.reading >= engine.settings.max_readings and engine.settings.publish_unreconciled

    def moves(pointer: Pointer | None, reading: Reading) -> bool:
        # What was published as reconciled is never replaced by something that is not.
        return reading.agreed or (publishes_all and not _proven(pointer))

    def gives_way(pointer: Pointer) -> bool:
        reading = readings[pointer.day]
        if _crosses(engine, piece, pointer, reading):
            return False
        # That cost is gone was confirmed of the pointer that was asked about, of no other.
        return moves(pointer, reading) and not _vanishes(piece, pointer, reading)

    return all(
        await together(
            engine.days.move(known.get(day) or ending.blank_pointer(piece, day), reading, gives_way)
            for day, reading in readings.items()
            if moves(known.get(day), reading)
        )
    )


async def _go_on(engine: Engine, piece: Slice, verdict: Verdict, crossed: Sequence[date]) -> None:
    """End the slice whose pointers have moved, or read the days again that did not agree, or were `crossed`."""
    disagreeing = {day.day: _mismatch(verdict, day) for day in verdict.days if not day.agreed}
    again = sorted({*disagreeing, *crossed})
    if not again:
        await ending.end(engine, piece, SliceState.RECONCILED, None, None)
        return
    await ending.read_again(
        engine,
        piece,
        cause=_mismatches(disagreeing) if disagreeing else _crossing(crossed),
        cure=RECONCILE_CURE,
        first=again[0],
        last=again[-1],
        must_control=True,
        exhausted=SliceState.UNRECONCILED,
        days=disagreeing,
        awaits=None if piece.awaits is None else piece.generation,
    )


async def _vanish(engine: Engine, piece: Slice, gone: list[date]) -> None:
    """Withhold the reading: days that lost their cost are `vanished`, the others keep an older reading.

    Only a day that moved to it before another run's cost turned up on the lost ones keeps what it has.
    """
    shown = ", ".join(day.isoformat() for day in gone[:5]) + (", ..." if len(gone) > 5 else "")  # noqa: PLR2004
    cause = f"Vanished: more than half of the cost is gone from {len(gone)} reconciled days ({shown})"
    cure = VANISHED_CURE.format(min(gone), max(gone), piece.scope)
    await ending.end(engine, piece, SliceState.VANISHED, cause, cure, days=dict.fromkeys(gone, cause))


def _proven(pointer: Pointer | None) -> bool:
    return pointer is not None and pointer.reading is not None and pointer.reading.agreed


def _reading(piece: Slice, generation: Generation, verdict: Verdict, day: DayVerdict) -> Reading:
    times = [page.read_at for page in generation.pages.values()]
    return Reading(
        run=piece.run,
        slice=piece.name,
        generation=piece.generation,
        digest=digest_text(day.digest),
        shape=shape_of(piece.source, piece.grouping, generation.kinds(day.day)),
        records=sum(sums.records for sums in day.sums.values()),
        totals={currency: sums.cost for currency, sums in day.sums.items()},
        absolutes={currency: sums.cost_absolute for currency, sums in day.sums.items()},
        control={currency: sums.cost for currency, sums in day.control.items()},
        control_kind=verdict.control_kind,
        agreed=day.agreed,
        read_at=max(times),
        began=min(times) if len(times) > 1 else None,
        with_repeated=day.with_repeated,
    )


def _crossing(days: Sequence[date]) -> str:
    return f"Crossed: another run read {days[0].isoformat()} at the same time, and found something else"


def _mismatch(verdict: Verdict, day: DayVerdict) -> str:
    """Name both totals of a day that did not agree."""
    ours, theirs = (
        ", ".join(f"{one.cost:f} {currency}" for currency, one in sorted(sums.items())) or "nothing"
        for sums in (day.sums, day.control)
    )
    other = "the reading before" if verdict.control_kind == "repeated" else "control"
    return f"ControlMismatch: {day.day.isoformat()} rows add up to {ours}, {other} says {theirs}"


def _mismatches(days: Mapping[date, str]) -> str:
    """Name all days that did not agree, the first of them with their totals: each day's manifest has its own."""
    told = [days[day].removeprefix("ControlMismatch: ") for day in sorted(days)[:MOST_TOLD]]
    more = [day.isoformat() for day in sorted(days)[MOST_TOLD:]]
    return f"ControlMismatch: {'; '.join(told)}" + (f"; and so do not {', '.join(more)}" if more else "")
