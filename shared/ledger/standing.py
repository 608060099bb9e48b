"""What stands of a day before it is published: read in the one order that keeps a paused publisher harmless.

The publication with its ETag, then the day's blobs with theirs, **only then** the pointers. Pointers first would
let a paused publisher put an older reading back over a newer one's blobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from shared.days import Pointer, Publication, PublishedFile
from shared.engine import Engine
from shared.ledger.files import Listing, PublishedFiles, intact, manifest_path
from shared.runs import ListedScope, Run
from shared.view import View, differs, view_of


@dataclass(frozen=True, slots=True)
class Standing:
    """A day as it stands.

    `pointers` are those of the view; `listed` is the scope list the day is published for and `scopes_at` when it
    came to be.
    """

    metric: str
    day: date
    publication: Publication | None
    listing: Listing
    pointers: Mapping[str, Pointer]
    listed: Sequence[ListedScope]
    scopes_at: datetime
    view: View

    @property
    def is_published(self) -> bool:
        """Whether the day is published as its pointers say, every blob as that publication left it."""
        publication = self.publication
        if publication is None or differs(self.view, publication):
            return False
        left = {file.path: file.etag for file in publication.files}
        left[manifest_path(self.metric, self.day)] = publication.manifest_etag
        return left == self.listing.etags

    @property
    def ledger_intact(self) -> bool:
        """Whether the ledger's files are those that the last publication left."""
        return self.publication is not None and intact(self.listing, self.publication.files)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the scope list, sorted."""
        return tuple(sorted(scope.key for scope in self.listed))

    def as_of(self, ledger: Mapping[str, pl.DataFrame]) -> datetime:
        """Give the one time of this publication: no clock is asked, so a retry writes the same bytes.

        It is the latest of what changed and of any time that stands in the partitions already.
        """
        times = [pointer.changed_at for pointer in self.pointers.values()]
        if self.publication is not None:
            times += [self.publication.as_of, self.scopes_at]
        times += [frame.select(pl.max_horizontal(_TIMES.max())).item() for frame in ledger.values()]
        return max((moment for moment in times if moment is not None), default=self.scopes_at)

    def settled_at(self, as_of: datetime, settle: timedelta) -> bool:
        """Tell whether the day was settled at that time."""
        return as_of >= datetime.combine(self.day, time(), UTC) + timedelta(days=1) + settle


_TIMES = pl.col("x_ValidFrom", "x_ValidTo")


async def stand(engine: Engine, files: PublishedFiles, run: Run, metric: str, day: date) -> Standing:
    """Read how a day stands."""
    publication = await engine.days.publication(metric, day)
    listing = await files.list(metric, day)
    pointers = await engine.days.pointers(metric, day)
    listed, scopes_at = _scope_list(run, metric, publication)
    view = view_of(metric, listed, pointers)
    return Standing(
        metric=metric,
        day=day,
        publication=publication,
        listing=listing,
        pointers={pointer.key: pointer for pointer in pointers if pointer.key in view},
        listed=listed,
        scopes_at=scopes_at,
        view=view,
    )


async def ledger_of(
    files: PublishedFiles, standing: Standing
) -> tuple[dict[str, pl.DataFrame], dict[str, PublishedFile]]:
    """Read the day's ledger partitions as they were listed, by subscription.

    Raises:
        Conflict: one of them is no longer the one that was listed.
    """
    frames: dict[str, pl.DataFrame] = {}
    described: dict[str, PublishedFile] = {}
    for subscription, path in standing.listing.partitions(standing.metric, standing.day).items():
        frames[subscription], described[subscription] = await files.read(standing.listing, path)
    return frames, described


def _scope_list(
    run: Run, metric: str, publication: Publication | None
) -> tuple[tuple[ListedScope, ...], datetime]:
    """Take the run's scope list, dated by its change: a list that did not change keeps its time."""
    listed = tuple(scope for scope in run.scopes if metric in scope.metrics)
    if publication is None:
        return listed, run.created_at
    if tuple(sorted(scope.key for scope in listed)) == publication.listed:
        return listed, publication.scopes_at
    if publication.scopes_at > run.created_at:
        # An older run must not bring an older scope list back; the newer one's paths stand in its view.
        view = publication.view
        newer = (ListedScope(view[key][0], key, "", (), (metric,)) for key in publication.listed)
        return tuple(newer), publication.scopes_at
    return listed, run.created_at
