"""One message, one day: from its pointers to its ledger partitions, daily totals and manifest.

The order is what keeps a paused publisher from putting an older reading back: the publication is read with its
ETag, then the day's blobs are listed with theirs, only then the pointers are read; every write is conditional
on what was listed, and the publication comes last under its own ETag. A lost race starts over.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from shared.days import Pointer, Publication, PublishedFile
from shared.engine import Engine
from shared.events import DAY_PUBLISHED, DAY_UNCHANGED, PUBLISH_RACE_LOST, emit
from shared.ledger.believed import believed
from shared.ledger.classify import Restatement, restate
from shared.ledger.columns import COST_COLUMN, LEDGER, PAYLOAD
from shared.ledger.daily import TotalError, daily
from shared.ledger.files import Listing, PublishedFiles, daily_path, intact, ledger_path, manifest_path
from shared.ledger.manifest import manifest, status_of
from shared.ledger.ownership import Assignment, Claim, assign
from shared.messages import BadMessage, DayItem
from shared.normalise.exact import add_by_currency
from shared.read.ending import follow_up
from shared.runs import ListedScope, Run
from shared.scopes import Scope
from shared.staging import StagedPageMissingError
from shared.storage.errors import Conflict
from shared.view import differs, view_of

RACES = 12
LAPSE = timedelta(hours=24)
"""An owner that failed for so long loses its open days to the next."""

_CURRENT = pl.col("x_ValidTo").is_null()


@dataclass(frozen=True, slots=True)
class _Partition:
    """One ledger partition: as it lies there (`file`, None where there is none) and as it should be."""

    subscription: str
    file: PublishedFile | None
    prior: pl.DataFrame
    restated: Restatement

    @property
    def growth(self) -> int:
        """How many current rows more it will have: shrinking partitions are written first."""
        return len(self.restated.frame.filter(_CURRENT)) - len(self.prior.filter(_CURRENT))


@dataclass(frozen=True, slots=True)
class _Scopes:
    """The scope list a day is published for, and when it came to be."""

    listed: tuple[ListedScope, ...]
    at: datetime


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
    state, cause = "published", None
    if task.state == "open":
        try:
            await _until_won(engine, run, item.metric, item.day)
        except (TotalError, StagedPageMissingError) as error:
            state, cause = "failed", f"{type(error).__name__}: {error}"
        try:
            await engine.runs.save_day(replace(task, state=state, cause=cause))
        except Conflict:
            # A second delivery of this message was faster; what it wrote counts.
            pass
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
    publication = await engine.days.publication(metric, day)
    listing = await files.list(metric, day)
    pointers = await engine.days.pointers(metric, day)
    scopes = _scope_list(run, metric, publication)
    view = view_of(metric, scopes.listed, pointers)
    untouched = publication is not None and _untouched(listing, publication)
    if untouched and not differs(view, publication):
        emit(DAY_UNCHANGED, run=run.id, metric=metric, day=day.isoformat())
        return
    known = {pointer.key: pointer for pointer in pointers if pointer.key in view}
    ledger = {
        subscription: await files.read(listing, path)
        for subscription, path in listing.partitions(metric, day).items()
    }
    frames = {subscription: frame for subscription, (frame, _) in ledger.items()}
    rows = await believed(
        engine,
        day,
        list(known.values()),
        publication,
        frames,
        intact=publication is not None and intact(listing, publication.files),
    )
    as_of = _as_of(pointers, scopes, publication, frames)
    settled = as_of >= datetime.combine(day, time(), UTC) + timedelta(days=1) + engine.settings.settle
    keys = tuple(sorted(scope.key for scope in scopes.listed))
    owned = _assign(rows, list(known.values()), keys, metric, settled=settled)
    partitions = [
        _Partition(
            subscription,
            ledger[subscription][1] if subscription in ledger else None,
            prior,
            restate(
                prior,
                new,
                at=as_of,
                settled=settled,
                published_before=publication is not None,
                reshaped_scopes=_reshaped(prior, new, known, publication),
            ),
        )
        for subscription, prior, new in _by_subscription(frames, rows.filter(owned.owned))
    ]
    written = await _write_partitions(files, listing, metric, day, partitions)
    has_reading = any(pointer.reading is not None for pointer in known.values())
    current = _current(partitions)
    if has_reading:
        totals_of_day = daily(current, metric, day)
        written.append(await _write_daily(files, listing, publication, daily_path(metric, day), totals_of_day))
        totals = _totals(totals_of_day)
    else:
        totals = {}
    status = status_of(keys, known)
    disagrees = _disagreements(owned, engine.settings.control_tolerance)
    shadowed = {path.lower(): amounts for path, amounts in owned.shadowed.items()}
    published_at = engine.clock()
    document = manifest(
        metric=metric,
        day=day,
        status=status,
        settled=settled,
        pointers=list(known.values()),
        missing=[scope.path for scope in scopes.listed if scope.key not in known],
        published_at=published_at,
        totals=totals,
        shadowed=shadowed,
        disagrees=disagrees,
        files=written,
    )
    manifest_etag = await files.put(listing, manifest_path(metric, day), document, "application/json")
    await engine.days.save_publication(
        Publication(
            metric=metric,
            day=day,
            view=view,
            listed=keys,
            scopes_at=scopes.at,
            as_of=as_of,
            status=status,
            totals=totals,
            published_at=published_at,
            files=tuple(written),
            shadowed=tuple(sorted(p.key for p in known.values() if p.scope.lower() in shadowed)),
            disagrees=disagrees,
            manifest_etag=manifest_etag,
            etag=None if publication is None else publication.etag,
        )
    )
    emit(DAY_PUBLISHED, run=run.id, metric=metric, day=day.isoformat(), status=status, rows=len(current))


def _untouched(listing: Listing, publication: Publication) -> bool:
    """Tell whether every blob of the day is the one that the publication left, the manifest included."""
    left = {file.path: file.etag for file in publication.files}
    left[manifest_path(publication.metric, publication.day)] = publication.manifest_etag
    return left == listing.etags


def _scope_list(run: Run, metric: str, publication: Publication | None) -> _Scopes:
    """Take the run's scope list, dated by its change: a list that did not change keeps its time."""
    listed = tuple(scope for scope in run.scopes if metric in scope.metrics)
    keys = tuple(sorted(scope.key for scope in listed))
    if publication is None:
        return _Scopes(listed, run.created_at)
    if keys == publication.listed:
        return _Scopes(listed, publication.scopes_at)
    if publication.scopes_at > run.created_at:
        # An older run must not bring an older scope list back; the newer one's paths stand in its view.
        view = publication.view
        newer = (ListedScope(view[key][0], key, "", (), (metric,)) for key in publication.listed)
        return _Scopes(tuple(newer), publication.scopes_at)
    return _Scopes(listed, run.created_at)


