"""`run`: the standalone worker, from the seed to the summary."""

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from shared.cli.arguments import Asked
from shared.cli.output import DONE, NOT_RECONCILED, amounts, print_json
from shared.cli.progress import Bars, Lines, Watching
from shared.cli.ranges import range_of
from shared.engine import Engine
from shared.plan.seed import Order, new_run_id, seed
from shared.runs import Run, RunStatus
from shared.scopes import Scope
from shared.worker import Worker


async def run(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:
    """Seed a run, work it until it is closed, and print what it came to."""
    opened = await _seeded(engine, asked, scopes)
    closed = await _worked(engine, opened, asked)
    summary = closed.summary or {}
    if asked.json:
        print_json(summary)
    else:
        print("\n".join(summary_lines(summary)))
    return DONE if closed.status is RunStatus.COMPLETE else NOT_RECONCILED


async def _seeded(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> Run:
    first, last = range_of(engine, asked)
    order = Order(
        run=new_run_id("run", engine.clock()),
        kind="run",
        first=first,
        last=last,
        only=scopes or None,
        accept_vanished=asked.accept_vanished,
    )
    return await seed(engine, order)


async def _worked(engine: Engine, opened: Run, asked: Asked) -> Run:
    worker = Worker(engine)
    if asked.json:
        return await worker.work(opened.id)
    print(f"run {opened.id}: {opened.planned} slices from {opened.first} to {opened.last}", flush=True)
    console = Console(markup=False, highlight=False)
    # Events that scroll by and bars that redraw themselves would write over each other.
    if console.is_terminal and sys.stdout.isatty() and not asked.verbose:
        with Bars(console) as bars:
            return await worker.work(opened.id, Watching(bars))
    return await worker.work(opened.id, Watching(Lines()))


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Write a run's summary for people: what was read, what is published, and all that is missing."""
    slices, days = summary["slices"], summary["days"]
    states = {
        state: sum(day["state"] == state for day in days)
        for state in ("published", "unchanged", "incomplete")
    }
    thrown_away = summary["generations_discarded"]
    lines = [
        f"run {summary['run_id']}: {summary['status']}",
        f"  slices  {slices['total']}: {slices['reconciled']} reconciled, {slices['failed']} failed",
        f"  asked   {summary['requests']:,} requests, {summary['throttled']:,} throttled",
        f"  read    {summary['pages']:,} pages, {summary['rows_read']:,} rows",
        f"  dropped {summary['duplicates_dropped']:,} duplicates, {thrown_away:,} readings",
        f"  days    {len(days)}: " + ", ".join(f"{count} {state}" for state, count in states.items()),
    ]
    lines += [f"  total   {metric} {amounts(totals)}" for metric, totals in summary["totals"].items()]
    incomplete = [f"{day['metric']} {day['day']}" for day in days if day["state"] == "incomplete"]
    if incomplete:
        lines.append(f"not reconciled: {', '.join(incomplete)}")
    for failure in summary["failures"]:
        lines += failure_lines(failure)
    return lines


def failure_lines(failure: Mapping[str, Any]) -> list[str]:
    """Write one failure: what it is about, why, and what cures it."""
    days = f"{failure['from']} to {failure['to']}"
    return [
        f"{failure['state']}: {failure['scope'] or 'the day'} {failure['metric']} {days}",
        f"  cause: {failure['cause']}",
        f"  cure:  {failure['cure']}",
    ]
