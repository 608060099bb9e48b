"""HTTP `POST /api/backfill`: seeds a run over the days asked for."""

import azure.functions as func

from shared.process import engine

blueprint = func.Blueprint()


@blueprint.function_name("backfill")
@blueprint.route(
    route="backfill",
    trigger_arg_name="request",
    methods=["POST"],
    auth_level=func.AuthLevel.FUNCTION,
)
async def backfill(request: func.HttpRequest) -> func.HttpResponse:
    """Answer 202 with the run, or 400 with what is allowed."""
    from shared.plan.backfill import backfill_request

    status, body = await backfill_request(await engine(), request.get_body())
    return func.HttpResponse(body, status_code=status, mimetype="application/json")
