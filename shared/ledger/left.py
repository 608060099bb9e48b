"""A day's ledger partitions as its last publication left them, whatever a publisher wrote since that came to no end.

Whoever publishes next begins with these: what was never published must not stand in the history as if it had been
believed. Every row bears the times of its publication, and one publication's are later than those of the one before;
so what a publisher wrote half-way can be taken back by its times. Not on a day that was open, whose rows are replaced
in place: if such a day is settled now, nobody knows any more what was believed of it at that moment.
"""

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from shared.days import Publication, PublishedFile
from shared.engine import Engine
from shared.ledger.classify import sort_ledger
from shared.ledger.columns import LEDGER
from shared.ledger.files import ledger_path, manifest_path
from shared.ledger.partitions import Left
from shared.ledger.published_day import PublishedDay
from shared.ledger.put_aside import aside_of
from shared.ledger.standing import Standing
from shared.view import settled_at


async def left_by_publication(
    engine: Engine,
    standing: Standing,
    ledger: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
) -> Left:
    """Give the day's partitions as the last publication left them.

    Args:
        engine: what holds the storage.
        standing: the day as it stands.
        ledger: the partitions as they lie there; of those that are as they were left, the very same are given.
        described: these, described.

    Raises:
        UnreadableError: what was put aside was replaced by something else.
    """
    if standing.ledger_intact:
        return Left(ledger)
    publication, aside = standing.publication, await aside_of(engine, standing)
    # What was put aside is needed: with it, the same publication is made once more.
    if not aside and await _is_told(engine, standing, described):
        return Left(ledger)
    if publication is None:
        # A manifest without its publication: that was forgotten, and what it left stands.
        told = manifest_path(standing.metric, standing.day) in standing.listing.etags
        return Left(ledger if told else {name: frame.clear() for name, frame in ledger.items()})
    if publication.as_of < settled_at(standing.day, engine.settings.settle):
        # What was replaced in place is not there to be taken back: the rows that came in its place stand for it.
        return Left({**ledger, **aside}, whole=_is_whole(standing, publication, ledger, aside))
    taken_back = {name: _until(frame, publication.as_of) for name, frame in ledger.items()}
    return Left({**taken_back, **aside})


async def _is_told(engine: Engine, standing: Standing, described: Mapping[str, PublishedFile]) -> bool:
    """Whether the manifest describes just what lies there: its publisher died before it could say so in its row."""
    where = PublishedDay(engine.storage.blobs, engine.settings.container, standing.metric, standing.day)
    manifest, _ = await where.manifest(standing.listing.etags)
    if manifest is None:
        return False
    told = {file.path: file.sha256 for file in manifest.files if file.path.startswith("ledger/")}
    return told == {file.path: file.sha256 for file in described.values()}


def _until(frame: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """Take back what came and went later; where nothing did, the very frame is given."""
    went = pl.col("x_ValidTo") > at
    rows = frame.filter(pl.col("x_ValidFrom") <= at).with_columns(
        x_ValidTo=pl.when(went).then(None).otherwise("x_ValidTo"),
        x_Ended=pl.when(went).then(None).otherwise("x_Ended"),
    )
    return frame if rows.equals(frame) else sort_ledger(rows.select(*LEDGER))


def _is_whole(
    standing: Standing,
    publication: Publication,
    ledger: Mapping[str, pl.DataFrame],
    aside: Mapping[str, pl.DataFrame],
) -> bool:
    """Whether all that an open day held lies there still, or was put aside."""
    rows = {file.path: file.rows for file in publication.files}
    for name, frame in ledger.items():
        left = frame.filter(pl.col("x_ValidFrom") <= publication.as_of).height
        if name not in aside and left != rows.get(ledger_path(standing.metric, standing.day, name), 0):
            return False
    return True
