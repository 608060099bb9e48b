"""What stands of a day before it is published: read in the one order that keeps a paused publisher harmless.

The publication with its ETag, then the day's blobs with theirs, **only then** the pointers. Pointers first would
let a paused publisher put an older reading back over a newer one's blobs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from shared.days import Pointer, Publication, PublishedFile
from shared.days.rows import SCOPE, TABLE, partition
from shared.engine import Engine
from shared.ledger.files import Listing, PublishedFiles, manifest_path
from shared.runs import Run
from shared.versions import UnreadableError
from shared.view import ScopeList, View, differs, lapsed_at, scope_list, settled_at, view_of


@dataclass(frozen=True, slots=True)
class Standing:
    """A day as it stands.

    `pointers` are those of the view.
    """

    metric: str
    day: date
    publication: Publication | None
    listing: Listing
    pointers: Mapping[str, Pointer]
    scopes: ScopeList
    view: View

    @property
    def is_published(self) -> bool:
        """Whether the day is published as its pointers say, every blob as that publication left it."""
        publication = self.publication
        if publication is None or differs(self.view, self.scopes, publication):
            return False
        return left_by(publication) == self.listing.etags

    @property
    def ledger_intact(self) -> bool:
        """Whether all of the ledger's files are those that the last publication left, none more and none less."""
        if self.publication is None:
            return False
        left = {file.path: file.etag for file in self.publication.files if file.path.startswith("ledger/")}
        lies = {path: etag for path, etag in self.listing.etags.items() if path.startswith("ledger/")}
        return left == lies

    @property
    def is_half_written(self) -> bool:
        """Whether a ledger file lies there that the last publication did not leave so."""
        return not self.ledger_intact and bool(self.listing.partitions(self.metric, self.day))

    @property
    def manifest_etag(self) -> str | None:
        """The ETag of the manifest that lies there, None where there is none."""
        return self.listing.etags.get(manifest_path(self.metric, self.day))

    @property
    def had_reading(self) -> bool:
        """Whether a publication with data stands: what comes after it may be an adjustment.

        A publication without any reading, of a day whose scopes all failed so far, said nothing yet.
        """
        return self.publication is not None and any(
            digest for _, digest, _, _ in self.publication.view.values()
        )

    def demand_pointers(self) -> None:
        """Make sure that every reading that was published still has its pointer: nobody but a person removes one.

        Raises:
            UnreadableError: a pointer is gone; without it, its scope's cost would be withdrawn.
        """
        view = {} if self.publication is None else self.publication.view
        for key, (path, digest, _, _) in view.items():
            pointer = self.pointers.get(key)
            if digest and (pointer is None or pointer.reading is None):
                keys = f"{partition(self.metric, self.day)}, {SCOPE}{key}"
                cure = f"restore it, or let `run` read {path} on that day"
                raise UnreadableError(f"{TABLE} entity ({keys})", "is gone, its reading was published", cure)

    def as_of(self, ledger: Mapping[str, pl.DataFrame], settle: timedelta) -> datetime:
        """Give the one time of this publication: no clock is asked, so a retry writes the same bytes.

        It is the latest of what changed, a scope's loss of the day included, and of any time that stands in the
        partitions already; and it is later than the last publication's, so that what is written now can be told
        from what that one left.
        """
        times = [pointer.changed_at for pointer in self.pointers.values()]
        times += [lapsed_at(pointer, settle) for pointer in self.pointers.values()]
        if self.publication is not None:
            times += [self.publication.as_of + MOMENT, self.scopes.since]
        times += [frame.select(pl.max_horizontal(_TIMES.max())).item() for frame in ledger.values()]
        return max((moment for moment in times if moment is not None), default=self.scopes.since)

    def known_since(self, as_of: datetime, *, whole: bool) -> datetime | None:
        """Give the time since which something is known of the day, None while no scope has a reading of it.

        It is the time of the first publication that had one, though no row bears witness of it where the day was
        empty then. Where what was left is not whole, it is now.
        """
        if all(pointer.reading is None for pointer in self.pointers.values()):
            return None
        known = None if self.publication is None or not whole else self.publication.known_since
        return as_of if known is None else known

    def settled_at(self, as_of: datetime, settle: timedelta) -> bool:
        """Tell whether the day was settled at that time."""
        return as_of >= settled_at(self.day, settle)


_TIMES = pl.col("x_ValidFrom", "x_ValidTo")
MOMENT = timedelta(microseconds=1)
"""The least by which one publication is later than the one before."""


def left_by(publication: Publication) -> dict[str, str]:
    """Give the files that a publication left, the manifest included: their ETags by name."""
    left = {file.path: file.etag for file in publication.files}
    left[manifest_path(publication.metric, publication.day)] = publication.manifest_etag
    return left


async def stand(engine: Engine, files: PublishedFiles, run: Run, metric: str, day: date) -> Standing:
    """Read how a day stands."""
    publication = await engine.days.publication(metric, day)
    listing = await files.list(metric, day)
    pointers = await engine.days.pointers(metric, day)
    scopes = scope_list(run, metric, publication)
    view = view_of(scopes, pointers, engine.settings.settle)
    return Standing(
        metric=metric,
        day=day,
        publication=publication,
        listing=listing,
        pointers={pointer.key: pointer for pointer in pointers if pointer.key in view},
        scopes=scopes,
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
