"""What this process knows of the generations it works on.

Committed pages never change, so a worker that has read a page need not read it again: a page at any depth
costs a warm worker one registry query for what others committed since, and a cold one a single query for all.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from shared.normalise.hashing import unpack
from shared.registry.pages import Entry, Page, StagedPage, Verdict, entries, staged_pages
from shared.storage.tables import Tables

REMEMBERED_ROWS = 4_000_000
"""Rows whose keys are remembered at once, 24 bytes each, over all generations."""

REMEMBERED_GENERATIONS = 1000
"""Closed generations whose staged pages are remembered by name."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as it stood at one moment: what others commit afterwards does not show in it.

    `keys` holds the row keys of its pages (`shared.normalise.hashing.KEY_COLUMNS`).
    """

    partition: str
    pages: Mapping[int, Page]
    keys: pl.DataFrame
    verdict: Verdict | None = None

    @property
    def last(self) -> int:
        """The number of the last page, 0 where there is none."""
        return max(self.pages, default=0)

    @property
    def tells_period(self) -> bool:
        """Whether any of its records tells the days of its billing period."""
        return any(page.tells_period for page in self.pages.values())

    def kinds(self, day: date) -> tuple[str, ...]:
        """Name the kinds of its records of a day, sorted."""
        return tuple(sorted({kind for page in self.pages.values() for kind in page.kinds.get(day, ())}))

    def entry(self, number: int) -> Entry | None:
        """Find the committed entry of that number: a page or the verdict."""
        if self.verdict is not None and self.verdict.number == number:
            return self.verdict
        return self.pages.get(number)

    def extended(self, later: list[Entry]) -> "Generation":
        """Give the generation with entries that were committed later."""
        pages = {
            entry.number: entry for entry in later if isinstance(entry, Page) and entry.number > self.last
        }
        verdict = next((entry for entry in later if isinstance(entry, Verdict)), self.verdict)
        keys = pl.concat([self.keys, *(unpack(page.packed) for page in pages.values())])
        # The packed bytes are held once, as keys.
        slim = {number: replace(page, packed=b"") for number, page in pages.items()}
        return replace(self, pages={**self.pages, **slim}, keys=keys, verdict=verdict)


class Generations:
    """Generations by registry partition, the least recently used forgotten first."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._known: OrderedDict[str, Generation] = OrderedDict()
        self._staged: OrderedDict[str, list[StagedPage]] = OrderedDict()

    async def load(self, partition: str) -> Generation:
        """Give a generation as it stands, with one query for what was committed since it was last asked for."""
        known = self._known.get(partition) or Generation(partition, {}, unpack(b""))
        generation = known.extended(await entries(self._tables, partition, after=known.last))
        self._known[partition] = generation
        self._known.move_to_end(partition)
        while len(self._known) > 1 and sum(len(g.keys) for g in self._known.values()) > REMEMBERED_ROWS:
            self._known.popitem(last=False)
        return generation

    async def staged_on(self, partition: str, day: date, *, with_repeated: bool = False) -> list[str]:
        """Name the staged blobs of a closed generation that hold rows of a day, in the order of the pages.

        Rows that a page shares with earlier ones, where they were kept, are among them only `with_repeated`.
        """
        staged = self._staged.pop(partition, None)
        if staged is None:
            staged = await staged_pages(self._tables, partition)
        self._staged[partition] = staged
        while len(self._staged) > REMEMBERED_GENERATIONS:
            self._staged.popitem(last=False)
        return [page.name for page in staged if day in page.days and (with_repeated or not page.repeated)]
