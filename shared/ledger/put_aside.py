"""What a publication may not lose while it is written: rows that lie nowhere but in the files it replaces.

A reading whose staged pages are purged stands in the ledger alone. Where its rows leave a partition (another scope
takes them over), the first file that is written takes them away, and a publisher that dies then leaves nothing to
start over from. So the current rows of such partitions are put aside first, the day's publication names them, and
is `unfinished` until the next one is saved. Most publications put nothing aside and pay nothing.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Final

import polars as pl

from shared.days import Publication
from shared.engine import Engine
from shared.ledger.columns import STAGED
from shared.ledger.partitions import Partition
from shared.ledger.standing import Standing
from shared.staging import decode, encode

SOURCED: Final = {**STAGED, "x_SourceScope": pl.String()}
"""Staged rows with the scope (lower case) that said them."""

FOLDER: Final = "aside/"
CURE: Final = "remove it: the day is then published from its readings' pages, or named if they are gone"

_CURRENT = pl.col("x_ValidTo").is_null()


async def left_by_publication(
    engine: Engine, standing: Standing, ledger: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Give the current rows that the last publication left, as `SOURCED`.

    `ledger` holds the day's partitions by subscription. What a publisher that ended half-way put aside stands for
    the partitions that it may have changed; a blob that is gone stands for nothing.

    Raises:
        UnreadableError: what was put aside was replaced by something else.
    """
    aside, of = pl.DataFrame(schema=SOURCED), frozenset[str]()
    publication = standing.publication
    if publication is not None and publication.aside:
        container = engine.settings.staging_container
        blob = await engine.storage.blobs.get(container, publication.aside)
        if blob is not None:
            aside = decode(blob.data, SOURCED, f"{container}/{publication.aside}", CURE)
            of = frozenset(publication.aside_of)
    frames = [
        _current(frame, standing.day, subscription)
        for subscription, frame in sorted(ledger.items())
        if subscription not in of
    ]
    return pl.concat([aside, *frames])


async def put_aside(
    engine: Engine,
    standing: Standing,
    partitions: Sequence[Partition],
    lasting: Collection[str],
    as_of: datetime,
) -> Publication | None:
    """Put aside what must not be lost, before the first file is written; give the publication as it stands then.

    `lasting` are the scopes (lower case) whose reading is the one that was published.

    Raises:
        Conflict: somebody else published the day meanwhile.
    """
    publication = standing.publication
    if publication is None:
        return None
    taken = [
        part
        for part in partitions
        if part.subscription not in publication.aside_of and _takes_away(part, lasting, as_of)
    ]
    if not taken:
        return publication
    frames = [_current(part.prior, standing.day, part.subscription) for part in taken]
    if publication.aside_of:
        left = await left_by_publication(engine, standing, {})
        frames.append(left)
    name = f"{FOLDER}{standing.metric}/{standing.day.isoformat()}/{secrets.token_hex(6)}.parquet"
    await engine.storage.blobs.put(engine.settings.staging_container, name, encode(pl.concat(frames)))
    of = (*publication.aside_of, *(part.subscription for part in taken))
    kept = replace(publication, aside=name, aside_of=tuple(sorted(of)), unfinished=True)
    return replace(kept, etag=await engine.days.save_publication(kept))


async def forget(engine: Engine, publication: Publication | None) -> None:
    """Remove what was put aside, once the publication that named it is replaced; the sweep removes what is left."""
    if publication is not None and publication.aside:
        await engine.storage.blobs.delete(engine.settings.staging_container, publication.aside)


def day_of(name: str) -> tuple[str, date]:
    """Give metric and day of what was put aside.

    Raises:
        ValueError: no blob of this release bears such a name.
    """
    metric, _, rest = name.removeprefix(FOLDER).partition("/")
    return metric, date.fromisoformat(rest.partition("/")[0])


def _takes_away(part: Partition, lasting: Collection[str], as_of: datetime) -> bool:
    """Tell whether a partition's next files hold other rows of a lasting scope than it holds now."""
    if part.file is not None and not part.restated.changed:
        return False
    of_lasting = _CURRENT & pl.col("x_SourceScope").is_in(list(lasting))
    before, *after = (
        frame.filter(of_lasting).select("x_SourceScope", "x_RecordId").sort(pl.all())
        for frame in (part.prior, part.without_gains(as_of), part.restated.frame)
    )
    return not all(before.equals(frame) for frame in after)


def _current(frame: pl.DataFrame, day: date, subscription: str) -> pl.DataFrame:
    rows = frame.filter(_CURRENT).with_columns(usage_date=pl.lit(day), subscription_id=pl.lit(subscription))
    return rows.select(pl.col(name).cast(kind) for name, kind in SOURCED.items())
