"""The row of a publication whose publisher died after the manifest: made from what the manifest says.

Readers saw that publication, so it is the last one, and whoever publishes next must begin there: what it left, since
when something is known of the day, which readings its rows are of. All of that is asked of the publication's row,
so the row is made first, before anything else is written. It is `unfinished`: what no manifest tells (whose costs
others see alike) is found out by publishing the same once more.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from shared.days import Publication, PublishedFile
from shared.engine import Engine
from shared.ledger.believed import current_rows, owned_of
from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import PublishedFiles, manifest_path, subscription_of
from shared.ledger.left import as_described, times_of
from shared.ledger.published_day import DescribedFile, Manifest, PublishedDay
from shared.ledger.put_aside import forget
from shared.ledger.standing import Standing, ledger_of
from shared.normalise.exact import add_by_currency
from shared.scopes import Scope

SKEW: Final = timedelta(minutes=15)
"""By how much the clocks of two workers may differ."""

_NO_LIST: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When the scope list came to be of which nobody knows any more: any run's is newer."""


async def restore_row(engine: Engine, files: PublishedFiles, standing: Standing) -> bool:
    """Save the row of the publication that stands in its manifest alone, and tell whether there was one.

    There is none where a file that the manifest names is not to be found again: nobody knows then what it said.

    Raises:
        Conflict: somebody else, maybe that publisher itself, saved the row or wrote a file meanwhile.
        UnreadableError: a ledger file cannot be read.
    """
    manifest = await _later_manifest(engine, standing)
    if manifest is None or not all(scope.is_whole for scope in manifest.scopes):
        return False
    ledger, described = await ledger_of(files, standing)
    back = as_described(standing, ledger, described, manifest.files)
    named = (subscription_of(file.path, standing.metric, standing.day) for file in manifest.files)
    if not back.keys() >= {*named} - {None}:
        return False
    await engine.days.save_publication(_publication(standing, manifest, back, described))
    await forget(engine, standing.publication)
    return True


async def _later_manifest(engine: Engine, standing: Standing) -> Manifest | None:
    """Give the day's manifest where it is of a later publication than the row's."""
    publication = standing.publication
    etag = standing.listing.etags.get(manifest_path(standing.metric, standing.day))
    if etag is None or (publication is not None and publication.manifest_etag == etag):
        return None
    where = PublishedDay(engine.storage.blobs, engine.settings.container, standing.metric, standing.day)
    manifest, _ = await where.manifest(standing.listing.etags)
    if manifest is None or publication is None:
        return manifest
    # The row's own one that somebody edited names the row's files; an earlier one was put there by somebody as
    # well, but publishers' clocks differ.
    is_edited = _hashes(manifest.files) == _hashes(publication.files)
    is_later = manifest.published_at > publication.published_at - SKEW
    return manifest if is_later and not is_edited else None


def _hashes(files: Iterable[PublishedFile | DescribedFile]) -> dict[str, str]:
    return {file.path: file.sha256 for file in files}


def _publication(
    standing: Standing,
    manifest: Manifest,
    back: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
) -> Publication:
    before = standing.publication
    scopes = {Scope.parse(scope.scope).key: scope for scope in manifest.scopes}
    rows = current_rows(standing.day, back)
    owned = {
        key: owned_of(
            rows.filter(pl.col("x_SourceScope") == scope.scope.lower()), COST_COLUMN[standing.metric]
        )
        for key, scope in scopes.items()
        if scope.digest
    }
    return Publication(
        metric=standing.metric,
        day=standing.day,
        view={
            key: (scope.scope.lower(), scope.digest or "", scope.shape or "", scope.state)
            for key, scope in scopes.items()
        },
        listed=tuple(sorted(scopes)),
        scopes_at=_NO_LIST if before is None else before.scopes_at,
        as_of=_as_of(before, back),
        status=manifest.status,
        totals=add_by_currency(one.totals for one in owned.values()),
        published_at=manifest.published_at,
        files=tuple(_as_published(file, described) for file in manifest.files),
        owned=owned,
        manifest_etag=standing.listing.etags[manifest_path(standing.metric, standing.day)],
        unfinished=True,
        known_since=manifest.since,
        ended={name: ended for name, frame in back.items() if (ended := frame["x_ValidTo"].count())},
        disagrees={} if before is None else before.disagrees,
        alike={} if before is None else before.alike,
        etag=None if before is None else before.etag,
    )


def _as_of(before: Publication | None, back: Mapping[str, pl.DataFrame]) -> datetime:
    """Give the latest time that stands in the ledger, and one that is not before the row's."""
    times = [time for frame in back.values() for time in times_of(frame)]
    return max([*times, _NO_LIST if before is None else before.as_of])


def _as_published(file: DescribedFile, described: Mapping[str, PublishedFile]) -> PublishedFile:
    """Give a file as its publisher wrote it; one that lies there in other bytes has an ETag that nobody knows."""
    lies = {one.path: one for one in described.values()}.get(file.path)
    etag = lies.etag if lies is not None and lies.sha256 == file.sha256 else ""
    return PublishedFile(file.path, file.rows, file.bytes, file.sha256, etag)
