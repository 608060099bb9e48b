"""A day's ledger partitions: as they lie there, as they should be, and how the change is written."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any, Final

import polars as pl

from shared.days import PublishedFile
from shared.ledger.cells import CELL, with_cells
from shared.ledger.classify import NEW, RESHAPED, RESTATED, RETRACTED, Restatement, restate, sort_ledger
from shared.ledger.columns import COST_COLUMN, LEDGER, MONEY, PAYLOAD, TIMESTAMP
from shared.ledger.files import Listing, PublishedFiles, ledger_path
from shared.ledger.standing import Standing
from shared.normalise.decimals import money_sum
from shared.normalise.exact import minus
from shared.read.shape import names_groups
from shared.scopes import Scope

_CURRENT = pl.col("x_ValidTo").is_null()
_ROW = ["x_RecordId", "x_SourceScope", "BillingCurrency", "BilledCost", "EffectiveCost", "nth"]
_ANTI: Final[Mapping[str, Any]] = {"how": "anti", "nulls_equal": True}
_PLACE = (*CELL, "BillingCurrency")
"""Ownership is decided for each currency by itself."""
_GROUP: Final = _PLACE.index("group")

Place = tuple[str | None, ...]
"""The values of `_PLACE`."""
Owners = Mapping[Place, set[str]]
"""By place, the scopes (lower case) that have rows there."""


@dataclass(frozen=True, slots=True)
class Left:
    """Partitions by subscription as the last publication left them.

    `whole` is false where some of what an open day held was replaced in place by a publisher that came to no end.
    `exact` are those that are known to be as they were left. `aside_gone`: what was put aside is no longer there.
    """

    partitions: Mapping[str, pl.DataFrame]
    whole: bool = True
    exact: frozenset[str] = frozenset()
    aside_gone: bool = False


@dataclass(frozen=True)
class Partition:
    """One subscription's partition: as the last publication left it (`prior`) and as it should be.

    `file` is what lies there, None where there is none, and `lying` its rows: `prior` itself, or others where a
    publisher came to no end. What it loses and gains is asked several times, and found out once.
    """

    subscription: str
    file: PublishedFile | None
    prior: pl.DataFrame
    restated: Restatement
    lying: pl.DataFrame

    @property
    def lies_so(self) -> bool:
        """Whether what lies there is what the last publication left."""
        return self.lying is self.prior

    @property
    def to_write(self) -> bool:
        """Whether what lies there is not what should."""
        return self.restated.changed or self.file is None or not self.lies_so

    @cached_property
    def loses(self) -> bool:
        """Whether a cost, or a part of one, leaves what lies there, which another partition may get."""
        if not self.lies_so:
            return not _rows_of(self.lying).join(_rows_of(self.restated.frame), on=_ROW, **_ANTI).is_empty()
        went = self.restated.counts[RETRACTED] + self.restated.counts[RESHAPED]
        return went > 0 or any(more < 0 for more in self._more)

    @cached_property
    def gains(self) -> bool:
        """Whether a cost, or a part of one, comes to what lies there, which another partition may lose."""
        if not self.lies_so:
            return not _rows_of(self.restated.frame).join(_rows_of(self.lying), on=_ROW, **_ANTI).is_empty()
        came = self.restated.counts[NEW] + self.restated.counts[RESHAPED]
        return came > 0 or any(more > 0 for more in self._more)

    @property
    def ended(self) -> int:
        """How many ended rows it should hold: its history."""
        return self.restated.frame.filter(~_CURRENT).height

    def without_gains(self) -> pl.DataFrame:
        """Give it as it should be, less what comes with this publication, or does not lie there yet.

        Of a row that is dearer with it, the former version stays.
        """
        if not self.lies_so:
            stays = _rows_of(self.restated.frame).join(
                _rows_of(self.lying), on=_ROW, how="semi", nulls_equal=True
            )
            former = self.restated.frame.filter(~_CURRENT)
            return sort_ledger(pl.concat([former, stays.select(former.columns)]))
        came = _CURRENT & (pl.col("x_ValidFrom") == self.restated.at)
        rows = self.restated.frame.filter(~(came & pl.col("x_Change").is_in([NEW, RESHAPED])))
        if not self.restated.counts[RESTATED]:
            return rows
        dearer = pl.col("x_RecordId").is_in(self._dearer().implode())
        went = (pl.col("x_ValidTo") == self.restated.at) & (pl.col("x_Ended") == RESTATED)
        rows = rows.filter(~(dearer & (came | went.fill_null(value=False))))
        _, gone = self._restated()
        still = gone.filter(dearer).with_columns(
            x_ValidTo=pl.lit(None, TIMESTAMP), x_Ended=pl.lit(None, pl.String)
        )
        return sort_ledger(pl.concat([rows, still]))

    def _dearer(self) -> pl.Series:
        """Name the records that are restated and cost more."""
        costs = _costs(*self._restated(), "x_RecordId")
        return costs.filter(pl.col("came") > pl.col("gone"))["x_RecordId"]

    @cached_property
    def _more(self) -> list[Decimal]:
        """By how much the rows that were restated cost more, in each currency."""
        if not self.restated.counts[RESTATED]:
            return []
        changes = _costs(*self._restated(), "BillingCurrency")
        return [minus(came, gone) for _, came, gone in changes.iter_rows()]

    def _restated(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Give the later and the former versions of the rows that were restated."""
        came, gone = self.restated.came, self.restated.gone
        return came.filter(pl.col("x_Change") == RESTATED), gone.filter(pl.col("x_Ended") == RESTATED)