def _as_of(
    pointers: Sequence[Pointer],
    scopes: _Scopes,
    publication: Publication | None,
    ledger: Mapping[str, pl.DataFrame],
) -> datetime:
    """Give the one time of this publication: no clock is asked, so a retry writes the same bytes.

    It is the latest of what changed and of any time that stands in the partitions already.
    """
    times = [pointer.changed_at for pointer in pointers]
    if publication is not None:
        times += [publication.as_of, scopes.at]
    for frame in ledger.values():
        times.append(frame.select(pl.max_horizontal(pl.col("x_ValidFrom", "x_ValidTo").max())).item())
    known = [moment for moment in times if moment is not None]
    return max(known, default=scopes.at)


def _assign(
    rows: pl.DataFrame, pointers: Sequence[Pointer], listed: Sequence[str], metric: str, *, settled: bool
) -> Assignment:
    claims = [
        Claim(
            Scope.parse(pointer.scope),
            listed=pointer.key in listed,
            reconciled=pointer.reading.agreed and not (_lapsed(pointer) and not settled),
        )
        for pointer in pointers
        if pointer.reading is not None
    ]
    return assign(rows, claims, cost=COST_COLUMN[metric])


def _lapsed(pointer: Pointer) -> bool:
    reading, attempt = pointer.reading, pointer.attempt
    return reading is not None and attempt is not None and attempt.at - reading.read_at > LAPSE


