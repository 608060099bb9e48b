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

    A publisher that came to no end only adds to what had ended. Of what was written when the day was settled, it
    leaves what is still known by its times. What was written before that a slow publisher may have replaced, which
    found the day open: whatever stands there is taken for its work.
    """
    ended = lying.filter(pl.col("x_ValidTo") <= publication.as_of).height
    published = (publication.ended or {}).get(name, 0)
    if ended < published:
        return f"holds {ended} rows of a settled day's history, {published} were published"
    written = (publication.written or {}).get(name)
    if written is None or publication.mixed:
        return None
    # By today's setting too: while that was longer, rows may have been replaced since, and by the one of then.
    if not written.settled or written.at < settled:
        return None
    known = left.filter(pl.col("x_ValidFrom") <= publication.as_of).height
    if known < file.rows:
        return f"holds {known} of the {file.rows} rows that were published of a settled day"
    return "holds other rows of a settled day than were published"
