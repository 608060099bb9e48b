"""One message, one day: from its pointers to its ledger partitions, daily totals and manifest.

Every write is conditional on what was listed, and the publication comes last under its own ETag: a publisher
that was overtaken loses a condition and starts over from what stands now.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from shared.days import Pointer, Publication, PublishedFile
from shared.engine import Engine
from shared.events import DAY_PUBLISHED, DAY_UNCHANGED, PUBLISH_RACE_LOST, emit
from shared.ledger.believed import believed
from shared.ledger.columns import COST_COLUMN
from shared.ledger.daily import TotalError, daily
from shared.ledger.files import PublishedFiles, daily_path, manifest_path
from shared.ledger.manifest import disagreements, manifest, status_of
from shared.ledger.ownership import Assignment, Claim, assign
from shared.ledger.partitions import Partition, current, lay_over, write
from shared.ledger.standing import Standing, ledger_of, stand
from shared.messages import BadMessage, DayItem
from shared.normalise.exact import add_by_currency
from shared.read.ending import follow_up
from shared.runs import Run
from shared.scopes import Scope
from shared.staging import StagedPageMissingError
from shared.storage.errors import Conflict

RACES = 12
LAPSE = timedelta(hours=24)
"""An owner that failed for so long loses its open days to the next."""


async def publish_day(engine: Engine, body: bytes) -> None:
    """Work one message of `cost-days`.

    Raises:
        BadMessage: no such message, run or day: it belongs on the poison queue.
        Conflict: others published the day too many times in a row; the message comes again.
    """
    item = DayItem.decode(body)
    run = await engine.runs.run(item.run)
    task = None if run is None else await engine.runs.day(run, item.metric, item.day)
    if run is None or task is None:
        raise BadMessage(f"run {item.run} has no day {item.day} of {item.metric} to publish")
    if task.state == "open":
        state, cause = "published", None
        try:
            await _until_won(engine, run, item.metric, item.day)
        except (TotalError, StagedPageMissingError) as error:
            state, cause = "failed", f"{type(error).__name__}: {error}"
        # A second delivery of this message may be faster; what it wrote counts.
        with suppress(Conflict):
            await engine.runs.save_day(replace(task, state=state, cause=cause))
    await follow_up(engine, run.id, run.seeding)


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
    ledger, described = await ledger_of(files, standing)
    rows = await believed(engine, standing, ledger)
    as_of = standing.as_of(ledger)
    settled = standing.settled_at(as_of, engine.settings.settle)
    owned = _assign(standing, rows, settled=settled)
    partitions = lay_over(standing, ledger, described, rows.filter(owned.owned), as_of=as_of, settled=settled)
    written = await write(files, standing, partitions)
    totals = await _write_daily(files, standing, partitions, written)
    publication = Publication(
        metric=metric,
        day=day,
        view=standing.view,
        listed=standing.keys,
        scopes_at=standing.scopes_at,
        as_of=as_of,
        status=status_of(standing.keys, standing.pointers),
        totals=totals,
        published_at=engine.clock(),
        files=tuple(written),
        shadowed=_shadowed(standing, owned),
        disagrees=disagreements(owned, engine.settings.control_tolerance),
        etag=None if standing.publication is None else standing.publication.etag,
    )
    document = manifest(publication, standing.listed, standing.pointers, owned.shadowed, settled=settled)
    etag = await files.put(standing.listing, manifest_path(metric, day), document, "application/json")
    await engine.days.save_publication(replace(publication, manifest_etag=etag))
    rows_published = sum(file.rows for file in written)
    emit(
        DAY_PUBLISHED,
        run=run.id,
        metric=metric,
        day=day.isoformat(),
        status=publication.status,
        rows=rows_published,
    )


def _assign(standing: Standing, rows: pl.DataFrame, *, settled: bool) -> Assignment:
    claims = [
        Claim(
            Scope.parse(pointer.scope),
            listed=pointer.key in standing.keys,
            reconciled=pointer.reading.agreed and (settled or not _lapsed(pointer)),
        )
        for pointer in standing.pointers.values()
        if pointer.reading is not None
    ]
    return assign(rows, claims, cost=COST_COLUMN[standing.metric])


def _lapsed(pointer: Pointer) -> bool:
    reading, attempt = pointer.reading, pointer.attempt
    return reading is not None and attempt is not None and attempt.at - reading.read_at > LAPSE


def _shadowed(standing: Standing, owned: Assignment) -> tuple[str, ...]:
    paths = {path.lower() for path in owned.shadowed}
    return tuple(sorted(key for key, pointer in standing.pointers.items() if pointer.scope.lower() in paths))


async def _write_daily(
    files: PublishedFiles, standing: Standing, partitions: list[Partition], written: list[PublishedFile]
) -> Mapping[str, Decimal]:
    """Write the day's totals unless the very same are there, and add them up per currency.

    A day that nobody could read yet gets no totals: an empty file would say that it cost nothing.
    """
    if all(pointer.reading is None for pointer in standing.pointers.values()):
        return {}
    path = daily_path(standing.metric, standing.day)
    frame = daily(current(partitions), standing.metric, standing.day)
    file = None
    if path in standing.listing.etags:
        there, known = await files.read(standing.listing, path)
        file = known if there.equals(frame) else None
    written.append(file or await files.write(standing.listing, path, frame))
    # A few dozen rows, each exact already.
    amounts = frame.select("currency", "cost_amount").iter_rows()
    return add_by_currency({currency: amount} for currency, amount in amounts)
