"""What a run came to: the object that `run --json` prints, made once from the books when the run closes."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from shared.days import Day, ScopeState
from shared.engine import Engine
from shared.normalise.exact import add_by_currency, text
from shared.registry.pages import counts
from shared.runs import Run, RunStatus, Slice, SliceState
from shared.versions import UnreadableError

if TYPE_CHECKING:
    from decimal import Decimal

RECONCILED = "reconciled"
NOBODY_READ = Day((), None)
DAY_CURE = "see the cause; a run that reads the day's scopes again publishes it"
ABANDONED_CURE = "look at the poison records and the logs; the next run over these days reads them again"
LOST_CURE = (
    "rows of the run were removed from the table CostRuns; the next run over these days reads them again"
)


async def summarise(
    engine: Engine,
    run: Run,
    known: Mapping[str, Mapping[date, Day]],
    unreadable: Iterable[tuple[str, date, UnreadableError]] = (),
) -> dict[str, Any]:
    """Add up a run whose slices and days have all ended; amounts are text.

    `unreadable` are the days, by metric, that `known` leaves out because one of their rows cannot be read.
    """
    refused: list[UnreadableError] = []
    pieces = await engine.runs.slices(run, refused=refused.append)
    tasks = {(task.metric, task.day): task for task in await engine.runs.days(run, refused=refused.append)}
    days: list[dict[str, str]] = []
    totals: dict[str, list[Mapping[str, Decimal]]] = {}
    failures = [_failure(piece) for piece in pieces if piece.state is not SliceState.RECONCILED]
    failures += [_run_failure(run, error.cause, error.cure) for error in refused]
    failures += [
        _day_failure(metric, day, error.cause, error.cure)
        for metric, day, error in unreadable
        if (metric, day) not in tasks
    ]
    if len(pieces) < run.planned and not refused:
        failures.append(
            _run_failure(run, f"SlicesMissing: {len(pieces)} of {run.planned} are left", LOST_CURE)
        )
    paths = {scope.path.lower(): scope.path for scope in run.scopes}
    for metric, found in known.items():
        for day in _days(run):
            entry = found.get(day, NOBODY_READ)
            task = tasks.get((metric, day))
            state = "unchanged" if task is None else task.state
            published = entry.published
            if published is None or published.status != RECONCILED:
                state = "incomplete"
            if task is not None and task.state == "failed":
                state = "incomplete"
                failures.append(_day_failure(metric, day, task.cause or ""))
            days.append({"metric": metric, "day": day.isoformat(), "state": state})
            if published is not None:
                totals.setdefault(metric, []).append(published.totals)
                failures += [
                    _disagreement(metric, day, paths.get(scope, scope), cause)
                    for scope, cause in published.disagrees.items()
                ]
    whole = not failures and all(day["state"] != "incomplete" for day in days)
    reconciled = sum(piece.state is SliceState.RECONCILED for piece in pieces)
    return {
        "run_id": run.id,
        "status": (RunStatus.COMPLETE if whole else RunStatus.PARTIAL).value,
        "slices": {"total": run.planned, "reconciled": reconciled, "failed": run.planned - reconciled},
        **await _counted(engine, run, pieces),
        "days": days,
        "totals": {
            metric: {currency: text(amount) for currency, amount in add_by_currency(parts).items()}
            for metric, parts in sorted(totals.items())
        },
        "failures": failures,
    }


async def _counted(engine: Engine, run: Run, pieces: Iterable[Slice]) -> dict[str, int]:
    found = await counts(engine.storage.tables, f"{run.id}|{run.seeding}-")
    return {
        "pages": found.pages,
        "rows_read": found.rows,
        "duplicates_dropped": found.duplicates,
        "generations_discarded": sum(piece.discarded for piece in pieces),
        "requests": found.requests + sum(piece.requests for piece in pieces),
        "throttled": found.throttled + sum(piece.throttled for piece in pieces),
    }


def _days(run: Run) -> list[date]:
    return [run.first + timedelta(days=offset) for offset in range((run.last - run.first).days + 1)]


def abandoned(run: Run, cause: str) -> dict[str, Any]:
    """Give the summary of a run that could not be closed in order: it says no more than why."""
    return {
        "run_id": run.id,
        "status": RunStatus.PARTIAL.value,
        "slices": {"total": run.planned, "reconciled": 0, "failed": run.planned},
        **dict.fromkeys(("pages", "rows_read", "duplicates_dropped", "generations_discarded"), 0),
        **dict.fromkeys(("requests", "throttled"), 0),
        "days": [],
        "totals": {},
        "failures": [_run_failure(run, cause, ABANDONED_CURE)],
    }


def _run_failure(run: Run, cause: str, cure: str) -> dict[str, Any]:
    return {
        "scope": None,
        "metric": None,
        "from": run.first.isoformat(),
        "to": run.last.isoformat(),
        "state": ScopeState.FAILED.value,
        "cause": cause,
        "cure": cure,
    }


def _failure(piece: Slice) -> dict[str, Any]:
    return {
        "scope": piece.scope,
        "metric": piece.metric,
        "from": piece.reading_first.isoformat(),
        "to": piece.reading_last.isoformat(),
        "state": piece.state.value,
        "cause": piece.cause,
        "cure": piece.cure,
    }


def _day_failure(metric: str, day: date, cause: str, cure: str = DAY_CURE) -> dict[str, Any]:
    return {
        "scope": None,
        "metric": metric,
        "from": day.isoformat(),
        "to": day.isoformat(),
        "state": ScopeState.FAILED.value,
        "cause": cause,
        "cure": cure,
    }


def _disagreement(metric: str, day: date, scope: str, cause: str) -> dict[str, Any]:
    return {
        "scope": scope,
        "metric": metric,
        "from": day.isoformat(),
        "to": day.isoformat(),
        "state": ScopeState.DISAGREES.value,
        "cause": cause,
        "cure": "find out which scope sees the true cost; the more specific one is published",
    }
