"""One message, one day: from its pointers to its ledger partitions, daily totals and manifest.

Every write is conditional on what was listed, and the publication comes last under its own ETag: a publisher
that was overtaken loses a condition and starts over from what stands now.
"""

import hashlib
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import polars as pl

from shared.days import Announced, Owned, Publication, PublishedFile, Written
from shared.engine import Engine
from shared.events import DAY_PUBLISHED, DAY_UNCHANGED, PUBLISH_RACE_LOST, emit
from shared.ledger.believed import Believed, believed, current_rows, lasting
from shared.ledger.columns import COST_COLUMN
from shared.ledger.daily import TotalError, adding_up, daily
from shared.ledger.files import PublishedFiles, daily_path, manifest_path
from shared.ledger.fingerprint import fingerprint
from shared.ledger.hold import forget, hold
from shared.ledger.left import left_by_publication
from shared.ledger.lost_history import demand_history
from shared.ledger.manifest import alike, disagreements, manifest, status_of
from shared.ledger.ownership import Assignment, Claim, assign
from shared.ledger.partitions import Partition, current, lay_over, write
from shared.ledger.restore_row import restore_row
from shared.ledger.staged_rows import owned_of
from shared.ledger.standing import Standing, ledger_of, stand
from shared.messages import BadMessage, DayItem
from shared.normalise.exact import add_by_currency
from shared.read.ending import follow_up
from shared.read.shape import names_groups
from shared.runs import DayTask, Run
from shared.scopes import Scope
from shared.staging import StagedPageMissingError
from shared.storage.errors import Conflict, TooLarge
from shared.versions import UnreadableError, tell
from shared.view import lapsed, view_of

RACES = 12


async def publish_day(engine: Engine, body: bytes) -> None:
    """Work one message of `cost-days`.

    A pointer, publication, page or ledger file that cannot be read, or is gone, fails the day, by name.

    Raises:
        BadMessage: no such message, run or day, or one whose row cannot be read: it belongs on the poison queue.
        Conflict: others published the day too many times in a row; the message comes again.
    """
    item = DayItem.decode(body)
    run, task = await _asked(engine, item)
    if task.state == "open":
        state, cause = "published", None
        try:
            await _until_won(engine, run, item.metric, item.day)
        except (TotalError, StagedPageMissingError, TooLarge, UnreadableError) as error:
            state, cause = "failed", f"{type(error).__name__}: {error}"
            await engine.days.leave_unfinished(item.metric, item.day)
        # A second delivery of this message may be faster; what it wrote counts.
        with suppress(Conflict):
            await engine.runs.save_day(replace(task, state=state, cause=cause))
    await follow_up(engine, run.id, run.seeding)


async def _asked(engine: Engine, item: DayItem) -> tuple[Run, DayTask]:
    """Find the run and its day that a message is about.

    Raises:
        BadMessage: one of them is not there, or its row cannot be read.
    """
    try:
        run = await engine.runs.run(item.run)
        task = None if run is None else await engine.runs.day(run, item.metric, item.day)
    except UnreadableError as error:
        raise BadMessage(str(error)) from error
    if run is None or task is None:
        raise BadMessage(f"run {item.run} has no day {item.day} of {item.metric} to publish")
    return run, task


async def _until_won(engine: Engine, run: Run, metric: str, day: date) -> None:
    for _ in range(RACES):
        try:
            await _publish(engine, run, metric, day)
        except Conflict as lost:
            emit(PUBLISH_RACE_LOST, run=run.id, metric=metric, day=day.isoformat(), what=lost.what)
        else:
            return
    raise Conflict(f"{metric} {day}")


async def _publish(engine: Engine, run: Run, metric: str, day: date) -> None:
    files = PublishedFiles(engine.storage.blobs, engine.settings.container)
    standing = await stand(engine, files, run, metric, day)
    if standing.is_published:
        emit(DAY_UNCHANGED, run=run.id, metric=metric, day=day.isoformat())
        return
    try:
        restored = await restore_row(engine, files, standing)
        if not restored:
            await _bring_up_to(engine, run, files, standing)
    except (StagedPageMissingError, UnreadableError) as error:
        # What somebody else writes at this moment may look like something that is gone.
        now = await engine.days.publication(metric, day)
        if now != standing.publication:
            raise Conflict(f"the publication of {metric} {day}") from error
        raise
    if restored:
        # That may be what the pointers say.
        await _publish(engine, run, metric, day)


