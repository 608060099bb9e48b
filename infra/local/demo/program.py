"""The demo's story: read through all faults, prove it, change the tenant, read again, prove that too."""

import argparse
import asyncio
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from infra.local.azurite import AzuriteError
from infra.local.demo import report
from infra.local.demo.core_tools import CoreToolsError
from infra.local.demo.laptop import ROOT, SAMPLES, FunctionFailedError, Laptop, running
from infra.local.demo.provider import ProviderError, TenantShape
from infra.local.demo.reading import Reading, read, wrong, wrong_since
from infra.local.demo.remembered import misremembered, remembered
from infra.local.demo.watch import watching
from infra.local.host import HostError
from shared.runs import Run

_FOLDER = Path(".local") / "demo"
_WEEK = timedelta(days=7)
_MOST_DAYS = 999
"""A look-back has 1000 days at most, and today is one of them."""

_LARGEST_PAGE = 5000
_LINE_WIDTH = 120
"""Columns where there is no terminal to ask: no amount is folded."""


class DemoError(Exception):
    """Something is not to the last digit as the provider says; each argument names one such thing."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What every scene needs."""

    laptop: Laptop
    console: Console
    costs: Path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; 1 where one total is off by one digit, or something cannot be started."""
    options = _options(argv)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LINE_WIDTH)
    # The functions library has a warning for every app without http functions; what fails comes as an error.
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    # What runs in processes of its own is stopped on the way out, however the demo is asked to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begun = time.monotonic()
    try:
        asyncio.run(_demo(options, console))
    except DemoError as error:
        for finding in error.args:
            console.print(f"[bold red]WRONG[/] {escape(finding)}", soft_wrap=True)
        return 1
    except (
        AzuriteError,
        CoreToolsError,
        FunctionFailedError,
        HostError,
        ProviderError,
        TimeoutError,
    ) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    console.print(f"\nEvery total is equal to the last digit. {time.monotonic() - begun:.0f} seconds.")
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.local demo", description=__doc__)
    parser.add_argument("--seed", type=int, default=7, help="of the tenant and its faults")
    parser.add_argument("--subscriptions", type=_from_one(), default=12)
    parser.add_argument("--days", type=_from_one(_MOST_DAYS), default=31)
    parser.add_argument(
        "--rows-per-day", type=_from_one(), default=3000, help="of all subscriptions together"
    )
    parser.add_argument(
        "--page-size", type=_from_one(_LARGEST_PAGE), default=4000, help="rows of one page of the cost API"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / _FOLDER, help="where the Parquet is copied to")
    return parser.parse_args(argv)


def _from_one(most: int | None = None) -> Callable[[str], int]:
    """Make an option's parser of whole numbers from 1 on."""

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else 0
        if number < 1 or (most is not None and number > most):
            limits = "from 1 on" if most is None else f"from 1 to {most}"
            raise argparse.ArgumentTypeError(f"{text!r}: give a whole number {limits}")
        return number

    return parse


async def _demo(options: argparse.Namespace, console: Console) -> None:
    samples = SAMPLES if SAMPLES.is_dir() else None
    shape = TenantShape(
        seed=options.seed,
        subscriptions=options.subscriptions,
        days=options.days,
        rows_per_day=options.rows_per_day,
        samples=samples,
    )
    console.print(
        f"A tenant of {shape.subscriptions} subscriptions and {shape.days} days, about {shape.rows_per_day:,} rows a "
        f"day{', real billing rows among them' if samples else ''}.\n"
        "Its cost API throttles, repeats rows, moves and loses them between pages, loops, answers 5xx and 404, "
        "truncates bodies and cuts connections."
    )
    costs: Path = options.folder / "costs"
    async with running(shape, options.page_size) as laptop:
        stage = _Stage(laptop, console, costs)
        first = await _first(stage)
        second = await _changed(stage, first)
        await _remembered(stage, first, second)
        await _unchanged(stage, second)
    _shown(console, costs)


