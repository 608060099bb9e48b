"""A day's ledger partitions as its last publication left them, whatever a publisher wrote since that came to no end.

Whoever publishes next begins with these: what was never published must not stand in the history as if it had been
believed. On a settled day a publisher only adds rows and ends others, each at the time of its publication, so what it
wrote is taken back by its times, until the file is the very one that was left, by its hash or by what its rows come
to. Not by the times alone: a publisher that was overtaken writes under an earlier one than the publication that
overtook it. Of a day that was open rows are replaced in place; if such a day is settled now, nobody knows any more
what was believed of it at that moment, unless its publisher replaced none.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from shared.days import Publication, PublishedFile, Written
from shared.engine import Engine
from shared.ledger.classify import until
from shared.ledger.files import ledger_path
from shared.ledger.fingerprint import fingerprint
from shared.ledger.hold import aside_of
from shared.ledger.partitions import Left
from shared.ledger.standing import Standing
from shared.staging import encode
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
        ledger: the partitions as they lie there; of those that are as they were left, the very same are given. Not
            of those that were put aside: whoever did so may still be about to write them, so they are written again.
        described: these, described.

    Raises:
        UnreadableError: what was put aside was replaced by something else.
    """
    aside = await aside_of(engine, standing)
    left = _left(engine, standing, ledger, described, aside or {})
    return replace(left, aside_gone=aside is None)


def _left(
    engine: Engine,
    standing: Standing,
    ledger: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
    aside: Mapping[str, pl.DataFrame],
) -> Left:
    publication = standing.publication
    if standing.ledger_intact and not aside:
        return Left(ledger, exact=frozenset(ledger))
    if publication is None:
        # Rows of a manifest whose files are not to be found again stand for it, as those of an open day do below.
        if standing.manifest_etag is not None:
            return Left(ledger, whole=False)
        return Left({name: frame.clear() for name, frame in ledger.items()})
    if publication.mixed:
        return Left({**ledger, **aside}, whole=False)
    back = {**as_described(standing, ledger, described, publication), **aside}
    exact = frozenset(back)
    if exact >= ledger.keys():
        return Left(back, exact=exact)
    # Somebody else edited a file, or a release before this one wrote the same rows in other bytes.
    by_time = {name: until(frame, publication.as_of) for name, frame in ledger.items()}
    if publication.as_of >= settled_at(standing.day, engine.settings.settle):
        return Left({**by_time, **back}, exact=exact)
    rows = {file.path: file.rows for file in publication.files}
    for name in ledger.keys() - back.keys():
        left = rows.get(ledger_path(standing.metric, standing.day, name), 0)
        if by_time[name] is ledger[name] or by_time[name].height != left:
            # What was replaced in place is not there to be taken back: the rows that came for it stand for it.
            return Left({**ledger, **aside}, whole=False, exact=exact)
    return Left({**by_time, **back}, exact=exact)


def as_described(
    standing: Standing,
    ledger: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
    publication: Publication,
) -> dict[str, pl.DataFrame]:
    """Give the partitions as they were at a publication, those alone that can be taken back to that."""
    hashes = {file.path: file.sha256 for file in publication.files}
    written = publication.written or {}
    back = {
        name: _when(
            frame,
            described[name].sha256,
            hashes.get(ledger_path(standing.metric, standing.day, name)),
            written.get(name),
        )
        for name, frame in ledger.items()
    }
    return {name: frame for name, frame in back.items() if frame is not None}


def _when(frame: pl.DataFrame, now: str, then: str | None, written: Written | None) -> pl.DataFrame | None:
    """Take a partition back to when its file's hash was another one, None where there was none.

    Equal rows may be written in other bytes, by another release or out of other buffers: these are known by their
    fingerprint.
    """
    if now == then or (then is None and frame.is_empty()):
        return frame
    nothing = frame.clear()
    if then is None:
        return nothing
    times = sorted({*frame["x_ValidFrom"], *frame["x_ValidTo"].drop_nulls()}, reverse=True)
    # The latest is the file as it lies there.
    earlier = (until(frame, at) for at in times[1:])
    for back in (*earlier, nothing):
        if hashlib.sha256(encode(back)).hexdigest() == then:
            return back
    if written is not None:
        for back in (frame, *(until(frame, at) for at in times[1:])):
            if fingerprint(back) == written.fingerprint:
                return back
    return None
