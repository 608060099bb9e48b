"""What is believed of a day now: the rows of each scope's one current reading, from where they lie.

A reading that was published stands in the ledger, in the current rows of its x_SourceScope; one that was not
lies in the staged pages of its generation. The ledger stands for a reading only as long as its files are those
that the publication left: a publisher that died half-way has left others, and then the staged pages count, or what
it put aside (`shared.ledger.hold`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

import polars as pl

from shared.days import Pointer, Reading
from shared.engine import Engine
from shared.ledger.cells import with_cells
from shared.ledger.columns import COST_COLUMN, STAGED
from shared.ledger.daily import adding_up
from shared.ledger.staged_rows import demand_read, owned_of
from shared.ledger.standing import Standing
from shared.runs import registry_partition
from shared.scopes import Scope
from shared.staging import StagedPageMissingError

SOURCED = {**STAGED, "x_SourceScope": pl.String()}
"""Staged rows with the scope (lower case) that said them."""

_CELLED = ("subscription_id", "x_ChargeType", "x_ResourceGroup", "x_SourceScope")


@dataclass(frozen=True, slots=True)
class Believed:
    """The rows of every scope's reading; `partial` are scopes of which only what was published is left.

    Those that left the settings are never `partial`: they take nothing over.
    """

    rows: pl.DataFrame
    partial: frozenset[str]

    def demand_no_gap(self, left: pl.DataFrame, owned: pl.DataFrame, scopes: Collection[Scope]) -> None:
        """Make sure that a scope whose pages are gone leaves no gap where it would have to take over.

        A subscription speaks for all its resource groups, so one that some scope claims is looked at by itself.

        Args:
            left: the current rows that the last publication left.
            owned: the rows that count now.
            scopes: all that have a reading of the day.

        Raises:
            StagedPageMissingError: charges of a subscription, such a group and type that were published have no
                owner now.
        """
        if not self.partial:
            return
        kept = _kinds(owned, scopes)
        gap = _kinds(left, scopes).join(kept, on=kept.columns, how="anti", nulls_equal=True)
        if len(gap):
            subscription, group, charge = gap.sort(gap.columns).row(0)
            where = subscription if group is None else f"the resource group {group} of {subscription}"
            raise StagedPageMissingError(
                f"{charge} of {where} would be lost: only {', '.join(sorted(self.partial))} could take it "
                "over, and its pages are gone; read that scope's days again"
            )


def _kinds(rows: pl.DataFrame, scopes: Collection[Scope]) -> pl.DataFrame:
    return (
        with_cells(rows.select(_CELLED), scopes).select("subscription_id", "group", "x_ChargeType").unique()
    )


def current_rows(day: date, left: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Give the current rows of a day's partitions, by subscription, as `SOURCED`."""
    frames = [pl.DataFrame(schema=SOURCED)]
    for subscription, frame in left.items():
        rows = frame.filter(pl.col("x_ValidTo").is_null())
        rows = rows.with_columns(usage_date=pl.lit(day), subscription_id=pl.lit(subscription))
        frames.append(rows.select(*SOURCED))
    return pl.concat(frames)


async def believed(engine: Engine, standing: Standing, left: pl.DataFrame) -> Believed:
    """Give the rows of every scope's reading, shadowed ones included where their pages are still there.

    Of a scope that left the settings, after its reading was published, these are the rows that count so far.

    `left` are the current rows that the last publication left.

    Raises:
        StagedPageMissingError: a reading has lost a page, and what was published does not stand for it.
        UnreadableError: a page was replaced by one of other amounts.
        TotalError: a total has more than 20 digits before the point.
    """
    frames, partial = [pl.DataFrame(schema=SOURCED)], set()
    published = {str(key[0]): rows for key, rows in left.partition_by("x_SourceScope", as_dict=True).items()}
    nothing = left.clear()
    for pointer in standing.pointers.values():
        if pointer.reading is None or not pointer.reading.records:
            continue
        scope = pointer.scope.lower()
        frame = await _rows(engine, standing, published.get(scope, nothing), pointer, pointer.reading)
        frames.append(frame)
        if len(frame) != pointer.reading.records and pointer.key in standing.scopes.keys:
            partial.add(scope)
    return Believed(pl.concat(frames), frozenset(partial))


def lasting(standing: Standing) -> frozenset[str]:
    """Name the scopes (lower case) whose reading is the one that was published."""
    return frozenset(
        pointer.scope.lower() for pointer in standing.pointers.values() if _was_published(standing, pointer)
    )


async def _rows(
    engine: Engine, standing: Standing, left: pl.DataFrame, pointer: Pointer, reading: Reading
) -> pl.DataFrame:
    published = left if _was_published(standing, pointer) else None
    if published is not None and standing.ledger_intact and len(published) == reading.records:
        return published
    # Who left the settings keeps what counts of it, and gets back nothing that another has replaced: if that
    # other's cost is withdrawn, an old reading must not bring it back.
    has_left = pointer.key not in standing.scopes.keys
    if has_left and published is not None and _stands(standing, published, pointer.key):
        return published
    try:
        return await _from_pages(engine, standing, pointer, reading)
    except StagedPageMissingError:
        # What others shadow is gone with its pages; what counted of it stands in the ledger.
        if published is not None and _stands(standing, published, pointer.key):
            return published
        raise


def _was_published(standing: Standing, pointer: Pointer) -> bool:
    if standing.publication is None or pointer.reading is None:
        return False
    _, digest, shape, _ = standing.publication.view.get(pointer.key, ("", "", "", ""))
    return (digest, shape) == (pointer.reading.digest, pointer.reading.shape)


def _stands(standing: Standing, published: pl.DataFrame, key: str) -> bool:
    """Tell whether what is left of a scope's rows are those that were published.

    They are if all of the ledger is as the publication left it, or if they are as many and add up to as much as
    it says of the scope. A partition that is gone leaves no rows behind that could be looked at, so nothing less
    will do.
    """
    if standing.ledger_intact:
        return True
    owned = None if standing.publication is None else standing.publication.owned.get(key)
    return owned == owned_of(published, COST_COLUMN[standing.metric])


async def _from_pages(engine: Engine, standing: Standing, pointer: Pointer, reading: Reading) -> pl.DataFrame:
    day, partition = standing.day, registry_partition(reading.run, reading.slice, reading.generation)
    names = await engine.generations.staged_on(partition, day, with_repeated=reading.with_repeated)
    rows = await engine.staging.read(names, day)
    with adding_up(day):
        found = owned_of(rows, COST_COLUMN[standing.metric])
    demand_read(engine.settings.staging_container, names, day, found, reading)
    return rows.with_columns(x_SourceScope=pl.lit(pointer.scope.lower()))
