"""`backfill`: plans a run and leaves the work to a deployed app."""

from shared.cli.arguments import Asked
from shared.cli.output import DONE, print_json
from shared.cli.ranges import range_of
from shared.engine import Engine
from shared.plan.seed import Order, new_run_id, seed
from shared.runs import Run
from shared.scopes import Scope


async def backfill(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:
    """Seed a run over the days asked for and say how it is called."""
    run = await seeded(engine, asked, scopes, "backfill")
    if asked.json:
        print_json(
            {
                "run_id": run.id,
                "from": run.first.isoformat(),
                "to": run.last.isoformat(),
                "slices": run.planned,
            }
        )
    else:
        print(f"run {run.id}: {run.planned} slices from {run.first} to {run.last} are on the queue")
        print(f"the deployed app works them; `python -m shared status {run.id}` tells how it stands")
    return DONE


async def seeded(engine: Engine, asked: Asked, scopes: tuple[Scope, ...], kind: str) -> Run:
    """Seed the run that a command asks for; without `--scope` it covers every scope of the settings."""
    first, last = range_of(engine, asked)
    order = Order(
        run=new_run_id(kind, engine.clock()),
        kind=kind,
        first=first,
        last=last,
        only=scopes or None,
        accept_vanished=asked.accept_vanished,
    )
    return await seed(engine, order)
