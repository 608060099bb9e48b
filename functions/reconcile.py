"""Timer: compares what was billed for the months that closed lately with the ledger."""

import azure.functions as func

from functions.bindings import RECONCILE
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("reconcile")
@blueprint.timer_trigger(arg_name="timer", schedule=RECONCILE, run_on_startup=False, use_monitor=True)
async def reconcile(timer: func.TimerRequest) -> None:
    """Reconcile the months that closed lately."""
    from shared.reconcile.reconcile import reconcile_timer

    del timer
    await reconcile_timer(await engine())
