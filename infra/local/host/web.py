"""HTTP triggers as an ASGI app; keys are not asked for, as with `func start`."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import azure.functions as func
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.host.declared import Declared, OnHttp
from infra.local.host.errors import HostError

Call = Callable[[str, func.HttpRequest], Awaitable[func.HttpResponse]]
"""Runs the function of that name on the request."""


def http_app(functions: list[Declared], call: Call, host_json: Mapping[str, Any]) -> Starlette:
    """Serve each http function under `/<routePrefix>/<route>`; the prefix is `api` if host.json names none.

    Raises:
        HostError: a route parameter with a constraint or an optional one, which this host does not speak.
    """
    prefix = str(host_json.get("extensions", {}).get("http", {}).get("routePrefix", "api")).strip("/")
    return Starlette(
        routes=[
            Route(
                f"/{prefix}/{_path(function.name, function.trigger.route)}",
                _endpoint(function, call),
                methods=list(function.trigger.methods),
            )
            for function in functions
            if isinstance(function.trigger, OnHttp)
        ]
    )


def _path(name: str, route: str) -> str:
    for parameter in re.findall(r"{([^}]*)}", route):
        if not parameter.isidentifier():
            raise HostError(
                f"function `{name}`: the route parameter `{parameter}` is not supported by this host"
            )
    return route.strip("/")


def _endpoint(function: Declared, call: Call) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        answer = await call(function.name, await _trigger_request(request))
        return Response(answer.get_body(), answer.status_code, dict(answer.headers), answer.mimetype)

    return endpoint


async def _trigger_request(request: Request) -> func.HttpRequest:
    return func.HttpRequest(
        method=request.method,
        url=str(request.url),
        headers=dict(request.headers),
        params=dict(request.query_params),
        route_params={name: str(value) for name, value in request.path_params.items()},
        body=await request.body(),
    )
