"""The HTTP answers of the service, good and bad."""

import json
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from random import Random

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from infra.local.simulator.answers import Column, Row
from infra.local.simulator.faults import ErrorKind, Refusal

JSON = "application/json; charset=utf-8"

_REFUSALS: dict[Refusal, tuple[int, str, str]] = {
    "RBACAccessDenied": (
        401,
        "RBACAccessDenied",
        "The client does not have authorization to perform action.",
    ),
    "AuthorizationFailed": (
        403,
        "AuthorizationFailed",
        "The client does not have authorization over the scope.",
    ),
    "SubscriptionNotFound": (404, "SubscriptionNotFound", "The subscription could not be found."),
    "UnsupportedOffer": (
        400,
        "BadRequest",
        "Cost Management does not support the offer of this subscription.",
    ),
}
_ERRORS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "500": (500, "500", "An unexpected error occurred.", {}),
    "503": (503, "ServiceUnavailable", "The service is temporarily unavailable.", {"Retry-After": "1"}),
    "504": (504, "GatewayTimeout", "The gateway did not receive a response within the specified time.", {}),
    "404": (
        404,
        "NotFound",
        "GtmDimensionDataProvider: GetDimensionDataAsync returns null or empty list.",
        {},
    ),
}
_PIECE = b" " * 65_536


class CutResponse(Response):
    """Promises its whole body, sends half of it and lets the connection go."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send half of the body; the server closes a connection whose answer was never completed."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send(
            {"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True}
        )


def refused(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with the service's error body."""
    body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)
    return Response(body, status, dict(headers or {}), JSON)


def refusal(kind: Refusal) -> Response:
    """Refuse a scope for good."""
    return refused(*_REFUSALS[kind])


def failed(kind: ErrorKind, body: str) -> Response:
    """Fail one try; `body` is what a good answer would have said."""
    if kind == "truncated":
        return Response(body[: len(body) // 2], media_type=JSON)
    if kind == "cut":
        return CutResponse(body, media_type=JSON)
    status, code, message, headers = _ERRORS[kind]
    return refused(status, code, message, headers)


def page_body(
    scope: str, columns: Sequence[Column], rows: Sequence[Row], next_link: str | None, order: int
) -> str:
    """Write one page; its columns stand in an order drawn from `order`."""
    places = list(range(len(columns)))
    Random(order).shuffle(places)
    name = uuid.uuid5(uuid.NAMESPACE_OID, f"{scope}/{order}")
    head = {
        "id": f"{scope.lstrip('/')}/providers/Microsoft.CostManagement/query/{name}",
        "name": str(name),
        "type": "Microsoft.CostManagement/query",
        "location": None,
        "sku": None,
        "eTag": None,
    }
    said = [{"name": columns[place].name, "type": columns[place].type} for place in places]
    pick = itemgetter(*places)
    # A ragged row, which has not all the places, stays in the order it has.
    picked = (pick(row) if len(row) == len(places) else row for row in rows)
    written = ",".join([f"[{','.join(cells)}]" for cells in picked])
    properties = f'{{"nextLink":{json.dumps(next_link)},"columns":{json.dumps(said)},"rows":[{written}]}}'
    return f'{json.dumps(head, ensure_ascii=False)[:-1]},"properties":{properties}}}'


def oversized(body: str, size: int, headers: Mapping[str, str]) -> Response:
    """Answer with a body of at least `size` bytes, the last brace of which comes after all the blanks."""

    async def stream() -> AsyncIterator[bytes]:
        for piece in (body[:-1].encode(), *repeat(_PIECE, size // len(_PIECE) + 1), body[-1:].encode()):
            yield piece

    return StreamingResponse(stream(), headers=dict(headers), media_type=JSON)
