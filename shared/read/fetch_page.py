"""One message, one page: from a work item to a committed page and the message of its successor.

The order is what makes it safe. The staged blob is written first, then the page's registry entity, which **is**
the commit; only then is the next message sent, and recorded as sent. A worker that dies anywhere leaves either
nothing that counts, or a committed page whose message comes back and sends the successor again.
"""

from shared.engine import Engine
from shared.events import PAGE_COMMITTED, PAGE_LOST_RACE, SCHEMA_DRIFT, emit
from shared.messages import BadMessage, PageItem
from shared.normalise.records import Records
from shared.read import ending, query, schema
from shared.read.answers import PageAnswer, Refused, Throttled, Transient
from shared.read.closing import close
from shared.read.cursors import CURSOR_LIMIT, used
from shared.read.new_columns import tell_of_new
from shared.read.overlap import Overlap
from shared.read.sources import Answered, reader_of
from shared.read.turn import charged, give_way, heed, take_turn, try_again
from shared.registry import pages
from shared.registry.generations import Generation
from shared.registry.pages import DaySums, Page, Repeated
from shared.runs import Slice, SliceState
from shared.storage.errors import Conflict, TooLarge
from shared.versions import UnreadableError

TOO_LARGE_CURE = "set a smaller COST_PAGE_SIZE, or COST_WINDOW_DAYS if the service pays no heed to it"
GROUPING_CURE = (
    "COST_GROUPING (or this scope's `grouping` in COST_SCOPES) asks for {}: "
    "ask without it if the service has given it up"
)
LOOP_CURE = (
    "the service keeps sending rows it has sent before; run again later, or set a shorter COST_WINDOW_DAYS"
)


async def fetch_page(engine: Engine, body: bytes) -> None:
    """Work one message of `cost-pages`.

    A page, verdict, pointer or gate that cannot be read ends the slice, by name.

    Raises:
        BadMessage: no such message, run, slice or page, or a slice that cannot be read and so cannot be ended
            either: it belongs on the poison queue.
    """
    item = PageItem.decode(body)
    try:
        piece = await engine.runs.slice(item.run, item.slice)
    except UnreadableError as error:
        raise BadMessage(str(error)) from error
    if piece is None:
        raise BadMessage(f"there is no slice {item.slice} of a run {item.run}")
    if piece.state is not SliceState.OPEN or item.generation != piece.generation:
        await ending.take_up(engine, item.run, item.slice)
        return
    try:
        await _go_on(engine, piece, item)
    except UnreadableError as error:
        await ending.end(engine, charged(piece, item), SliceState.FAILED, error.cause, error.cure)


async def _go_on(engine: Engine, piece: Slice, item: PageItem) -> None:
    generation = await engine.generations.load(piece.partition)
    if generation.entry(item.page) is not None:
        await succeed(engine, piece, generation, item.page)
        return
    previous = generation.pages.get(item.page - 1)
    if previous is None and item.page != 1:
        raise BadMessage(f"page {item.page} of {piece.partition} was asked for before page {item.page - 1}")
    if previous is not None and previous.cursor_out is None:
        await close(engine, piece, generation, item)
    else:
        await _read(engine, piece, generation, item)


async def succeed(engine: Engine, piece: Slice, generation: Generation, number: int) -> None:
    """Make sure that what follows a committed page or verdict was sent.

    Raises:
        Conflict: there is no such page or verdict, though somebody was said to have written it.
    """
    entry = generation.entry(number)
    if entry is None:
        raise Conflict(f"page {number} of {piece.partition}")
    if isinstance(entry, Page):
        # The entry may have been read before it was marked: only the row itself knows.
        if not entry.sent and not await pages.is_sent(engine.storage.tables, piece.partition, number):
            await _send_next(engine, piece, number)
    else:
        await close(engine, piece, generation, ending.first_page(piece))


