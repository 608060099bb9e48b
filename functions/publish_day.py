"""Queue `cost-days`: publishes one day."""

import azure.functions as func

from functions.bindings import CONNECTION
from shared.messages import DAYS
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("publish_day")
@blueprint.queue_trigger(arg_name="message", queue_name=DAYS, connection=CONNECTION)
async def publish_day(message: func.QueueMessage) -> None:
    """Work one message."""
    from shared.ledger.publish_day import publish_day as step

    await step(await engine(), message.get_body())
