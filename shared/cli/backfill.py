"""`backfill`: plans a run and leaves the work to a deployed app."""

from shared.cli.arguments import Asked
from shared.cli.output import DONE, print_json
from shared.cli.ranges import range_of
from shared.engine import Engine
from shared.plan.backfill import backfill as seeded
from shared.plan.backfill import planned
from shared.scopes import Scope


async def backfill(engine: Engine, asked: Asked, scopes: tuple[Scope, ...]) -> int:
    """Seed a run over the days asked for and say how it is called."""
    run = await seeded(engine, *range_of(engine, asked), scopes)
    if asked.json:
        print_json(planned(run))
    else:
        print(f"run {run.id}: {run.planned} slices from {run.first} to {run.last} are on the queue")
        print(f"the deployed app works them; `python -m shared status {run.id}` tells how it stands")
    return DONE
