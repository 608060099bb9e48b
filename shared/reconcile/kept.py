"""What the ledger keeps of a bill's days: the partitions of each day, read some side by side.

Of a partition only the rows count that are of the bill for certain, in its currency: the billed scope's own, those
of scopes that lie below it, and the usage that others own and that it sees to the same amount (a publication's
`alike`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from shared.days import Day
from shared.engine import Engine
from shared.history.beliefs import AT_ONCE
from shared.ledger.cells import ChargeClass, charge_class
from shared.ledger.columns import COST_COLUMN
from shared.ledger.files import Listing, PublishedFiles, lying, published
from shared.ledger.overlaps import shadows
from shared.normalise.decimals import money_sum
from shared.reconcile.compare import Finding
from shared.reconcile.periods import CHANGES_FOR
from shared.scopes import Scope
from shared.storage.errors import Conflict
from shared.together import together
from shared.versions import UnreadableError, tell

METRIC = "ActualCost"
"""What is billed."""

_COST = COST_COLUMN[METRIC]


@dataclass(frozen=True, slots=True)
class Part:
    """What one partition keeps of a bill.

    `then` is what was believed on the day of the invoice (a bill without one: when its period's costs were final),
    `known_then` whether anything was; `kept_by` are the scopes other than the billed one under whose names these rows
    are kept.
    """

    subscription: str
    now: Decimal
    then: Decimal
    known_then: bool
    kept_by: tuple[str, ...]


async def read_kept(
    engine: Engine,
    finding: Finding,
    known: Mapping[date, Day],
    days: Sequence[date],
    found: dict[date, list[Part]],
) -> None:
    """Read what the ledger keeps of some days of a bill, in their order, into `found`: whole days alone.

    A file that cannot be read is told and left out, and so is one that is replaced meanwhile. Where the storage
    fails a file, its day is left out, the others are read all the same, and then the error is raised.

    Raises:
        StorageError: the storage cannot be read.
    """
    period = finding.period
    blobs, container = engine.storage.blobs, engine.settings.container
    lies = await lying(blobs, container, METRIC, period.first, period.last)
    listings = {day: Listing(published(lies.get(day, {}), METRIC, day)) for day in days}
    partitions = {day: listings[day].partitions(METRIC, day) for day in days}
    found.update({day: [] for day in days if not partitions[day]})
    came: dict[date, list[Part | None]] = {}
    files = PublishedFiles(blobs, container)
    todo = ((day, subscription, path) for day in days for subscription, path in partitions[day].items())

    async def work() -> None:
        # Each takes the next file as soon as it has room: no more than these are held in memory.
        for day, subscription, path in todo:
            frame = await _read(files, listings[day], path)
            part = None if frame is None else _part(finding, known.get(day), subscription, frame)
            so_far = came.setdefault(day, [])
            so_far.append(part)
            if len(so_far) == len(partitions[day]):
                found[day] = [part for part in came.pop(day) if part is not None]

    await together(work() for _ in range(AT_ONCE))


async def _read(files: PublishedFiles, listing: Listing, path: str) -> pl.DataFrame | None:
    try:
        frame, _ = await files.read(listing, path)
    except Conflict:
        # The day is being published: what it says in a moment is not waited for.
        return None
    except UnreadableError as error:
        tell(error)
        return None
    return frame


def _part(finding: Finding, known: Day | None, subscription: str, frame: pl.DataFrame) -> Part:
    scope = Scope.parse(finding.scope)
    publication = None if known is None else known.publication
    alike = () if publication is None else publication.alike.get(scope.lower_path, ())
    # A class of charge is told by the subscription as well, which only the path names.
    frame = frame.with_columns(subscription_id=pl.lit(subscription))
    rows = frame.filter(pl.col("BillingCurrency") == finding.currency)
    rows = rows.filter(_is_of_bill(scope, rows, seen_alike=subscription in alike))
    # A balance bears no date: it is compared with what was believed when the period's costs were final.
    then = _believed_then(rows, finding.issued or finding.period.last + CHANGES_FOR)
    return Part(
        subscription,
        now=_sum(rows.filter(pl.col("x_ValidTo").is_null())),
        then=_sum(then),
        known_then=len(then) > 0,
        kept_by=tuple(one for one in rows["x_SourceScope"].unique() if one != scope.lower_path),
    )


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


def _believed_then(rows: pl.DataFrame, issued: date) -> pl.DataFrame:
    ended_later = pl.col("x_ValidTo").is_null() | (pl.col("x_ValidTo").dt.date() > issued)
    return rows.filter(pl.col("x_ValidFrom").dt.date() <= issued, ended_later)


def _sum(rows: pl.DataFrame) -> Decimal:
    found: Decimal | None = rows.select(money_sum(_COST)).item() if len(rows) else None
    return Decimal(0) if found is None else found