def _by_subscription(
    ledger: Mapping[str, pl.DataFrame], rows: pl.DataFrame
) -> list[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Give each partition's subscription, what lies there and what is believed now."""
    columns = [*PAYLOAD, "x_SourceScope"]
    news = {str(key[0]): frame.select(columns) for key, frame in rows.partition_by("subscription_id", as_dict=True).items()}
    nothing, empty = rows.clear().select(columns), pl.DataFrame(schema=LEDGER)
    return [
        (subscription, ledger.get(subscription, empty), news.get(subscription, nothing))
        for subscription in sorted(ledger.keys() | news.keys())
    ]


def _reshaped(
    prior: pl.DataFrame, new: pl.DataFrame, pointers: Mapping[str, Pointer], publication: Publication | None
) -> frozenset[str]:
    """Name the scopes whose rows here come in another shape than those they stand for now."""
    if publication is None:
        return frozenset()
    before = {path: shape for path, _, shape, _ in publication.view.values() if shape}
    now = {p.scope.lower(): p.reading.shape for p in pointers.values() if p.reading is not None}
    old_scopes = set(prior.filter(_CURRENT)["x_SourceScope"].unique())
    new_scopes = set(new["x_SourceScope"].unique())
    changed = {scope for scope in old_scopes & new_scopes if before.get(scope) != now.get(scope)}
    for left in old_scopes - new_scopes:
        takers = {scope for scope in new_scopes - old_scopes if now.get(scope) != before.get(left)}
        changed |= takers | ({left} if takers else set())
    return frozenset(changed)


async def _write_partitions(
    files: PublishedFiles, listing: Listing, metric: str, day: date, partitions: Sequence[_Partition]
) -> list[PublishedFile]:
    """Write what changed, shrinking partitions first: a reader may miss a cost for a moment, never see it twice."""
    described: dict[str, PublishedFile] = {}
    for part in sorted(partitions, key=lambda part: (part.growth, part.subscription)):
        if part.restated.changed or part.file is None:
            path = ledger_path(metric, day, part.subscription)
            described[part.subscription] = await files.write(listing, path, part.restated.frame)
        else:
            described[part.subscription] = part.file
    return [described[subscription] for subscription in sorted(described)]


async def _write_daily(
    files: PublishedFiles, listing: Listing, publication: Publication | None, path: str, frame: pl.DataFrame
) -> PublishedFile:
    """Write the day's totals, unless the very same are there."""
    if path in listing.etags:
        there, file = await files.read(listing, path)
        if there.equals(frame):
            return file
    return await files.write(listing, path, frame)


def _current(partitions: Sequence[_Partition]) -> pl.DataFrame:
    frames = [pl.DataFrame(schema={"subscription_id": pl.String(), **LEDGER})]
    frames += [
        part.restated.frame.filter(_CURRENT).with_columns(subscription_id=pl.lit(part.subscription)).select(frames[0].columns)
        for part in partitions
    ]
    return pl.concat(frames)


def _totals(frame: pl.DataFrame) -> dict[str, Decimal]:
    """Add up the daily rows per currency: a few dozen, each exact already."""
    return add_by_currency(
        {currency: amount} for currency, amount in frame.select("currency", "cost_amount").iter_rows()
    )


def _disagreements(owned: Assignment, tolerance: Decimal) -> dict[str, str]:
    """Name the shadowed scopes that see another cost than the owner, with both figures."""
    found: dict[str, list[str]] = {}
    for overlap in owned.overlaps:
        if not overlap.agrees(tolerance):
            found.setdefault(overlap.scope.lower(), []).append(
                f"{overlap.charge_class.value} of {overlap.subscription_id}: it says {overlap.shadowed_total:f} "
                f"{overlap.currency}, the owner {overlap.owner_total:f}"
            )
    return {scope: f"Disagrees: {'; '.join(parts[:5])}" for scope, parts in found.items()}
