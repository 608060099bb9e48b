"""The tables that the demo prints. Amounts are never shortened: the last digit is what it is about."""

from collections.abc import Mapping
from decimal import Decimal

from rich import box
from rich.table import Column, Table

from infra.local.demo.cells import NOTHING, by_currency, by_day, moved
from infra.local.demo.published import days_of, rewritten
from infra.local.demo.reading import Reading
from infra.local.demo.remembered import Remembered

MOST_CHANGES = 6


def result(reading: Reading) -> Table:
    """Tell what a reading went through."""
    summary = reading.summary
    table = _table("", "")
    for name, said in (
        ("days published", _days(reading)),
        ("rows published", f"{sum(total.rows for total in reading.ledger.values()):,}"),
        (
            "rows read",
            f"{summary['rows_read']:,} on {summary['pages']:,} pages, in {reading.requests:,} requests",
        ),
        ("duplicates dropped", f"{summary['duplicates_dropped']:,}"),
        ("generations thrown away", f"{summary['generations_discarded']:,}"),
        ("throttles survived", f"{summary['throttled']:,}"),
        ("what the provider did", _listed(reading.faults)),
        ("seconds", f"{reading.seconds:.1f}"),
    ):
        table.add_row(name, said)
    return table


def totals(reading: Reading) -> Table:
    """Set the published total beside the provider's, for each currency."""
    table = _table("currency", "published", "the provider says", "equal")
    ours, theirs = by_currency(reading.ledger), by_currency(reading.truth)
    for currency in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(currency), theirs.get(currency)
        table.add_row(currency, _amount(mine), _amount(its), _equal(mine, its))
    return table


def changes(before: Reading, after: Reading) -> Table:
    """Tell by how much each published total moved, and whether that is by how much the provider moved it."""
    table = _table("day", "", "before", "after", "change", "rows", "equal")
    had, has = by_day(before.ledger), by_day(after.ledger)
    ours, theirs = moved(had, has), moved(by_day(before.truth), by_day(after.truth))
    for key in sorted(ours.keys() | theirs.keys()):
        mine, its = ours.get(key, NOTHING), theirs.get(key, NOTHING)
        table.add_row(
            str(key[0]),
            key[1],
            _amount(had.get(key, NOTHING).amount),
            _amount(has.get(key, NOTHING).amount),
            _amount(mine.amount),
            f"{mine.rows:+}",
            _equal(mine, its),
        )
    return table


def rewriting(before: Reading, after: Reading) -> str:
    """Tell which part of the published files was written again."""
    names = rewritten(before.etags, after.etags)
    return (
        f"{len(days_of(names))} days rewritten, {len(names)} of {len(after.etags)} files; the rest lies there "
        "untouched, under its old ETags"
    )


def history(before: Reading, after: Reading) -> str:
    """Tell what the ledger remembers of the days that changed after they were settled."""
    kept = {day: count - before.kept.get(day, 0) for day, count in after.kept.items()}
    said = _listed({str(day): count for day, count in sorted(kept.items()) if count})
    return f"settled days keep what was believed before; former versions kept: {said}"


def remembering(said: Remembered) -> Table:
    """Tell what changed on settled days since then, the largest first: what `python -m shared changes` prints."""
    table = _table("subscription", "service", "", "before", "change")
    for moved_charge in said.changes.charges[:MOST_CHANGES]:
        charged, amount = moved_charge.charged, moved_charge.amount
        table.add_row(
            charged.subscription,
            charged.service or "",
            charged.currency,
            _amount(amount.before),
            _amount(amount.change),
        )
    return table


def _table(*names: str) -> Table:
    """Make a table that folds an amount where the terminal is narrow, and never cuts one off."""
    columns = [Column(name, overflow="fold", justify="right" if name == "rows" else "left") for name in names]
    return Table(*columns, box=box.SIMPLE, show_header=any(names), pad_edge=False)


def _days(reading: Reading) -> str:
    """Count the days; of today, which the look-back begins with, the provider has no cost yet."""
    empty = set(reading.days_published) - {key.day for key in reading.ledger}
    without = "".join(f", {day} without cost yet" for day in sorted(empty))
    return f"{len(reading.days_published)}{without}"


def _listed(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counted.items())) or "nothing"


def _amount(amount: Decimal | None) -> str:
    return "nothing" if amount is None else f"{amount:.18f}"


def _equal(one: object, other: object) -> str:
    return "yes" if one == other else "[bold red]NO[/]"
