"""Timer: restarts or fails what made no progress, drains the poison queues, purges what is past its time."""

import azure.functions as func

from functions.bindings import SWEEP
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("sweep")
@blueprint.timer_trigger(arg_name="timer", schedule=SWEEP, run_on_startup=False, use_monitor=True)
async def sweep(timer: func.TimerRequest) -> None:
    """Sweep once."""
    from shared.sweep import sweep as step

    del timer
    await step(await engine())
