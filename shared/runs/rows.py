"""How runs, slices and days are written as rows of CostRuns, and read from them."""

from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from shared.runs.model import DayTask, ListedScope, Run, RunStatus, Slice, SliceState
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row
from shared.versions import VERSION, checked

TABLE = "CostRuns"
RUNS = "runs"


def slice_row(item: Slice) -> Row:
    """Write a slice as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "slice",
        "seeding": item.seeding,
        "scope": item.scope,
        "scope_key": item.scope_key,
        "metric": item.metric,
        "source": item.source,
        "grouping": ",".join(item.grouping),
        "first": item.first.isoformat(),
        "last": item.last.isoformat(),
        "page_size": item.page_size,
        "tolerance": str(item.tolerance),
        "accept_vanished": item.accept_vanished,
        "generation": item.generation,
        "reading": item.reading,
        "reading_first": item.reading_first.isoformat(),
        "reading_last": item.reading_last.isoformat(),
        "must_control": item.must_control,
        "restarts": item.restarts,
        "waiting_for": item.waiting_for,
        "state": item.state.value,
        "discarded": item.discarded,
        "requests": item.requests,
        "throttled": item.throttled,
    }
    optional = {"cause": item.cause, "cure": item.cure, "not_before": item.not_before}
    values.update({name: value for name, value in optional.items() if value is not None})
    return Row(item.run, f"slice|{item.name}", values)


def read_slice(row: Row) -> Slice:
    """Read a slice from its row."""
    value = checked(TABLE, row)
    return Slice(
        run=row.pk,
        name=row.rk.removeprefix("slice|"),
        seeding=value["seeding"],
        scope=value["scope"],
        scope_key=value["scope_key"],
        metric=value["metric"],
        source=value["source"],
        grouping=tuple(value["grouping"].split(",")),
        first=date.fromisoformat(value["first"]),
        last=date.fromisoformat(value["last"]),
        page_size=value["page_size"],
        tolerance=Decimal(value["tolerance"]),
        accept_vanished=value["accept_vanished"],
        generation=value["generation"],
        reading=value["reading"],
        reading_first=date.fromisoformat(value["reading_first"]),
        reading_last=date.fromisoformat(value["reading_last"]),
        must_control=value["must_control"],
        not_before=value.get("not_before"),
        restarts=value["restarts"],
        waiting_for=value["waiting_for"],
        state=SliceState(value["state"]),
        cause=value.get("cause"),
        cure=value.get("cure"),
        discarded=value["discarded"],
        requests=value["requests"],
        throttled=value["throttled"],
        etag=row.etag,
        touched_at=row.timestamp,
    )


def run_row(run: Run) -> Row:
    """Write a run as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": run.kind,
        "first": run.first.isoformat(),
        "last": run.last.isoformat(),
        "full": run.full,
        "seeding": run.seeding,
        "planned": run.planned,
        "created_at": run.created_at,
        "accept_vanished": run.accept_vanished,
        "seeded": run.seeded,
        "publishing": run.publishing,
        "cleaned": run.cleaned,
        "status": run.status.value,
    }
    values.update(pack_json("scopes", [msgspec.to_builtins(scope) for scope in run.scopes]))
    if run.closed_at is not None:
        values["closed_at"] = run.closed_at
    if run.summary is not None:
        values.update(pack_json("summary", run.summary))
    return Row(RUNS, run.id, values)


def read_run(row: Row) -> Run:
    """Read a run from its row."""
    value = checked(TABLE, row)
    return Run(
        id=row.rk,
        kind=value["kind"],
        first=date.fromisoformat(value["first"]),
        last=date.fromisoformat(value["last"]),
        full=value["full"],
        seeding=value["seeding"],
        planned=value["planned"],
        scopes=unpack_json("scopes", value, tuple[ListedScope, ...]),
        created_at=value["created_at"],
        accept_vanished=value["accept_vanished"],
        seeded=value["seeded"],
        publishing=value["publishing"],
        cleaned=value["cleaned"],
        status=RunStatus(value["status"]),
        closed_at=value.get("closed_at"),
        summary=unpack_json("summary", value, dict[str, Any]) if "summary_0" in value else None,
        etag=row.etag,
    )


def day_row(task: DayTask) -> Row:
    """Write a day as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "day",
        "seeding": task.seeding,
        "state": task.state,
        "restarts": task.restarts,
    }
    if task.cause is not None:
        values["cause"] = task.cause
    return Row(task.run, f"day|{task.seeding}|{task.metric}|{task.day.isoformat()}", values)


def read_day(row: Row) -> DayTask:
    """Read a day from its row."""
    value = checked(TABLE, row)
    _, seeding, metric, day = row.rk.split("|")
    return DayTask(
        run=row.pk,
        seeding=seeding,
        metric=metric,
        day=date.fromisoformat(day),
        state=value["state"],
        cause=value.get("cause"),
        restarts=value["restarts"],
        etag=row.etag,
        touched_at=row.timestamp,
    )