async def _send_next(engine: Engine, piece: Slice, number: int) -> None:
    await engine.send_page(
        PageItem(run=piece.run, slice=piece.name, generation=piece.generation, page=number + 1)
    )
    await pages.mark_sent(engine.storage.tables, piece.partition, number)


async def _read(engine: Engine, piece: Slice, generation: Generation, item: PageItem) -> None:
    reader = reader_of(piece)
    gate = reader.gate(engine, piece)
    turn = await take_turn(engine, gate, piece, item)
    if turn is None:
        return
    previous = generation.pages.get(item.page - 1)
    answer = await reader.ask(engine, piece, None if previous is None else previous.cursor_out)
    match answer:
        case PageAnswer():
            await heed(engine, gate, piece, answer)
            await _take(engine, piece, generation, turn, answer)
        case Throttled(wait):
            await give_way(engine, gate, piece, turn, wait)
        case Transient():
            await try_again(engine, piece, turn, answer)
        case Refused(cause, cure):
            await ending.end(engine, charged(piece, turn), SliceState.FAILED, cause, cure)


async def _take(
    engine: Engine, piece: Slice, generation: Generation, item: PageItem, answer: PageAnswer
) -> None:
    try:
        reader = reader_of(piece)
        answered = reader.read(piece, answer.body)
        overlap = reader.compare(answered.records, generation.keys)
        sums = overlap.fresh.sums(piece.metric)
        repeated_sums = overlap.kept.sums(piece.metric) if overlap.kept is not None else {}
    except schema.TornBodyError as error:
        await try_again(engine, piece, item, Transient("TornBody", str(error)))
        return
    except schema.SchemaDriftError as error:
        await _drifted(engine, charged(piece, item), item, answer.body, error)
        return
    await tell_of_new(engine, piece, item.page, answered.unknown)
    asked = generation.pages[item.page - 1].cursor_out if item.page > 1 else None
    unusable = answered.misfit or _unusable(engine, answered.next_link)
    if unusable is not None:
        await ending.end(engine, charged(piece, item), SliceState.FAILED, *unusable)
        return
    cursors = [asked, *(page.cursor_in for page in generation.pages.values())]
    discard = _unsound(engine, item.page, answered, overlap, cursors)
    if discard is not None:
        await _discard(engine, charged(piece, item), discard)
        return
    fresh = overlap.fresh
    page = Page(
        number=item.page,
        cursor_in=asked,
        cursor_out=answered.next_link,
        read_at=answer.read_at,
        raw_rows=answered.rows,
        duplicates=overlap.repeated if overlap.kept is None else 0,
        outside=fresh.outside,
        staged=await _stage(engine, piece, item.page, fresh),
        sums=sums,
        digests=fresh.digests(),
        packed=fresh.packed(),
        requests=item.requests,
        throttled=item.throttled,
        single=reader.asks_for_days(piece) and _is_single(piece, item, answered),
        repeated=await _repeated(engine, piece, item.page, overlap, repeated_sums),
        tells_period=answered.tells_period,
        kinds=answered.kinds,
    )
    await _commit(engine, piece, page)


def _is_single(piece: Slice, item: PageItem, answered: Answered) -> bool:
    """Tell whether the page is all of one execution of what was asked, as it was understood."""
    alone = item.page == 1 and answered.next_link is None and answered.rows < piece.page_size
    # Rows of other days than asked for: who answers those may have left out some of these.
    return alone and not answered.records.outside


async def _repeated(engine: Engine, piece: Slice, number: int, overlap: Overlap, sums: DaySums) -> Repeated:
    """Store the rows aside that earlier pages had too, for the closing to take or to leave out."""
    kept = overlap.kept
    if kept is None:
        return Repeated()
    return Repeated(staged=await _stage(engine, piece, number, kept), sums=sums, digests=kept.digests())


