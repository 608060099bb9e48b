"""Closing a generation: its sums against the provider's own totals, day by day, and what follows from it.

The verdict is stored before anything follows from it. Days that agree move their pointers to this generation,
the others are read again over the smallest range that holds them. A reading that would empty a reconciled day,
or take away more than half of it, moves nothing at all.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal

from shared.days import Pointer, Reading
from shared.engine import Engine
from shared.events import PAGE_LOST_RACE, emit
from shared.messages import PageItem
from shared.normalise.exact import minus, plus, times
from shared.normalise.hashing import add_digests, digest_text
from shared.normalise.records import control as read_control
from shared.plan.windows import Window
from shared.read import ending, query, schema
from shared.read.answers import PageAnswer, Refused, Throttled, Transient
from shared.read.shape import shape_of
from shared.read.turn import charged, give_way, take_turn, try_again
from shared.registry import pages
from shared.registry.generations import Generation
from shared.registry.pages import DaySums, DayVerdict, Page, Sums, Verdict
from shared.runs import Slice, SliceState
from shared.storage.errors import Conflict

FLOOR = Decimal("1e-9")
"""What sums and control may differ by in any case: the service adds doubles."""

CONTROL_PAGE = 5000
RECONCILE_CURE = (
    "the next run reads these days again; COST_PUBLISH_UNRECONCILED=true publishes them marked so"
)
VANISHED_CURE = "if the cost is really gone, say `python -m shared run --accept-vanished` for this scope"


async def close(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> None:
    """Close a generation whose last page is committed, or do again what follows from its verdict."""
    verdict = generation.verdict
    if verdict is None:
        verdict = await _decide(engine, piece, generation, item)
    if verdict is not None:
        await _apply(engine, piece, verdict)


async def _decide(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> Verdict | None:
    first = generation.pages[1]
    if first.single and not piece.must_control:
        # One answer below $top without a nextLink is one execution of the query: nothing can have moved.
        verdict = _verdict(engine, piece, generation, item, None, first)
    else:
        turn = await take_turn(engine, engine.gate, piece, item)
        if turn is None:
            return None
        asked = query.body(piece.metric, (), piece.reading_first, piece.reading_last)
        url = query.first_url(engine.settings.arm_endpoint, piece.scope, CONTROL_PAGE)
        answer = await engine.api.post(url, asked, piece.scope)
        match answer:
            case Throttled(wait):
                await give_way(engine, engine.gate, piece, turn, wait)
                return None
            case Transient():
                await try_again(engine, piece, turn, answer)
                return None
            case Refused(cause, cure):
                await ending.end(engine, charged(piece, turn), SliceState.FAILED, cause, cure)
                return None
            case PageAnswer():
                decided = await _compare(engine, piece, generation, turn, answer)
                if decided is None:
                    return None
                verdict = decided
    try:
        await pages.commit(engine.storage.tables, piece.partition, verdict)
    except Conflict:
        emit(PAGE_LOST_RACE, run=piece.run, slice=piece.name, page=verdict.number)
        standing = (await engine.generations.load(piece.partition)).verdict
        if standing is None:
            raise
        return standing
    return verdict


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
    return _verdict(engine, piece, generation, item, totals, answer)


def _verdict(
    engine: Engine,
    piece: Slice,
    generation: Generation,
    item: PageItem,
    control: DaySums | None,
    proof: Page | PageAnswer,
) -> Verdict:
    days = []
    for day in Window(piece.reading_first, piece.reading_last).days:
        if control is None:
            days.append(replace(variants(generation, day)[0], agreed=True))
        else:
            days.append(compare(generation, day, control.get(day, {}), piece.tolerance))
    return Verdict(
        number=generation.last + 1,
        read_at=proof.read_at,
        control_kind="single_page" if control is None else "query",
        days=tuple(days),
        requests=item.requests,
        throttled=item.throttled,
        decided_at=engine.clock(),
        duplicates=left_out(generation, days),
    )


def compare(generation: Generation, day: date, control: Mapping[str, Sums], tolerance: Decimal) -> DayVerdict:
    """Say which of a generation's variants of a day the control confirms, if any.

    Every record should be considered unique: what came twice counts twice unless the control says otherwise.
    """
    without, with_repeated = variants(generation, day)
    for told in (with_repeated, without):
        if agrees(told.sums, control, tolerance):
            return replace(told, agreed=True, control=control)
    return replace(with_repeated, control=control)


def variants(generation: Generation, day: date) -> tuple[DayVerdict, DayVerdict]:
    """Give what a generation says of a day without the rows that came on an earlier page too, and with them.

    Where none did, both are the same.
    """
    pages_of_day = [generation.pages[number] for number in sorted(generation.pages)]
    fresh = _added(page.sums.get(day, {}) for page in pages_of_day)
    digest = add_digests(*(page.digests.get(day, 0) for page in pages_of_day))
    without = DayVerdict(day, agreed=False, digest=digest, sums=fresh)
    repeated = [page.repeated for page in pages_of_day if day in page.repeated.digests]
    if not repeated:
        return without, without
    return without, DayVerdict(
        day,
        agreed=False,
        digest=add_digests(digest, *(part.digests[day] for part in repeated)),
        sums=_added([fresh, *(part.sums[day] for part in repeated)]),
        with_repeated=True,
    )


def left_out(generation: Generation, days: Iterable[DayVerdict]) -> int:
    """Count the rows that came twice on the days that take them once."""
    once = {day.day for day in days if not day.with_repeated}
    return sum(
        line.records
        for page in generation.pages.values()
        for day, currencies in page.repeated.sums.items()
        if day in once
        for line in currencies.values()
    )


def agrees(said: Mapping[str, Sums], control: Mapping[str, Sums], tolerance: Decimal) -> bool:
    """Tell whether a day's sums are the provider's totals in every currency, cost and quantity both.

    The quantity finds what the cost cannot: a row without cost that was lost.
    """
    for currency in said.keys() | control.keys():
        ours, theirs = said.get(currency, Sums()), control.get(currency, Sums())
        if not _near(ours.cost, theirs.cost, ours.cost_absolute, tolerance):
            return False
        if not _near(ours.quantity, theirs.quantity, ours.quantity_absolute, tolerance):
            return False
    return True


def _near(ours: Decimal, theirs: Decimal, absolute: Decimal, tolerance: Decimal) -> bool:
    return abs(minus(ours, theirs)) <= plus(times(tolerance, absolute), FLOOR)


async def _apply(engine: Engine, piece: Slice, verdict: Verdict) -> None:
    known = await engine.days.of_scope(piece.metric, piece.scope_key, piece.reading_first, piece.reading_last)
    readings = {day.day: _reading(piece, verdict, day) for day in verdict.days}
    gone = [day for day, reading in readings.items() if reading.agreed and vanishes(known.get(day), reading)]
    if gone and not piece.accept_vanished:
        await _vanish(engine, piece, gone)
        return
    wanted = [day for day, reading in readings.items() if reading.agreed]
    disagreeing = [day for day in readings if day not in set(wanted)]
    last_reading = piece.reading >= engine.settings.max_readings
    if disagreeing and last_reading and engine.settings.publish_unreconciled:
        # What was published as reconciled is never replaced by something that is not.
        wanted += [day for day in disagreeing if not _proven(known.get(day))]
    moves = (
        engine.days.move(known.get(day) or ending.blank_pointer(piece, day), readings[day]) for day in wanted
    )
    # All come to their end; then the first error is raised as it is, not in a group that hides its name.
    for end in await asyncio.gather(*moves, return_exceptions=True):
        if end is not None:
            raise end
    if not disagreeing:
        await ending.end(engine, piece, SliceState.RECONCILED, None, None)
        return
    await ending.read_again(
        engine,
        piece,
        cause=_mismatch(verdict, disagreeing),
        cure=RECONCILE_CURE,
        first=min(disagreeing),
        last=max(disagreeing),
        must_control=True,
        exhausted=SliceState.UNRECONCILED,
        days=disagreeing,
    )


async def _vanish(engine: Engine, piece: Slice, gone: list[date]) -> None:
    """Withhold the whole reading: days that lost their cost are `vanished`, the others keep an older reading."""
    shown = ", ".join(day.isoformat() for day in gone[:5]) + (", ..." if len(gone) > 5 else "")  # noqa: PLR2004
    cause = f"Vanished: more than half of the cost is gone from {len(gone)} reconciled days ({shown})"
    await ending.end(engine, piece, SliceState.VANISHED, cause, VANISHED_CURE, days=gone)


def _proven(pointer: Pointer | None) -> bool:
    return pointer is not None and pointer.reading is not None and pointer.reading.agreed


def vanishes(pointer: Pointer | None, reading: Reading) -> bool:
    """Tell whether a reading would empty a reconciled day, or take away more than half of its absolute amounts."""
    if pointer is None or pointer.reading is None or not pointer.reading.agreed:
        return False
    before = pointer.reading
    if before.order >= reading.order:
        return False
    if before.records and not reading.records:
        return True
    return any(
        amount > 0 and 2 * reading.absolutes.get(currency, Decimal(0)) < amount
        for currency, amount in before.absolutes.items()
    )


def _reading(piece: Slice, verdict: Verdict, day: DayVerdict) -> Reading:
    return Reading(
        run=piece.run,
        slice=piece.name,
        generation=piece.generation,
        digest=digest_text(day.digest),
        shape=shape_of(piece.source, piece.grouping),
        records=sum(sums.records for sums in day.sums.values()),
        totals={currency: sums.cost for currency, sums in day.sums.items()},
        absolutes={currency: sums.cost_absolute for currency, sums in day.sums.items()},
        control={currency: sums.cost for currency, sums in day.control.items()},
        control_kind=verdict.control_kind,
        agreed=day.agreed,
        read_at=verdict.read_at,
        with_repeated=day.with_repeated,
    )


def _mismatch(verdict: Verdict, days: list[date]) -> str:
    named = []
    for day in verdict.days:
        if day.day in days[:3]:
            ours = ", ".join(f"{sums.cost:f} {currency}" for currency, sums in sorted(day.sums.items()))
            theirs = ", ".join(f"{sums.cost:f} {currency}" for currency, sums in sorted(day.control.items()))
            named.append(
                f"{day.day.isoformat()} rows add up to {ours or 'nothing'}, control says {theirs or 'nothing'}"
            )
    more = f" and {len(days) - 3} more days" if len(days) > 3 else ""  # noqa: PLR2004
    return f"ControlMismatch: {'; '.join(named)}{more}"


def _added(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    total: dict[str, Sums] = {}
    for part in parts:
        for currency, sums in part.items():
            total[currency] = total.get(currency, Sums()) + sums
    return total
