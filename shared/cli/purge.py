"""`purge`: sweeps once, as the app's timer does, and tells what that removed and restarted."""

from typing import Any

from shared import events
from shared.cli.arguments import Asked
from shared.cli.logs import Events
from shared.cli.output import DONE, NOT_RECONCILED, print_json
from shared.engine import Engine
from shared.runs import SliceState
from shared.scopes import Scope
from shared.sweep import sweep

COUNTED = {
    "staged_pages_removed": events.STAGED_PAGE_REMOVED,
    "registries_purged": events.REGISTRY_PURGED,
    "slices_restarted": events.SLICE_RESTARTED,
    "days_restarted": events.DAY_RESTARTED,
    "seedings_finished": events.SEEDING_FINISHED,
    "poison_drained": events.POISON_DRAINED,
}
"""What is told, and the event that says it happened once."""


async def purge(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:  # noqa: ARG001 - as every command
    """Sweep once; exit with 2 where that ended slices that could not be read."""
    with Events() as happened:
        await sweep(engine)
    counted: dict[str, Any] = {name: len(happened.named(event)) for name, event in COUNTED.items()}
    failed = [
        {name: event[name] for name in ("run", "scope", "metric", "state", "cause")}
        for event in happened.named(events.SLICE_ENDED)
        if event["state"] != SliceState.RECONCILED.value
    ]
    if asked.json:
        print_json({**counted, "slices_failed": failed})
    else:
        for name, count in counted.items():
            print(f"{name.replace('_', ' '):22}{count}")
        for piece in failed:
            print(f"failed: {piece['scope']} {piece['metric']} of run {piece['run']}: {piece['cause']}")
    return NOT_RECONCILED if failed else DONE
