"""Explaining a mismatch as well as can be told: the days, and the subscriptions, in which it may lie.

In this order: days whose reading is in doubt (the last attempt failed, or other scopes see another cost), days
that were last read before the period's costs were final, days that changed after the invoice was issued, and then
the days that cost most. The subscriptions are those of the rows that the ledger keeps of this scope: what another
scope owns is not among them.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

from shared.days import Day, Pointer, ScopeState
from shared.engine import Engine
from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import Listing, PublishedFiles, lying, published
from shared.normalise.decimals import money_sum
from shared.normalise.exact import minus, total
from shared.reconcile.compare import Finding, Suspect
from shared.reconcile.periods import CHANGES_FOR, Period
from shared.storage.errors import Conflict
from shared.versions import UnreadableError, tell

METRIC = "ActualCost"
READ_EARLY, CHANGED, LARGEST = "read_early", "changed_after_the_invoice", "largest"

MOST_DAYS = 10
"""How many days are named."""

MOST_LARGEST = 3
MOST_SUBSCRIPTIONS = 3

_COST = COST_COLUMN[METRIC]


async def explain(engine: Engine, finding: Finding, key: str) -> tuple[Suspect, ...]:
    """Name the days that may explain a mismatch, the likeliest first; `key` is the scope's."""
    period, currency = finding.period, finding.currency or ""
    known = await engine.days.days(METRIC, period.first, period.last, refused=lambda _, error: tell(error))
    costs = {day: _cost(known.get(day), key, currency) for day in period.days}
    named: dict[date, Suspect] = {}
    shares: dict[date, Mapping[str, Decimal]] = {}
    for day, reason in _doubtful(known, key, finding.scope, period):
        named.setdefault(day, Suspect(day, reason, costs[day]))
    lies = await lying(engine.storage.blobs, engine.settings.container, METRIC, period.first, period.last)
    for day in period.days:
        listing = Listing(published(lies.get(day, {}), METRIC, day))
        shares[day], changed = await _shares(engine, finding, day, listing)
        moved = total(changed.values())
        if any(changed.values()) and day not in named:
            named[day] = Suspect(day, CHANGED, moved, _largest(changed))
    largest = sorted(period.days, key=lambda day: abs(costs[day] or Decimal(0)), reverse=True)
    for day in [day for day in largest if day not in named and costs[day]][:MOST_LARGEST]:
        named[day] = Suspect(day, LARGEST, costs[day])
    order = {READ_EARLY: 1, CHANGED: 2, LARGEST: 3}
    found = sorted(
        named.values(), key=lambda one: (order.get(one.reason, 0), -abs(one.amount or Decimal(0)), one.day)
    )
    return tuple(one if one.subscriptions else _shared(one, shares[one.day]) for one in found[:MOST_DAYS])


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
    engine: Engine, finding: Finding, day: date, listing: Listing
) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Give what the ledger keeps of a scope's day, by subscription: its cost now, and by how much it changed.

    A day that was read for the first time after the invoice changed by nothing that anybody could know of.
    """
    own = await _own_rows(engine, finding, day, listing)
    now = {name: _sum(rows.filter(pl.col("x_ValidTo").is_null())) for name, rows in own.items()}
    issued = finding.issued
    if issued is None or not any(len(_believed_then(rows, issued)) for rows in own.values()):
        return now, {}
    return now, {name: _changed(rows, issued) for name, rows in own.items()}


async def _own_rows(engine: Engine, finding: Finding, day: date, listing: Listing) -> dict[str, pl.DataFrame]:
    """Read the rows of a day that the ledger keeps of a scope in the finding's currency, by subscription."""
    files = PublishedFiles(engine.storage.blobs, engine.settings.container)
    own: dict[str, pl.DataFrame] = {}
    for subscription, path in listing.partitions(METRIC, day).items():
        try:
            frame, _ = await files.read(listing, path)
        except Conflict:
            # The day is being published: what it says in a moment is not waited for.
            continue
        except UnreadableError as error:
            tell(error)
            continue
        own[subscription] = frame.filter(
            pl.col("x_SourceScope") == finding.scope.lower(), pl.col("BillingCurrency") == finding.currency
        )
    return own


def _changed(own: pl.DataFrame, issued: date) -> Decimal:
    """Tell by how much rows moved after a day: what is believed now less what was believed then."""
    believed = _believed_then(own, issued)
    return minus(_sum(own.filter(pl.col("x_ValidTo").is_null())), _sum(believed))


def _believed_then(own: pl.DataFrame, issued: date) -> pl.DataFrame:
    ended_later = pl.col("x_ValidTo").is_null() | (pl.col("x_ValidTo").dt.date() > issued)
    return own.filter(pl.col("x_ValidFrom").dt.date() <= issued, ended_later)


def _sum(rows: pl.DataFrame) -> Decimal:
    found: Decimal | None = rows.select(money_sum(_COST)).item() if len(rows) else None
    return Decimal(0) if found is None else found


def _largest(shares: Mapping[str, Decimal]) -> tuple[tuple[str, Decimal], ...]:
    found = sorted(shares.items(), key=lambda share: (-abs(share[1]), share[0]))
    return tuple(share for share in found if share[1])[:MOST_SUBSCRIPTIONS]


def _shared(suspect: Suspect, shares: Mapping[str, Decimal]) -> Suspect:
    return Suspect(suspect.day, suspect.reason, suspect.amount, _largest(shares))