def _costs(came: pl.DataFrame, gone: pl.DataFrame, by: str) -> pl.DataFrame:
    """Add up the cost of the rows that came and of those that went: `by`, `came` and `gone`."""
    rows = [frame.select(by, cost=pl.coalesce(*COST_COLUMN.values())) for frame in (came, gone)]
    sums = [
        frame.group_by(by).agg(money_sum("cost").alias(name))
        for name, frame in zip(("came", "gone"), rows, strict=True)
    ]
    return (
        sums[0]
        .join(sums[1], on=by, how="full", coalesce=True)
        .with_columns(pl.col("came", "gone").fill_null(pl.lit("0").cast(MONEY)))
    )


def _rows_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the current rows, equal ones numbered."""
    return frame.filter(_CURRENT).with_columns(nth=pl.int_range(pl.len()).over(_ROW[:-1]))


def lay_over(
    standing: Standing,
    left: Left,
    ledger: Mapping[str, pl.DataFrame],
    described: Mapping[str, PublishedFile],
    rows: pl.DataFrame,
    *,
    as_of: datetime,
    settled: bool,
) -> list[Partition]:
    """Lay what is believed now (`rows`, owned ones only) over what the last publication left, by partition.

    `left` are the partitions as it left them, `ledger` as they lie there and are `described`. One that loses its
    last current row stays for its history. Of what is not whole no history is kept: it would be a mixture.
    """
    columns = [*PAYLOAD, "x_SourceScope"]
    news = {
        str(key[0]): frame.select(columns)
        for key, frame in rows.partition_by("subscription_id", as_dict=True).items()
    }
    nothing, empty = rows.clear().select(columns), pl.DataFrame(schema=LEDGER)
    partitions = []
    for subscription in sorted(left.partitions.keys() | news.keys()):
        prior, new = left.partitions.get(subscription, empty), news.get(subscription, nothing)
        restated = restate(
            prior,
            new,
            at=as_of,
            settled=settled,
            keeps_former=settled and left.whole,
            published_before=standing.had_reading,
            is_reshaped=_reshaped(standing, subscription, prior, new),
        )
        lying = ledger.get(subscription, prior)
        partitions.append(Partition(subscription, described.get(subscription), prior, restated, lying))
    return partitions


async def write(
    files: PublishedFiles, standing: Standing, partitions: Sequence[Partition]
) -> list[PublishedFile]:
    """Write what changed, what loses costs before what gains some, and describe all partitions by subscription.

    A cost that moves between subscriptions, or a part of it, may be missing for a moment to whoever reads by a
    glob; it is never there twice. So a partition that both loses and gains, while another loses too, is written
    twice: first without what comes.

    Raises:
        Conflict: somebody else wrote one of them since they were listed.
    """
    listing, described = standing.listing, {}
    for part in written_twice(partitions):
        path = ledger_path(standing.metric, standing.day, part.subscription)
        file = await files.write(listing, path, part.without_gains())
        listing = Listing({**listing.etags, path: file.etag})
    for part in sorted(partitions, key=lambda part: (not part.loses, part.gains, part.subscription)):
        if part.file is None or part.to_write:
            path = ledger_path(standing.metric, standing.day, part.subscription)
            described[part.subscription] = await files.write(listing, path, part.restated.frame)
        else:
            described[part.subscription] = part.file
    return [described[subscription] for subscription in sorted(described)]


def written_twice(partitions: Sequence[Partition]) -> list[Partition]:
    """Name the partitions that both lose and gain costs, while another loses some too."""
    losing = [part for part in partitions if part.loses]
    return [part for part in losing if part.gains] if len(losing) > 1 else []


def current(partitions: Sequence[Partition]) -> pl.DataFrame:
    """Give the current rows of all partitions, each with its subscription."""
    frames = [pl.DataFrame(schema={"subscription_id": pl.String(), **LEDGER})]
    for part in partitions:
        rows = part.restated.frame.filter(_CURRENT).with_columns(subscription_id=pl.lit(part.subscription))
        frames.append(rows.select(frames[0].columns))
    return pl.concat(frames)


def _reshaped(
    standing: Standing, subscription: str, prior: pl.DataFrame, new: pl.DataFrame
) -> Callable[[pl.DataFrame], pl.Series]:
    """Tell which rows of a partition come in another shape than those they stand for now, or went for such.

    Cell by cell: where a scope takes a cell over from another that brought it in another shape, the rows of both,
    whatever else either keeps or had there. Rows of a reading that named no resource groups stood for all groups.
    """
    scopes = [Scope.parse(pointer.scope) for pointer in standing.pointers.values()]

    def cells(rows: pl.DataFrame) -> pl.DataFrame:
        said = rows.select("x_ChargeType", "x_ResourceGroup", "x_SourceScope", "BillingCurrency")
        said = said.with_columns(subscription_id=pl.lit(subscription))
        return with_cells(said, scopes).select(*_PLACE, "scope")

    old, now = (_scopes_by_cell(cells(rows)) for rows in (prior.filter(_CURRENT), new))
    changed = _changed_places(standing, old, now)
    schema = dict.fromkeys((*_PLACE, "scope"), pl.String())
    reshaped = pl.DataFrame(list(changed), schema=schema, orient="row").with_columns(reshaped=True)

    def is_reshaped(rows: pl.DataFrame) -> pl.Series:
        found = cells(rows).join(
            reshaped, on=[*_PLACE, "scope"], how="left", nulls_equal=True, maintain_order="left"
        )
        return found["reshaped"].fill_null(value=False)

    return is_reshaped


def _scopes_by_cell(cells: pl.DataFrame) -> Owners:
    result: dict[Place, set[str]] = defaultdict(set)
    for *cell, path in cells.unique(maintain_order=True).iter_rows():
        result[tuple(cell)].add(path)
    return result


def _changed_places(standing: Standing, old: Owners, now: Owners) -> set[Place]:
    """Name the places, each with a scope, whose rows come in another shape, or give way to such."""
    if standing.publication is None or standing.publication.says_nothing:
        return set()
    before = {path: shape for path, _, shape, _ in standing.publication.view.values() if shape}
    after = {
        pointer.scope.lower(): pointer.reading.shape
        for pointer in standing.pointers.values()
        if pointer.reading is not None
    }
    changed = {
        (*place, path)
        for place, had in old.items()
        for path in _changed(had, now.get(place, set()), before, after)
    }
    for place, had in old.items():
        for path in had:
            if place[_GROUP] is None and path in before and not names_groups(before[path]):
                changed |= _changed_in_groups(place, path, old, now, before, after)
    return changed


def _changed_in_groups(
    place: Place, path: str, old: Owners, now: Owners, before: Mapping[str, str], after: Mapping[str, str]
) -> set[Place]:
    """Name what stands now, in any group, for the rows that a scope had at a place without telling their groups."""
    changed: set[Place] = set()
    for other, scopes in now.items():
        if other != place and _of_any_group(other) == _of_any_group(place):
            found = _changed({path} | old.get(other, set()), scopes, before, after)
            changed |= {(*other, scope) for scope in found} | ({(*place, path)} if path in found else set())
    return changed


def _of_any_group(place: Place) -> Place:
    return (*place[:_GROUP], *place[_GROUP + 1 :])


def _changed(
    old_scopes: set[str], new_scopes: set[str], before: Mapping[str, str], after: Mapping[str, str]
) -> set[str]:
    """Name the scopes of a cell whose rows are in another shape than before, or give way to such or replace such."""
    changed = {scope for scope in old_scopes & new_scopes if before.get(scope) != after.get(scope)}
    for left in old_scopes - new_scopes:
        takers = {scope for scope in new_scopes - old_scopes if after.get(scope) != before.get(left)}
        changed |= takers | ({left} if takers else set())
    return changed