async def _bring_up_to(engine: Engine, run: Run, files: PublishedFiles, standing: Standing) -> None:
    """Write what the day's pointers say over what stands."""
    metric, day = standing.metric, standing.day
    standing.demand_pointers()
    ledger, described = await ledger_of(files, standing)
    left = await left_by_publication(engine, standing, ledger, described)
    before = current_rows(day, left.partitions)
    beliefs = await believed(engine, standing, before)
    as_of = standing.as_of(left.partitions, engine.settings.settle)
    settled = standing.settled_at(as_of, engine.settings.settle)
    if settled:
        demand_history(engine, standing, ledger, left)
    claims = _claims(standing, engine.settings.settle)
    with adding_up(day):
        owned = assign(
            beliefs.rows, claims, cost=COST_COLUMN[metric], tolerance=engine.settings.control_tolerance
        )
        rows = beliefs.rows.filter(owned.owned)
        counts = _owned(standing, rows)
    beliefs.demand_no_gap(before, rows, [claim.scope for claim in claims])
    partitions = lay_over(standing, left, ledger, described, rows, as_of=as_of, settled=settled)
    totals_of_day = _totals_of_day(standing, partitions)
    held = await hold(engine, standing, left, partitions, lasting(standing), settled=settled)
    written = await write(files, standing, partitions)
    if totals_of_day is not None:
        written.append(await _write_daily(files, standing, totals_of_day))
    publication = Publication(
        metric=metric,
        day=day,
        view=standing.view,
        listed=standing.scopes.keys,
        scopes_at=standing.scopes.since,
        as_of=as_of,
        status=status_of(standing.scopes.keys, standing.pointers),
        totals=_totals(totals_of_day),
        published_at=engine.clock(),
        files=tuple(written),
        known_since=standing.known_since(as_of, whole=left.whole or not settled),
        ended={part.subscription: part.ended for part in partitions if part.ended},
        written=_written(standing, partitions, as_of, settled=settled),
        disagrees=disagreements(owned, engine.settings.control_tolerance),
        alike=_alike(standing, beliefs, owned, engine.settings.control_tolerance),
        owned=counts,
        etag=None if held is None else held.etag,
    )
    document = manifest(
        publication, standing.scopes.listed, standing.pointers, owned.shadowed, settled=settled
    )
    sha256 = hashlib.sha256(document).hexdigest()
    await engine.days.announce(Announced(publication, sha256, over="" if held is None else held.name))
    etag = await files.put(standing.listing, manifest_path(metric, day), document, "application/json")
    await engine.days.save_publication(replace(publication, manifest_etag=etag))
    await forget(engine, held)
    await _demand_no_later(engine, standing)
    rows_published = sum(file.rows for file in written)
    emit(
        DAY_PUBLISHED,
        run=run.id,
        metric=metric,
        day=day.isoformat(),
        status=publication.status,
        rows=rows_published,
    )


async def _demand_no_later(engine: Engine, standing: Standing) -> None:
    """Make sure that what was published is still what the pointers say.

    A publisher that was paused before its first write may put back what another run has found unchanged
    meanwhile: all its conditions hold, since nothing was written. So it looks once more.

    Raises:
        Conflict: a pointer moved; the day is published again.
    """
    pointers = await engine.days.pointers(standing.metric, standing.day)
    if view_of(standing.scopes, pointers, engine.settings.settle) != standing.view:
        raise Conflict(f"the pointers of {standing.metric} {standing.day}")


def _claims(standing: Standing, settle: timedelta) -> list[Claim]:
    return [
        Claim(
            Scope.parse(pointer.scope),
            listed=pointer.key in standing.scopes.keys,
            proven=pointer.reading.agreed,
            lapsed=lapsed(pointer, settle),
            names_groups=names_groups(pointer.reading.shape),
        )
        for pointer in standing.pointers.values()
        if pointer.reading is not None
    ]


def _alike(
    standing: Standing, beliefs: Believed, owned: Assignment, tolerance: Decimal
) -> dict[str, tuple[str, ...]]:
    """Name what billing scopes see alike; of one whose shadowed rows are gone, what it saw while they were there."""
    before = {} if standing.publication is None else standing.publication.alike
    kept = {scope: seen for scope, seen in before.items() if scope in beliefs.partial}
    now = {scope: seen for scope, seen in alike(owned, tolerance).items() if scope not in beliefs.partial}
    return {**kept, **now}


def _owned(standing: Standing, rows: pl.DataFrame) -> dict[str, Owned]:
    """Say what counts of each scope that has a reading."""
    return {
        key: owned_of(
            rows.filter(pl.col("x_SourceScope") == pointer.scope.lower()), COST_COLUMN[standing.metric]
        )
        for key, pointer in standing.pointers.items()
        if pointer.reading is not None
    }


def _written(
    standing: Standing, partitions: list[Partition], as_of: datetime, *, settled: bool
) -> dict[str, Written]:
    """Tell how each partition was last written; of one that an earlier release wrote, nobody knows."""
    before = {} if standing.publication is None else standing.publication.written or {}
    now = {
        part.subscription: Written(as_of, settled, fingerprint(part.restated.frame))
        for part in partitions
        if part.to_write
    }
    same = (part.subscription for part in partitions if not part.to_write)
    return now | {subscription: before[subscription] for subscription in same if subscription in before}


def _totals_of_day(standing: Standing, partitions: list[Partition]) -> pl.DataFrame | None:
    """Add up the day, None where nobody could read it yet: an empty file would say that it cost nothing."""
    if all(pointer.reading is None for pointer in standing.pointers.values()):
        return None
    return daily(current(partitions), standing.metric, standing.day)


async def _write_daily(files: PublishedFiles, standing: Standing, frame: pl.DataFrame) -> PublishedFile:
    """Write the day's totals, unless the very same are there.

    They are made anew each time: what somebody else put in their place is replaced, never read.
    """
    path = daily_path(standing.metric, standing.day)
    if path in standing.listing.etags:
        try:
            there, file = await files.read(standing.listing, path)
        except UnreadableError as error:
            tell(error)
        else:
            if there.equals(frame):
                return file
    return await files.write(standing.listing, path, frame)


def _totals(frame: pl.DataFrame | None) -> dict[str, Decimal]:
    """Add up the daily rows per currency: a few dozen, each exact already."""
    if frame is None:
        return {}
    amounts = frame.select("currency", "cost_amount").iter_rows()
    return add_by_currency({currency: amount} for currency, amount in amounts)
