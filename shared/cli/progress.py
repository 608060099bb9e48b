"""How a run goes on: bars on a terminal, elsewhere a line when something changed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shared.engine import Engine
from shared.registry.pages import counts
from shared.runs import Run, RunStatus, SliceState
from shared.versions import tell

EVERY = timedelta(seconds=2)
SHARE = 20
"""Looking takes at most one part in so many of the run's time: it keeps the worker from its messages."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run has come; `days_total` is None until its slices have ended and its days are planned."""

    slices_ended: int
    slices_total: int
    pages: int
    rows: int
    throttled: int
    days_published: int
    days_total: int | None


async def standing_of(engine: Engine, run: Run) -> Standing:
    """Read how far a run has come."""
    pieces = await engine.runs.slices(run, refused=tell)
    counted = await counts(engine.storage.tables, f"{run.id}|{run.seeding}-")
    tasks = await engine.runs.days(run, refused=tell) if run.publishing else None
    return Standing(
        slices_ended=sum(piece.state is not SliceState.OPEN for piece in pieces),
        slices_total=run.planned,
        pages=counted.pages,
        rows=counted.rows,
        throttled=counted.throttled + sum(piece.throttled for piece in pieces),
        days_published=sum(task.state == "published" for task in tasks or ()),
        days_total=None if tasks is None else len(tasks),
    )


class Display(Protocol):
    """Shows how a run stands."""

    def show(self, standing: Standing) -> None:
        """Show it."""
        ...


class Lines:
    """A line when something changed."""

    def __init__(self) -> None:
        self._last: Standing | None = None

    def show(self, standing: Standing) -> None:
        """Print a line, unless it would say again what the last one said."""
        if standing != self._last:
            self._last = standing
            print(line(standing), flush=True)


class Bars:
    """Two bars, slices and days; a context that holds the terminal while it lasts."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description:6}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._slices = self._progress.add_task("slices", total=None, note="")
        self._days = self._progress.add_task("days", total=None, note="", start=False, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()

    def show(self, standing: Standing) -> None:
        """Move the bars."""
        self._progress.update(
            self._slices, completed=standing.slices_ended, total=standing.slices_total, note=_read(standing)
        )
        if standing.days_total is not None:
            self._progress.start_task(self._days)
            self._progress.update(
                self._days,
                completed=standing.days_published,
                total=standing.days_total,
                note="published",
                visible=True,
            )


class Watching:
    """Tells a display now and then how a run stands; the worker calls it about once a second."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._next: datetime | None = None

    async def __call__(self, engine: Engine, run: Run) -> None:
        """Look and show, not more often than every two seconds, and once when the run is closed."""
        now = engine.clock()
        if self._next is not None and now < self._next and run.status is RunStatus.OPEN:
            return
        standing = await standing_of(engine, run)
        self._next = now + max(EVERY, SHARE * (engine.clock() - now))
        self._display.show(standing)


def line(standing: Standing) -> str:
    """Say how a run stands on one line."""
    days = (
        ""
        if standing.days_total is None
        else f", days {standing.days_published}/{standing.days_total} published"
    )
    return f"slices {standing.slices_ended}/{standing.slices_total} ended, {_read(standing)}{days}"


def _read(standing: Standing) -> str:
    return f"{standing.pages:,} pages, {standing.rows:,} rows, {standing.throttled:,} throttles"
