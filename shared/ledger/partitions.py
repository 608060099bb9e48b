"""A day's ledger partitions: as they lie there, as they should be, and how the change is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from shared.days import PublishedFile
from shared.ledger.classify import NEW, RESHAPED, RETRACTED, Restatement, restate
from shared.ledger.columns import LEDGER, PAYLOAD
from shared.ledger.files import Listing, PublishedFiles, ledger_path
from shared.ledger.standing import Standing

_CURRENT = pl.col("x_ValidTo").is_null()


@dataclass(frozen=True, slots=True)
class Partition:
    """One subscription's partition: as it lies there (`file` is None where there is none) and as it should be."""

    subscription: str
    file: PublishedFile | None
    prior: pl.DataFrame
    restated: Restatement

    @property
    def loses(self) -> bool:
        """Whether a cost leaves it, which another partition may get."""
        return self.restated.counts[RETRACTED] + self.restated.counts[RESHAPED] > 0

    @property
    def gains(self) -> bool:
        """Whether a cost comes to it, which another partition may lose."""
        return self.restated.counts[NEW] + self.restated.counts[RESHAPED] > 0

    def without_gains(self, as_of: datetime) -> pl.DataFrame:
        """Give it as it should be, less what comes with this publication."""
        comes = _CURRENT & (pl.col("x_ValidFrom") == as_of) & pl.col("x_Change").is_in([NEW, RESHAPED])
        return self.restated.frame.filter(~comes)


def lay_over(
    standing: Standing,
    ledger: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
    rows: pl.DataFrame,
    *,
    as_of: datetime,
    settled: bool,
) -> list[Partition]:
    """Lay what is believed now (`rows`, owned ones only) over what lies there, partition by partition.

    A partition that loses its last current row stays for its history.
    """
    columns = [*PAYLOAD, "x_SourceScope"]
    news = {
        str(key[0]): frame.select(columns)
        for key, frame in rows.partition_by("subscription_id", as_dict=True).items()
    }
    nothing, empty = rows.clear().select(columns), pl.DataFrame(schema=LEDGER)
    partitions = []
    for subscription in sorted(ledger.keys() | news.keys()):
        prior, new = ledger.get(subscription, empty), news.get(subscription, nothing)
        restated = restate(
            prior,
            new,
            at=as_of,
            settled=settled,
            published_before=standing.had_reading,
            reshaped_scopes=_reshaped(standing, prior, new),
        )
        partitions.append(Partition(subscription, described.get(subscription), prior, restated))
    return partitions


async def write(
    files: PublishedFiles, standing: Standing, partitions: Sequence[Partition], as_of: datetime
) -> list[PublishedFile]:
    """Write what changed, what loses costs before what gains some, and describe all partitions by subscription.

    A cost that moves between subscriptions may be missing for a moment to whoever reads by a glob; it is never
    there twice. So a partition that both loses and gains, while another loses too, is written twice: first
    without what comes.

    Raises:
        Conflict: somebody else wrote one of them since they were listed.
    """
    listing, described = standing.listing, {}
    losing = [part for part in partitions if part.loses]
    if len(losing) > 1:
        for part in (part for part in losing if part.gains):
            path = ledger_path(standing.metric, standing.day, part.subscription)
            file = await files.write(listing, path, part.without_gains(as_of))
            listing = Listing({**listing.etags, path: file.etag})
    for part in sorted(partitions, key=lambda part: (not part.loses, part.gains, part.subscription)):
        if part.restated.changed or part.file is None:
            path = ledger_path(standing.metric, standing.day, part.subscription)
            described[part.subscription] = await files.write(listing, path, part.restated.frame)
        else:
            described[part.subscription] = part.file
    return [described[subscription] for subscription in sorted(described)]


def current(partitions: Sequence[Partition]) -> pl.DataFrame:
    """Give the current rows of all partitions, each with its subscription."""
    frames = [pl.DataFrame(schema={"subscription_id": pl.String(), **LEDGER})]
    for part in partitions:
        rows = part.restated.frame.filter(_CURRENT).with_columns(subscription_id=pl.lit(part.subscription))
        frames.append(rows.select(frames[0].columns))
    return pl.concat(frames)


def _reshaped(standing: Standing, prior: pl.DataFrame, new: pl.DataFrame) -> frozenset[str]:
    """Name the scopes whose rows come in another shape than those they stand for now.

    Where a scope takes over what another brought in another shape, both are named.
    """
    if standing.publication is None:
        return frozenset()
    before = {path: shape for path, _, shape, _ in standing.publication.view.values() if shape}
    now = {
        pointer.scope.lower(): pointer.reading.shape
        for pointer in standing.pointers.values()
        if pointer.reading is not None
    }
    old_scopes = set(prior.filter(_CURRENT)["x_SourceScope"].unique())
    new_scopes = set(new["x_SourceScope"].unique())
    changed = {scope for scope in old_scopes & new_scopes if before.get(scope) != now.get(scope)}
    for left in old_scopes - new_scopes:
        takers = {scope for scope in new_scopes - old_scopes if now.get(scope) != before.get(left)}
        changed |= takers | ({left} if takers else set())
    return frozenset(changed)
