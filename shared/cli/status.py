"""`status`: what is running and what ran lately; with a run's id, its slices."""

import re
from collections import Counter
from datetime import datetime
from typing import Any

from shared.cli.arguments import Asked, UsageError
from shared.cli.output import DONE, NOT_RECONCILED, NOTHING, aligned, moment, print_json, print_table
from shared.cli.run import failure_lines
from shared.engine import Engine
from shared.registry.pages import counts
from shared.runs import Run, RunStatus, Slice, SliceState
from shared.scopes import Scope
from shared.storage.rows import Row

LATEST = 10
"""How many closed runs are shown."""

_RUN_ID = re.compile(r"[\w-]{1,200}", re.ASCII)
_HEAD = (
    "run",
    "status",
    "days",
    "slices",
    "reconciled",
    "failed",
    "open",
    "pages",
    "days left",
    "since",
    "closed",
)


async def status(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Print the open runs, the latest closed ones and poisoned messages; or one run with its slices.

    Exits with 2 where the run asked for closed partial.

    Raises:
        UsageError: there is no such run.
    """
    if asked.run is not None:
        return await _one(engine, asked.run, json=asked.json)
    runs = await engine.runs.runs()
    shown = [run for run in runs if run.status is RunStatus.OPEN] + latest(runs)
    described = [await describe(engine, run) for run in shown]
    poison = [_poison(row) for row in await engine.runs.poison()]
    if asked.json:
        print_json({"runs": described, "poison": poison})
        return DONE
    if described:
        print_table(_HEAD, [_cells(run) for run in described])
    else:
        print("there are no runs yet: `run` or `backfill` makes one, so does the app's timer")
    if poison:
        print(f"\n{len(poison)} messages could not be worked (evidence: table CostRuns, partition poison):")
        print("\n".join(aligned([tuple(str(value) for value in one.values()) for one in poison])))
    return DONE


def latest(runs: list[Run]) -> list[Run]:
    """Give the closed runs that ended last, the latest first."""
    closed = sorted((run.closed_at, run.id, run) for run in runs if run.closed_at is not None)
    return [run for _, _, run in reversed(closed[-LATEST:])]


async def describe(engine: Engine, run: Run) -> dict[str, Any]:
    """Say how a run stands: a closed one from its summary, an open one from its rows."""
    figures = _closed(run) if run.summary is not None else await _open(engine, run)
    return {
        "run_id": run.id,
        "kind": run.kind,
        "status": run.status.value,
        "full": run.full,
        "from": run.first.isoformat(),
        "to": run.last.isoformat(),
        "since": moment(run.created_at),
        "closed_at": moment(run.closed_at),
        **figures,
    }


def _closed(run: Run) -> dict[str, Any]:
    summary = run.summary or {}
    return {
        "slices": {**summary["slices"], "open": 0},
        "pages": summary["pages"],
        "rows_read": summary["rows_read"],
        "throttled": summary["throttled"],
        "days_left": 0,
    }


async def _open(engine: Engine, run: Run) -> dict[str, Any]:
    """Count an open run; `days_left` is None until its slices have ended and its days are planned."""
    pieces = await engine.runs.slices(run)
    states = Counter(piece.state for piece in pieces)
    counted = await counts(engine.storage.tables, f"{run.id}|{run.seeding}-")
    reconciled, left = states[SliceState.RECONCILED], states[SliceState.OPEN]
    return {
        "slices": {
            "total": run.planned,
            "reconciled": reconciled,
            "failed": states.total() - reconciled - left,
            "open": left,
        },
        "pages": counted.pages,
        "rows_read": counted.rows,
        "throttled": counted.throttled + sum(piece.throttled for piece in pieces),
        "days_left": len(await engine.runs.days(run, only_open=True)) if run.publishing else None,
    }


async def _one(engine: Engine, run_id: str, *, json: bool) -> int:
    run = await engine.runs.run(run_id) if _RUN_ID.fullmatch(run_id) else None
    if run is None:
        raise UsageError(f"there is no run {run_id!r}: `status` without an id lists the runs")
    described = await describe(engine, run)
    pieces = [_slice(piece) for piece in await engine.runs.slices(run)]
    failures = [] if run.summary is None else run.summary["failures"]
    if json:
        print_json({**described, "slice_list": pieces, "failures": failures})
    else:
        print_table(_HEAD, [_cells(described)])
        print()
        head = ("metric", "from", "to", "state", "reading", "scope")
        print_table(head, [tuple(str(piece[name]) for name in head) for piece in pieces])
        for failure in failures or [piece for piece in pieces if piece["cause"] is not None]:
            print("\n".join(failure_lines(failure)))
    return NOT_RECONCILED if run.status is RunStatus.PARTIAL else DONE


def _slice(piece: Slice) -> dict[str, Any]:
    return {
        "scope": piece.scope,
        "metric": piece.metric,
        "from": piece.first.isoformat(),
        "to": piece.last.isoformat(),
        "state": piece.state.value,
        "cause": piece.cause,
        "cure": piece.cure,
        "reading": piece.reading,
    }


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    slices, left = run["slices"], run["days_left"]
    return (
        run["run_id"],
        run["status"],
        f"{run['from']} to {run['to']}",
        *(str(slices[name]) for name in ("total", "reconciled", "failed", "open")),
        f"{run['pages']:,}",
        "not planned" if left is None else str(left),
        run["since"],
        run["closed_at"] or NOTHING,
    )


def _poison(row: Row) -> dict[str, Any]:
    queue, _, message = row.rk.partition("|")
    at = {name: row.values.get(name) for name in ("inserted_on", "drained_at")}
    return {
        "queue": queue,
        "message": message,
        **{name: moment(value) if isinstance(value, datetime) else None for name, value in at.items()},
    }
