"""Cost that is suddenly gone: when a reading is not believed, and who may confirm it.

A subscription that moved to another agreement and an outage that answers 204 look alike from within one scope. A
wider scope that sees the subscription, and was read after its cost was last seen, tells them apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from shared.days import Owned, Pointer, Reading
from shared.engine import Engine
from shared.events import VANISHED_CONFIRMED, emit
from shared.ledger.columns import COST_COLUMN
from shared.ledger.daily import TotalError, adding_up
from shared.ledger.staged_rows import demand_read, owned_of
from shared.normalise.decimals import money_sum
from shared.normalise.exact import near
from shared.plan.windows import Window
from shared.runs import Slice, registry_partition
from shared.scopes import Scope
from shared.staging import StagedPageMissingError
from shared.versions import UnreadableError, tell

ONE_UNIT = Decimal(1)
"""A currency that had less than this on a day is small change beside one that had as much or more.

Amounts of two currencies cannot be compared, but less than one unit is little in each.
"""


def vanishes(pointer: Pointer | None, reading: Reading) -> bool:
    """Tell whether a reading would empty a reconciled day, or take away more than half of its absolute amounts.

    Each currency is judged by itself, but for small change.
    """
    if pointer is None or pointer.reading is None or not pointer.reading.agreed:
        return False
    before = pointer.reading
    if before.order >= reading.order:
        return False
    if before.records and not reading.records:
        return True
    least = ONE_UNIT if max(before.absolutes.values(), default=Decimal(0)) >= ONE_UNIT else Decimal(0)
    return any(
        amount > 0 and amount >= least and 2 * reading.absolutes.get(currency, Decimal(0)) < amount
        for currency, amount in before.absolutes.items()
    )


async def unconfirmed(
    engine: Engine, piece: Slice, known: Mapping[date, Pointer], gone: Mapping[date, Reading]
) -> list[date]:
    """Give those of the days whose cost is gone on which no wider scope says what their reading says.

    It must have been read since the cost was last seen, and have rows of the same subscription (and resource group)
    in that very reading of the window, on whichever day: one that does not see them would confirm anything.
    """
    scope = Scope.parse(piece.scope)
    if scope.is_wide or not gone:
        return list(gone)
    days = await engine.days.days(piece.metric, min(gone), max(gone), refused=lambda _, error: tell(error))
    witness = _Witness(engine, piece, scope)
    left = []
    for day, reading in gone.items():
        last = known[day].reading
        heard = () if day not in days or last is None else days[day].pointers
        wider = [other for other in heard if _may_tell(other, scope) and _since(other.reading, last)]
        by = await witness.of(day, reading, wider)
        if by is None:
            left.append(day)
            continue
        emit(
            VANISHED_CONFIRMED,
            run=piece.run,
            slice=piece.name,
            scope=piece.scope,
            day=day.isoformat(),
            by=by,
        )
    return left


def _may_tell(other: Pointer, scope: Scope) -> bool:
    path = Scope.parse(other.scope)
    return path.key != scope.key and path.may_contain(scope)


def _since(wider: Reading | None, last: Reading | None) -> bool:
    return wider is not None and last is not None and wider.agreed and wider.since > last.read_at


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the staged pages of a wider reading hold of one day: all that they do, and of a scope its rows and cost.

    Its cost is by currency, net and absolute.
    """

    pages: Sequence[str]
    held: Owned
    rows: int
    cost: Mapping[str, Sequence[Decimal]]


class _Witness:
    """What wider readings have of a scope in a window; each reading's pages are read once."""

    def __init__(self, engine: Engine, piece: Slice, scope: Scope) -> None:
        self._engine = engine
        self._piece = piece
        self._rows = pl.col("subscription_id") == scope.subscription_id
        if scope.resource_group is not None:
            self._rows &= pl.col("x_ResourceGroup") == scope.resource_group
        self._read: dict[tuple[str, bool], Mapping[date, _Seen]] = {}

    async def of(self, day: date, reading: Reading, wider: Iterable[Pointer]) -> str | None:
        """Name a scope of `wider` whose reading says the same of the day, None where none does."""
        for other in wider:
            said = other.reading
            if said is None:
                continue
            window = await self._window(said)
            sees = any(seen.rows for seen in window.values())
            seen = window.get(day)
            if sees and seen is not None and self._is_read(seen, day, said) and self._same(seen, reading):
                return other.scope
        return None

    def _is_read(self, seen: _Seen, day: date, said: Reading) -> bool:
        """Tell whether the pages still hold what the reading read; of one that was replaced, say so."""
        try:
            demand_read(self._engine.settings.staging_container, seen.pages, day, seen.held, said)
        except StagedPageMissingError:
            return False
        except UnreadableError as error:
            tell(error)
            return False
        return True

    async def _window(self, said: Reading) -> Mapping[date, _Seen]:
        """Read what the pages of a wider reading have; nothing where they are gone."""
        partition = registry_partition(said.run, said.slice, said.generation)
        key = (partition, said.with_repeated)
        if key not in self._read:
            try:
                self._read[key] = {
                    day: await self._day(partition, day, with_repeated=said.with_repeated)
                    for day in Window(self._piece.first, self._piece.last).days
                }
            except (StagedPageMissingError, TotalError):
                self._read[key] = {}
            except UnreadableError as error:
                tell(error)
                self._read[key] = {}
        return self._read[key]

    async def _day(self, partition: str, day: date, *, with_repeated: bool) -> _Seen:
        names = await self._engine.generations.staged_on(partition, day, with_repeated=with_repeated)
        frame = await self._engine.staging.read(names, day)
        cost = COST_COLUMN[self._piece.metric]
        found = frame.filter(self._rows).with_columns(pl.col(cost).abs().alias("absolute"))
        with adding_up(day):
            held = owned_of(frame, cost)
            sums = found.group_by("BillingCurrency").agg(money_sum(cost), money_sum("absolute"))
        return _Seen(names, held, len(found), {currency: amounts for currency, *amounts in sums.iter_rows()})

    def _same(self, seen: _Seen, reading: Reading) -> bool:
        """Tell whether both have the same cost; rows that add up to nothing are not the same as none."""
        for currency in seen.cost.keys() | reading.totals.keys():
            net, absolute = seen.cost.get(currency, (Decimal(0), Decimal(0)))
            ours = reading.absolutes.get(currency, Decimal(0))
            if (absolute == 0) != (ours == 0):
                return False
            if not near(net, reading.totals.get(currency, Decimal(0)), ours, self._piece.tolerance):
                return False
        return True
