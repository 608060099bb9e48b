"""Cost that is suddenly gone: when a reading is not believed, and who may confirm it.

A subscription that moved to another agreement and an outage that answers 204 look alike from within one scope. A
wider scope that sees the subscription, and was read after its cost was last seen, tells them apart.
"""

from datetime import date
from decimal import Decimal

import polars as pl

from shared.days import Pointer, Reading
from shared.engine import Engine
from shared.events import VANISHED_CONFIRMED, emit
from shared.ledger.columns import COST_COLUMN
from shared.normalise.decimals import money_sum
from shared.normalise.exact import near
from shared.plan.windows import Window
from shared.runs import Slice, registry_partition
from shared.scopes import Scope
from shared.staging import StagedPageMissingError
from shared.versions import UnreadableError, tell


def vanishes(pointer: Pointer | None, reading: Reading) -> bool:
    """Tell whether a reading would empty a reconciled day, or take away more than half of its absolute amounts."""
    if pointer is None or pointer.reading is None or not pointer.reading.agreed:
        return False
    before = pointer.reading
    if before.order >= reading.order:
        return False
    if before.records and not reading.records:
        return True
    return any(
        amount > 0 and 2 * reading.absolutes.get(currency, Decimal(0)) < amount
        for currency, amount in before.absolutes.items()
    )


async def is_confirmed(engine: Engine, piece: Slice, pointer: Pointer, reading: Reading) -> bool:
    """Tell whether a wider scope says of a day what this reading says, since the cost was last seen.

    It must have rows of the same subscription (and resource group) in that very reading of the window, on whichever
    day: one that does not see them would confirm anything.
    """
    scope = Scope.parse(piece.scope)
    if scope.is_wide or pointer.reading is None:
        return False
    try:
        day = (await engine.days.days(piece.metric, pointer.day, pointer.day))[pointer.day]
    except UnreadableError as error:
        tell(error)
        return False
    for other in day.pointers:
        if (
            other.reading is None
            or other.key == piece.scope_key
            or not Scope.parse(other.scope).may_contain(scope)
        ):
            continue
        if not other.reading.agreed or other.reading.read_at <= pointer.reading.read_at:
            continue
        said = await _said(engine, other.reading, scope, piece, pointer.day)
        if said is not None and _same(said, reading, piece.tolerance):
            emit(
                VANISHED_CONFIRMED,
                run=piece.run,
                slice=piece.name,
                scope=piece.scope,
                day=pointer.day.isoformat(),
                by=other.scope,
            )
            return True
    return False


async def _said(
    engine: Engine, reading: Reading, scope: Scope, piece: Slice, day: date
) -> dict[str, Decimal] | None:
    """Add up what a wider reading has of a scope on a day; None where it does not see it, or its pages are gone."""
    partition = registry_partition(reading.run, reading.slice, reading.generation)
    seen = pl.col("subscription_id") == scope.subscription_id
    if scope.resource_group is not None:
        seen &= pl.col("x_ResourceGroup") == scope.resource_group
    sees, rows = False, pl.DataFrame()
    try:
        for other in Window(piece.first, piece.last).days:
            names = await engine.generations.staged_on(partition, other, with_repeated=reading.with_repeated)
            frame = await engine.staging.read(names, other)
            if other == day and len(frame) != reading.records:
                return None
            found = frame.filter(seen)
            sees = sees or not found.is_empty()
            rows = found if other == day else rows
    except (StagedPageMissingError, UnreadableError):
        return None
    if not sees:
        return None
    cost = COST_COLUMN[piece.metric]
    return dict(rows.group_by("BillingCurrency").agg(money_sum(cost)).iter_rows())


def _same(said: dict[str, Decimal], reading: Reading, tolerance: Decimal) -> bool:
    return all(
        near(
            said.get(currency, Decimal(0)),
            reading.totals.get(currency, Decimal(0)),
            reading.absolutes.get(currency, Decimal(0)),
            tolerance,
        )
        for currency in said.keys() | reading.totals.keys()
    )
