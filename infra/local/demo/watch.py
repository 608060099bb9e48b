"""How a run stands while the functions work it: bars on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.local.demo.laptop import Watch
from shared.engine import Engine
from shared.registry.pages import counts
from shared.runs import Run, SliceState

_LINE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is. The days are known once all slices have ended."""

    slices: int
    slices_ended: int
    days: int
    days_ended: int
    pages: int
    rows: int
    throttled: int

    @property
    def counted(self) -> str:
        """What was read so far, in words."""
        return f"{self.pages} pages, {self.rows:,} rows, {self.throttled} throttles"


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Give what a run is to be watched with: bars where `console` is a terminal, else lines."""
    if not console.is_terminal:
        yield _Lines(console).show
        return
    columns = (
        TextColumn("  {task.description:6}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress).show


async def standing(engine: Engine, run: Run) -> Standing:
    """Ask the books how a run stands."""
    pieces = await engine.runs.slices(run)
    tasks = await engine.runs.days(run)
    read = await counts(engine.storage.tables, f"{run.id}|{run.seeding}-")
    return Standing(
        slices=len(pieces),
        slices_ended=sum(piece.state is not SliceState.OPEN for piece in pieces),
        days=len(tasks),
        days_ended=sum(task.state != "open" for task in tasks),
        pages=read.pages,
        rows=read.rows,
        throttled=read.throttled,
    )


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._slices = progress.add_task("slices", total=None, said="")
        self._days = progress.add_task("days", total=None, said="")

    async def show(self, engine: Engine, run: Run) -> None:
        now = await standing(engine, run)
        self._progress.update(self._slices, total=now.slices, completed=now.slices_ended, said=now.counted)
        self._progress.update(self._days, total=now.days or None, completed=now.days_ended)


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: Standing | None = None
        self._at = 0.0

    async def show(self, engine: Engine, run: Run) -> None:
        now = await standing(engine, run)
        ended = now.slices_ended == now.slices and now.days_ended == now.days
        if now == self._said or (time.monotonic() - self._at < _LINE_SECONDS and not ended):
            return
        self._said, self._at = now, time.monotonic()
        days = f", {now.days_ended} of {now.days} days published" if now.days else ""
        self._console.print(f"  {now.slices_ended} of {now.slices} slices, {now.counted}{days}")