async def _first(stage: _Stage) -> Reading:
    """Let the timer fire once and prove what the functions publish."""
    stage.console.print("\n[bold]The timer fires[/]: `seed` plans a run, the functions work it.")
    reading = await _read(stage, stage.laptop.tick, None)
    stage.console.print(report.result(reading), report.totals(reading))
    _prove(
        stage, wrong(reading), f"{len(reading.truth):,} totals per day, currency and subscription are equal"
    )
    return reading


async def _changed(stage: _Stage, before: Reading) -> Reading:
    """Let the tenant change, on open and on settled days, read again, and show exactly what that changed."""
    stage.console.print("\n[bold]The tenant changes its mind[/], on settled days too:")
    for change in await stage.laptop.provider.change():
        on = ", ".join(str(day) for day in change.days)
        stage.console.print(f"  {change.kind:8} {change.charges:2} charges, {on}")
    reading = await _read(stage, partial(stage.laptop.order, before.run.first, before.run.last), before)
    stage.console.print(report.changes(before, reading), report.totals(reading))
    stage.console.print(report.rewriting(before, reading), report.history(before, reading), sep="\n")
    _prove(
        stage,
        wrong(reading) + wrong_since(before, reading),
        "exactly the days that the provider changed, by as much",
    )
    return reading


async def _remembered(stage: _Stage, before: Reading, after: Reading) -> None:
    """Ask the ledger what was believed before the change, and what has changed on settled days."""
    stage.console.print("\n[bold]What did we believe before?[/] `as-of` and `changes` ask the Parquet:")
    said = await remembered(stage.laptop.engine, before, after)
    stage.console.print(report.remembering(said))
    then = f"as of {said.at:%Y-%m-%dT%H:%M:%SZ}, {len(said.then):,} totals of {len(said.days)} settled days"
    since = f"{len(said.changes.charges)} changes since add up to what it changed"
    _prove(stage, misremembered(said, before, after), f"{then} are what the provider held then, and {since}")


async def _unchanged(stage: _Stage, before: Reading) -> None:
    """Read the latest days again, which nobody changed: nothing may be published."""
    stage.console.print("\n[bold]The last week once more[/], and nothing has changed:")
    last = before.run.last
    first = max(before.run.first, last - _WEEK + timedelta(days=1))
    reading = await _read(stage, partial(stage.laptop.order, first, last), before)
    findings = wrong(reading) + wrong_since(before, reading)
    if reading.days_published:
        findings.append(f"{len(reading.days_published)} days were published, though nothing changed")
    _prove(
        stage,
        findings,
        f"{reading.summary['rows_read']:,} rows read again, no day published, no file touched",
    )


async def _read(stage: _Stage, seed: Callable[[], Awaitable[Run]], before: Reading | None) -> Reading:
    with watching(stage.console) as watch:
        return await read(stage.laptop, seed, watch, stage.costs, {} if before is None else before.etags)


def _prove(stage: _Stage, findings: list[str], proven: str) -> None:
    if findings:
        raise DemoError(*findings)
    stage.console.print(f"Proven: {proven}.")


def _shown(console: Console, costs: Path) -> None:
    """Say where the Parquet is and how it is read, and read it that way.

    Raises:
        DemoError: the lines do not read it.
    """
    here = Path.cwd()
    folder = costs.relative_to(here) if costs.is_relative_to(here) else costs
    files = (folder / "daily" / "**" / "*.parquet").as_posix()
    lines = (
        "import polars as pl",
        f'print(pl.read_parquet({files!r}).group_by("currency").agg(pl.sum("cost_amount", "record_count")))',
    )
    console.print(f"\n[bold]The Parquet is in {folder}[/]; these two lines read it:\n")
    for line in lines:
        console.print(f"    {line}", markup=False, soft_wrap=True)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DemoError(f"the two lines fail: {done.stderr}")
    console.print(f"\n{done.stdout.rstrip()}", markup=False)