async def _stage(engine: Engine, piece: Slice, number: int, fresh: Records) -> str | None:
    """Store the page's rows before anything names them; a page without rows needs no blob."""
    if fresh.frame.is_empty():
        return None
    return await engine.staging.write(piece.partition, number, fresh.frame)


async def _discard(engine: Engine, piece: Slice, cause: str) -> None:
    await ending.read_again(
        engine,
        piece,
        cause=cause,
        cure=LOOP_CURE,
        first=piece.reading_first,
        last=piece.reading_last,
        must_control=piece.must_control,
        exhausted=SliceState.FAILED,
    )


async def _commit(engine: Engine, piece: Slice, page: Page) -> None:
    try:
        await pages.commit(engine.storage.tables, piece.partition, page)
    except Conflict:
        emit(PAGE_LOST_RACE, run=piece.run, slice=piece.name, page=page.number)
        await succeed(engine, piece, await engine.generations.load(piece.partition), page.number)
        return
    except TooLarge as error:
        # It would be as large the next time.
        cause = f"PageTooLarge: page {page.number} of {page.raw_rows} rows has no room in one entity ({error.code})"
        await ending.end(engine, charged(piece, page), SliceState.FAILED, cause, TOO_LARGE_CURE)
        return
    emit(
        PAGE_COMMITTED,
        run=piece.run,
        slice=piece.name,
        generation=piece.generation,
        page=page.number,
        rows=page.raw_rows,
        duplicates=page.duplicates,
    )
    await _send_next(engine, piece, page.number)


def _unusable(engine: Engine, link: str | None) -> tuple[str, str] | None:
    """Name what makes a nextLink one that must never be followed, as (cause, cure)."""
    if link is None:
        return None
    if len(link) > CURSOR_LIMIT:
        cause = f"CursorTooLong: the nextLink has {len(link)} characters, {CURSOR_LIMIT} can be kept"
        return cause, "set a smaller COST_GROUPING or COST_WINDOW_DAYS for this scope"
    try:
        query.same_host(engine.settings.arm_endpoint, link)
    except query.ForeignLinkError as error:
        return f"ForeignNextLink: {error}", "check ARM_ENDPOINT; a token is never sent to another host"
    return None


def _unsound(
    engine: Engine, number: int, answered: Answered, overlap: Overlap, cursors: list[str | None]
) -> str | None:
    """Name what makes this reading one to throw away: data that moved under it, or a loop."""
    if overlap.moved:
        return f"DataMoved: {overlap.moved} rows of page {number} changed since an earlier page"
    if answered.next_link is None:
        return None
    if used(answered.next_link, cursors):
        return f"CursorLoop: the nextLink of page {number} leads back to an earlier page"
    if overlap.repeated and not len(overlap.fresh.frame) and not overlap.fresh.outside:
        return f"CursorLoop: all rows of page {number} were on earlier pages"
    if number >= engine.settings.max_pages:
        return f"TooManyPages: page {number} has a nextLink, COST_MAX_PAGES is {engine.settings.max_pages}"
    return None


def _dimension(piece: Slice, column: str) -> str | None:
    """Give the part of the slice's grouping that a column answers, None where it answers none."""
    return next((name for name in piece.grouping if column in query.columns_of(name)), None)


async def _drifted(
    engine: Engine, piece: Slice, item: PageItem, body: bytes, error: schema.SchemaDriftError
) -> None:
    kept = await engine.staging.quarantine(piece.partition, item.page, body)
    emit(SCHEMA_DRIFT, run=piece.run, slice=piece.name, page=item.page, cause=str(error), kept=kept)
    cause = f"SchemaDrift: {error} (page {item.page})"
    cure = f"look at the payload, kept as {engine.settings.staging_container}/{kept}; nothing of it was published"
    if isinstance(error, schema.LostColumnError) and (dimension := _dimension(piece, error.column)):
        cure = f"{GROUPING_CURE.format(dimension)}; or {cure}"
    await ending.end(engine, piece, SliceState.FAILED, cause, cure)
