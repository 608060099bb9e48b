"""Ledger files of a settled day that lost history: it stands nowhere else, so the day is refused by name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from shared.days import Publication, PublishedFile
from shared.days.rows import PUBLICATION, partition
from shared.engine import Engine
from shared.ledger.partitions import Left
from shared.ledger.standing import Standing
from shared.staging import ENCODER
from shared.versions import UnreadableError
from shared.view import settled_at

CURE: Final = (
    "restore the blob and `run` again, or remove the CostDays entity ({}, {}): the day is then published without "
    "its history, as if for the first time"
)


def demand_history(
    engine: Engine, standing: Standing, ledger: Mapping[str, pl.DataFrame], left: Left
) -> None:
    """Make sure that no ledger file of a settled day was taken away, put back to an older one, or edited.

    `ledger` are the partitions as they lie there, `left` as they were taken back to what the publication left.

    Raises:
        UnreadableError: a file that was published is gone, or is another and none that a publisher may have left.
    """
    publication = standing.publication
    if publication is None:
        return
    container, settled = engine.settings.container, settled_at(standing.day, engine.settings.settle)
    names = {path: name for name, path in standing.listing.partitions(standing.metric, standing.day).items()}
    for file in publication.files:
        if not file.path.startswith("ledger/"):
            continue
        name = names.get(file.path)
        wrong: str | None
        if name is None:
            wrong = f"is gone, {file.rows} rows of a settled day with their history"
        elif standing.listing.etags[file.path] == file.etag or name in left.exact:
            continue
        else:
            wrong = _lost(publication, file, name, ledger[name], left.partitions[name], settled)
        if wrong is not None:
            cure = CURE.format(partition(standing.metric, standing.day), PUBLICATION)
            raise UnreadableError(f"{container}/{file.path}", wrong, cure)


def _lost(
    publication: Publication,
    file: PublishedFile,
    name: str,
    lying: pl.DataFrame,
    left: pl.DataFrame,
    settled: datetime,
) -> str | None:
    """Say what is wrong with a file that cannot be taken back to the one that was published, None if nothing is.

    A publisher that came to no end only adds to what had ended. What was written when the day was settled it leaves
    in a state that can be taken back, if it was the same release; a slow one that found the day open replaces rows,
    but in no file that is older than the one it found.
    """
    ended = lying.filter(pl.col("x_ValidTo") <= publication.as_of).height
    published = (publication.ended or {}).get(name, 0)
    if ended < published:
        return f"holds {ended} rows of a settled day's history, {published} were published"
    written = (publication.written or {}).get(name)
    if written is None or publication.mixed:
        return None
    late = written.at >= settled
    known = left.filter(pl.col("x_ValidFrom") <= publication.as_of).height
    if late and known < file.rows:
        return f"holds {known} of the {file.rows} rows that were published of a settled day"
    if publication.as_of < settled or written.encoder != ENCODER:
        return None
    latest = lying.select(pl.max_horizontal(pl.col("x_ValidFrom", "x_ValidTo").max())).item()
    if latest is None or latest < written.at:
        return f"ends with {latest}, rows of {written.at} were published of a settled day"
    return "holds other rows of a settled day than were published" if late else None
