"""Holding a day before its first file is written: against what others do to it, and against a death half-way.

**Putting aside.** A reading whose staged pages are purged stands in the ledger alone. Where its rows leave a
partition (another scope takes them over), the first file that is written takes them away; and a partition that is
written twice is, between the two, less than it was and less than it will be. A publisher that dies there leaves
nothing to start over from. So such partitions are put aside first, as they lie there, the day's publication names
them, and is `unfinished` until the next one is saved: who goes on begins with what the last publication left.

**Shutting out.** Files that are not as the last publication left them are those of a publisher that died, or of one
that is slow. Whoever takes back what it wrote changes the publication's row first: so the slow one can neither save
its own nor have it restored (`shared.ledger.restore_row`), which would name files that are no more.

Most publications need neither and pay nothing.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Final

import polars as pl

from shared.days import Publication
from shared.engine import Engine
from shared.ledger.columns import LEDGER
from shared.ledger.manifest import INCOMPLETE
from shared.ledger.partitions import Left, Partition, written_twice
from shared.ledger.standing import Standing
from shared.staging import decode, encode
from shared.versions import UnreadableError

FOLDER: Final = "aside/"
CURE: Final = "remove it: the day is then published from its readings' pages, or named if they are gone"

_ASIDE: Final = {"subscription_id": pl.String(), **LEDGER}
_CURRENT = pl.col("x_ValidTo").is_null()
_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def aside_of(engine: Engine, standing: Standing) -> dict[str, pl.DataFrame] | None:
    """Give the partitions, by subscription, that a publisher which ended half-way put aside; None if they are gone.

    Raises:
        UnreadableError: what was put aside was replaced by something else.
    """
    publication = standing.publication
    if publication is None or not publication.aside:
        return {}
    container = engine.settings.staging_container
    blob = await engine.storage.blobs.get(container, publication.aside)
    if blob is None:
        return None
    what = f"{container}/{publication.aside}"
    if hashlib.sha256(blob.data).hexdigest() != publication.aside_sha256:
        raise UnreadableError(what, "is not what was put aside", CURE)
    aside = decode(blob.data, _ASIDE, what, CURE)
    found = aside.partition_by("subscription_id", as_dict=True, include_key=False)
    # One that had no file then and has none now is no partition.
    lying = standing.listing.partitions(standing.metric, standing.day)
    of = [name for name in publication.aside_of if (name,) in found or name in lying]
    return {name: found.get((name,), pl.DataFrame(schema=LEDGER)) for name in of}


async def hold(
    engine: Engine,
    standing: Standing,
    left: Left,
    partitions: Sequence[Partition],
    lasting: Collection[str],
    *,
    settled: bool,
) -> Publication | None:
    """Put aside what must not be lost and shut others out; give the publication as it stands then.

    `lasting` are the scopes (lower case) whose reading is the one that was published. Of a settled day what is
    changed in place must not be lost either, for only times can be taken back.

    Raises:
        Conflict: somebody else published the day meanwhile.
    """
    publication = standing.publication
    if publication is not None and left.aside_gone:
        publication = replace(publication, aside="", aside_sha256="", aside_of=())
    taken = [] if publication is None else _to_put_aside(publication, partitions, lasting, settled=settled)
    if not taken and not standing.is_half_written:
        return publication
    kept = replace(publication or _nothing(standing), unfinished=True, held=secrets.token_hex(6))
    kept = replace(kept, mixed=kept.mixed or not left.whole)
    if taken:
        known = [part for part in partitions if part.subscription in kept.aside_of]
        kept = await _put_aside(engine, kept, [*known, *taken])
    return replace(kept, etag=await engine.days.save_publication(kept))


def _to_put_aside(
    publication: Publication,
    partitions: Sequence[Partition],
    lasting: Collection[str],
    *,
    settled: bool,
) -> list[Partition]:
    twice = {part.subscription for part in written_twice(partitions)}
    return [
        part
        for part in partitions
        if part.subscription not in publication.aside_of
        and (part.subscription in twice or _takes_away(part, lasting) or (settled and part.restated.in_place))
    ]


async def _put_aside(engine: Engine, kept: Publication, partitions: Sequence[Partition]) -> Publication:
    frames = [
        part.prior.select(pl.lit(part.subscription).alias("subscription_id"), *LEDGER) for part in partitions
    ]
    name = f"{FOLDER}{kept.metric}/{kept.day.isoformat()}/{secrets.token_hex(6)}.parquet"
    data = encode(pl.concat(frames))
    await engine.storage.blobs.put(engine.settings.staging_container, name, data)
    names = tuple(sorted(part.subscription for part in partitions))
    return replace(kept, aside=name, aside_sha256=hashlib.sha256(data).hexdigest(), aside_of=names)


def _nothing(standing: Standing) -> Publication:
    """Give the row of a day of which nobody published anything: any run's scope list is newer than its none."""
    return Publication(
        metric=standing.metric,
        day=standing.day,
        view={},
        listed=(),
        scopes_at=_EVER,
        as_of=_EVER,
        status=INCOMPLETE,
        totals={},
        published_at=_EVER,
    )


async def forget(engine: Engine, publication: Publication | None) -> None:
    """Remove what was put aside, once the publication that named it is replaced; the sweep removes what is left."""
    if publication is not None and publication.aside:
        await engine.storage.blobs.delete(engine.settings.staging_container, publication.aside)


def day_of(name: str) -> tuple[str, date] | None:
    """Give metric and day of what was put aside; None for a blob that is none of ours."""
    metric, _, rest = name.removeprefix(FOLDER).partition("/")
    try:
        return metric, date.fromisoformat(rest.partition("/")[0])
    except ValueError:
        return None


def _takes_away(part: Partition, lasting: Collection[str]) -> bool:
    """Tell whether a partition's next files hold other rows of a lasting scope than it holds now."""
    if not part.to_write:
        return False
    of_lasting = _CURRENT & pl.col("x_SourceScope").is_in(list(lasting))
    before, *after = (
        frame.filter(of_lasting).select("x_SourceScope", "x_RecordId").sort(pl.all())
        for frame in (part.prior, part.without_gains(), part.restated.frame)
    )
    return not all(before.equals(frame) for frame in after)
