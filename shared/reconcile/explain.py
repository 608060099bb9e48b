"""Explaining a mismatch as well as can be told: the days, and the subscriptions, in which it may lie.

In this order: days whose reading is in doubt (the last attempt failed, or other scopes see another cost), days
that were last read before the period's costs were final, days that changed after the invoice was issued, and then
the days that cost most.

The subscriptions are those of the rows that are of the bill for certain: the billed scope's own, those of scopes
that lie below it, and the usage that others own and that it sees to the same amount (a publication's `alike`).
What else others own is not among them: nobody knows who pays for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from shared.days import Day, Pointer, ScopeState
from shared.engine import Engine
from shared.ledger.cells import ChargeClass, charge_class
from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import Listing, PublishedFiles, lying, published
from shared.ledger.overlaps import shadows
from shared.normalise.decimals import money_sum
from shared.normalise.exact import minus, total
from shared.reconcile.compare import Finding, Suspect
from shared.reconcile.periods import CHANGES_FOR, Period
from shared.scopes import Scope
from shared.storage.errors import Conflict
from shared.versions import UnreadableError, tell

METRIC = "ActualCost"
READ_EARLY, CHANGED, LARGEST = "read_early", "changed_after_the_invoice", "largest"

MOST_DAYS = 10
"""How many days are named."""

MOST_LARGEST = 3
MOST_SUBSCRIPTIONS = 3

_COST = COST_COLUMN[METRIC]


@dataclass(frozen=True, slots=True)
class _Shares:
    """What the ledger keeps of a bill's day, by subscription: its cost, by how much it changed, who said it."""

    now: Mapping[str, Decimal]
    changed: Mapping[str, Decimal]
    kept_by: Mapping[str, tuple[str, ...]]

    def laid_on(self, suspect: Suspect, shares: Mapping[str, Decimal]) -> Suspect:
        """Say of a suspect whose cost it is, by the largest of some shares."""
        largest = sorted(shares.items(), key=lambda share: (-abs(share[1]), share[0]))
        named = tuple(share for share in largest if share[1])[:MOST_SUBSCRIPTIONS]
        keepers = sorted({scope for name, _ in named for scope in self.kept_by[name]})
        return replace(suspect, subscriptions=named, kept_by=tuple(keepers))


async def explain(engine: Engine, finding: Finding, key: str) -> tuple[Suspect, ...]:
    """Name the days that may explain a mismatch, the likeliest first; `key` is the scope's."""
    period, currency = finding.period, finding.currency or ""
    known = await engine.days.days(METRIC, period.first, period.last, refused=lambda _, error: tell(error))
    costs = {day: _cost(known.get(day), key, currency) for day in period.days}
    named: dict[date, Suspect] = {}
    shares: dict[date, _Shares] = {}
    for day, reason in _doubtful(known, key, finding.scope, period):
        named.setdefault(day, Suspect(day, reason, costs[day]))
    lies = await lying(engine.storage.blobs, engine.settings.container, METRIC, period.first, period.last)
    for day in period.days:
        listing = Listing(published(lies.get(day, {}), METRIC, day))
        shares[day] = await _shares(engine, finding, day, listing, known.get(day))
        changed = shares[day].changed
        if any(changed.values()) and day not in named:
            named[day] = shares[day].laid_on(Suspect(day, CHANGED, total(changed.values())), changed)
    largest = sorted(period.days, key=lambda day: abs(costs[day] or Decimal(0)), reverse=True)
    for day in [day for day in largest if day not in named and costs[day]][:MOST_LARGEST]:
        named[day] = Suspect(day, LARGEST, costs[day])
    order = {READ_EARLY: 1, CHANGED: 2, LARGEST: 3}
    found = sorted(
        named.values(), key=lambda one: (order.get(one.reason, 0), -abs(one.amount or Decimal(0)), one.day)
    )
    return tuple(
        one if one.subscriptions else shares[one.day].laid_on(one, shares[one.day].now)
        for one in found[:MOST_DAYS]
    )


def _doubtful(known: Mapping[date, Day], key: str, scope: str, period: Period) -> Iterator[tuple[date, str]]:
    final = datetime.combine(period.last + CHANGES_FOR + timedelta(days=1), time(), UTC)
    for day in period.days:
        pointer = _pointer(known.get(day), key)
        if pointer is None or pointer.reading is None:
            yield day, ScopeState.MISSING.value
        elif pointer.state is not ScopeState.RECONCILED:
            yield day, pointer.state.value
        elif _disagrees(known[day], scope):
            yield day, ScopeState.DISAGREES.value
        elif pointer.reading.read_at < final:
            yield day, READ_EARLY


