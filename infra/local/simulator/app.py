"""The simulator as an ASGI application."""

from starlette.applications import Starlette
from starlette.routing import Route

from infra.local.simulator.control import control_routes
from infra.local.simulator.simulator import Simulator

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def make_app(simulator: Simulator) -> Starlette:
    """Give the application that answers for a simulator: its own endpoints first, ARM paths for the rest."""
    return Starlette(
        routes=[*control_routes(simulator), Route("/{path:path}", simulator.respond, methods=_METHODS)]
    )
