"""Timer: plans a run and sends its first pages."""

import azure.functions as func

from functions.bindings import SEED
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("seed")
@blueprint.timer_trigger(arg_name="timer", schedule=SEED, run_on_startup=False, use_monitor=True)
async def seed(timer: func.TimerRequest) -> None:
    """Seed the run of the tick that just fired."""
    from shared.plan.seed import seed_timer

    del timer
    await seed_timer(await engine())