def _pointer(known: Day | None, key: str) -> Pointer | None:
    pointers = () if known is None else known.pointers
    return next((pointer for pointer in pointers if pointer.key == key), None)


def _disagrees(known: Day, scope: str) -> bool:
    return known.publication is not None and scope.lower() in known.publication.disagrees


def _cost(known: Day | None, key: str, currency: str) -> Decimal | None:
    pointer = _pointer(known, key)
    if pointer is None or pointer.reading is None:
        return None
    return pointer.reading.totals.get(currency, Decimal(0))


async def _shares(
    engine: Engine, finding: Finding, day: date, listing: Listing, known: Day | None
) -> _Shares:
    """Add up what the ledger keeps of a bill's day.

    A day that was read for the first time after the invoice changed by nothing that anybody could know of.
    """
    of_bill = await _rows_of_bill(engine, finding, day, listing, known)
    now = {name: _sum(rows.filter(pl.col("x_ValidTo").is_null())) for name, rows in of_bill.items()}
    issued = finding.issued
    known_then = issued is not None and any(len(_believed_then(rows, issued)) for rows in of_bill.values())
    changed = (
        {name: _changed(rows, issued) for name, rows in of_bill.items()}
        if issued is not None and known_then
        else {}
    )
    own = finding.scope.lower()
    kept_by = {
        name: tuple(scope for scope in rows["x_SourceScope"].unique() if scope != own)
        for name, rows in of_bill.items()
    }
    return _Shares(now, changed, kept_by)


async def _rows_of_bill(
    engine: Engine, finding: Finding, day: date, listing: Listing, known: Day | None
) -> dict[str, pl.DataFrame]:
    """Read the ledger's rows of a day that are of a bill for certain, in its currency, by subscription."""
    scope = Scope.parse(finding.scope)
    publication = None if known is None else known.publication
    alike = () if publication is None else publication.alike.get(scope.lower_path, ())
    files = PublishedFiles(engine.storage.blobs, engine.settings.container)
    found: dict[str, pl.DataFrame] = {}
    for subscription, path in listing.partitions(METRIC, day).items():
        try:
            frame, _ = await files.read(listing, path)
        except Conflict:
            # The day is being published: what it says in a moment is not waited for.
            continue
        except UnreadableError as error:
            tell(error)
            continue
        rows = frame.filter(pl.col("BillingCurrency") == finding.currency).with_columns(
            subscription_id=pl.lit(subscription)
        )
        found[subscription] = rows.filter(_is_of_bill(scope, rows, seen_alike=subscription in alike))
    return found


def _is_of_bill(scope: Scope, rows: pl.DataFrame, *, seen_alike: bool) -> pl.Expr:
    sources = [Scope.parse(path) for path in rows["x_SourceScope"].unique()]
    inside = [one.lower_path for one in sources if one == scope or scope.contains(one)]
    certain = pl.col("x_SourceScope").is_in(inside)
    if not seen_alike:
        return certain
    # Of a billing scope beside this one the rows are on another bill.
    beside = [one.lower_path for one in sources if not shadows(one, scope)]
    usage = charge_class() == ChargeClass.USAGE.value
    return certain | (usage & ~pl.col("x_SourceScope").is_in(beside))


def _changed(rows: pl.DataFrame, issued: date) -> Decimal:
    """Tell by how much rows moved after a day: what is believed now less what was believed then."""
    believed = _believed_then(rows, issued)
    return minus(_sum(rows.filter(pl.col("x_ValidTo").is_null())), _sum(believed))


def _believed_then(rows: pl.DataFrame, issued: date) -> pl.DataFrame:
    ended_later = pl.col("x_ValidTo").is_null() | (pl.col("x_ValidTo").dt.date() > issued)
    return rows.filter(pl.col("x_ValidFrom").dt.date() <= issued, ended_later)


def _sum(rows: pl.DataFrame) -> Decimal:
    found: Decimal | None = rows.select(money_sum(_COST)).item() if len(rows) else None
    return Decimal(0) if found is None else found
