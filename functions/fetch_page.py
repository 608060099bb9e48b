"""Queue `cost-pages`: reads one page, or closes a generation."""

import azure.functions as func

from functions.bindings import CONNECTION
from shared.messages import PAGES
from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("fetch_page")
@blueprint.queue_trigger(arg_name="message", queue_name=PAGES, connection=CONNECTION)
async def fetch_page(message: func.QueueMessage) -> None:
    """Work one message."""
    from shared.read.fetch_page import fetch_page as step

    await step(await engine(), message.get_body())
