"""Queue `cost-runs`: turns a run whose slices have ended into days to publish."""

import azure.functions as func

from functions.bindings import CONNECTION
from shared.messages import RUNS
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("orchestrate")
@blueprint.queue_trigger(arg_name="message", queue_name=RUNS, connection=CONNECTION)
async def orchestrate(message: func.QueueMessage) -> None:
    """Work one message."""
    from shared.orchestrate import orchestrate as step

    await step(await engine(), message.get_body())
