"""The simulator's own endpoints under `/_simulator`: its truth, its faults, its log, and changes of the data.

They need no token; the simulator listens on a loopback address alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.simulator.changes import Change, add, restate, withdraw
from infra.local.simulator.charges import Metric
from infra.local.simulator.faults import Faults
from infra.local.simulator.simulator import Simulator
from infra.local.simulator.truth import scope_truth

Answerer = Callable[[Request], Awaitable[Response]]


class ChangeBody(msgspec.Struct, forbid_unknown_fields=True):
    """How many charges to restate, withdraw and add, on which days, in which subscription (default: any)."""

    restate: int = 0
    withdraw: int = 0
    add: int = 0
    days: list[date] = []
    subscription: str | None = None


class VanishBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which scope stops answering for which day, or starts again (`appear`)."""

    scope: str
    day: date
    appear: bool = False


def control_routes(simulator: Simulator) -> list[Route]:
    """Give the routes of a simulator's own endpoints."""
    endpoints: list[tuple[str, str, Answerer]] = [
        ("", "GET", lambda _: _about(simulator)),
        ("/truth", "GET", lambda request: _truth(simulator, request)),
        ("/log", "GET", lambda _: _log(simulator)),
        ("/faults", "GET", lambda _: _faults(simulator)),
        ("/faults", "POST", lambda request: _set_faults(simulator, request)),
        ("/change", "POST", lambda request: _change(simulator, request)),
        ("/vanish", "POST", lambda request: _vanish(simulator, request)),
        ("/reset", "POST", lambda _: _reset(simulator)),
    ]
    return [
        Route(f"/_simulator{path}", _refusing_bad_input(answerer), methods=[method])
        for path, method, answerer in endpoints
    ]


def _refusing_bad_input(answerer: Answerer) -> Answerer:
    async def answer(request: Request) -> Response:
        try:
            return await answerer(request)
        except (ValueError, LookupError) as error:  # msgspec's and UnknownScopeError are among them
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)

    return answer


async def _about(simulator: Simulator) -> Response:
    tenant = simulator.tenant
    return JSONResponse(
        {
            "seed": tenant.seed,
            "first_day": tenant.days[0].isoformat(),
            "last_day": tenant.days[-1].isoformat(),
            "subscriptions": tenant.subscription_scopes,
            "billing_account": tenant.billing_account,
            "billing_profiles": tenant.billing_profiles,
            "management_group": tenant.management_group,
        }
    )


async def _truth(simulator: Simulator, request: Request) -> Response:
    said, days = request.query_params, simulator.tenant.days
    grouping = [name for name in said["grouping"].split(",") if name] if "grouping" in said else None
    first = date.fromisoformat(said["from"]) if "from" in said else days[0]
    last = date.fromisoformat(said["to"]) if "to" in said else days[-1]
    metric = Metric(said.get("metric", Metric.ACTUAL))
    totals = scope_truth(simulator.tenant, said["scope"], metric, grouping, (first, last))
    return JSONResponse(
        [
            {**key._asdict(), "day": key.day.isoformat(), "amount": f"{total.amount:f}", "rows": total.rows}
            for key, total in sorted(totals.items())
        ]
    )


async def _log(simulator: Simulator) -> Response:
    journal = simulator.journal
    return JSONResponse(
        {
            "requests": journal.requests,
            "by_status": {str(status): count for status, count in journal.by_status.items()},
            "by_fault": dict(journal.by_fault),
            "entries": [asdict(entry) for entry in journal.entries],
        }
    )


async def _faults(simulator: Simulator) -> Response:
    return JSONResponse(asdict(simulator.faults))


async def _set_faults(simulator: Simulator, request: Request) -> Response:
    simulator.faults = parse_faults(await request.body())
    return await _faults(simulator)


def parse_faults(text: bytes | str) -> Faults:
    """Read faults from JSON; what is not named has its default.

    Raises:
        ValueError: It is no JSON, names an unknown fault, or gives a value out of range.
    """
    said = msgspec.json.decode(text, type=dict[str, object])
    if unknown := sorted(said.keys() - Faults.__dataclass_fields__.keys()):
        raise ValueError(f"no such faults: {', '.join(unknown)}")
    return msgspec.convert(said, Faults)


async def _change(simulator: Simulator, request: Request) -> Response:
    said = msgspec.json.decode(await request.body(), type=ChangeBody)
    changes = [
        make(simulator.tenant, count, said.days, said.subscription)
        for make, count in ((restate, said.restate), (withdraw, said.withdraw), (add, said.add))
        if count
    ]
    return JSONResponse([_described(change) for change in changes])


def _described(change: Change) -> dict[str, object]:
    return {
        "kind": change.kind,
        "charges": len(change.charges),
        "deltas": [
            {
                "metric": metric,
                **key._asdict(),
                "day": key.day.isoformat(),
                "amount": f"{delta.amount:f}",
                "charges": delta.charges,
            }
            for metric in Metric
            for key, delta in sorted(change.deltas(metric).items())
        ],
    }


async def _vanish(simulator: Simulator, request: Request) -> Response:
    said = msgspec.json.decode(await request.body(), type=VanishBody)
    tenant = simulator.tenant
    tenant.scope(said.scope)
    (tenant.appear if said.appear else tenant.vanish)(said.scope, said.day)
    return JSONResponse({"scope": said.scope, "day": said.day.isoformat(), "seen": said.appear})


async def _reset(simulator: Simulator) -> Response:
    simulator.journal.clear()
    simulator.faults = simulator.faults  # the same faults with fresh bounds
    return Response(status_code=204)
