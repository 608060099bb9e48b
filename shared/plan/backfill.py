"""Backfills: runs over any days that the service still has, in the background of the timer's runs.

A backfill's slices give way: they take a place at the quota gate only where one is free at once, and leave a part
of every limit to the others (`shared.quota.gate.QuotaGate.take_spare`).
"""

from collections.abc import Sequence
from datetime import date

import msgspec

from shared.engine import Engine
from shared.plan.seed import Order, new_run_id, seed
from shared.plan.windows import check_kept, check_range, parse_day
from shared.runs import BACKFILL, Run
from shared.scope_list import scopes_named
from shared.scopes import Scope

ALLOWED = (
    'send {"from": "YYYY-MM-DD", "to": "YYYY-MM-DD"} and, if not all scopes are meant, '
    '"scopes": ["/subscriptions/..."]'
)


class _Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: str = msgspec.field(name="from")
    last: str = msgspec.field(name="to")
    scopes: list[str] | None = None


async def backfill(engine: Engine, first: date, last: date, only: Sequence[Scope] = ()) -> Run:
    """Seed a backfill; without `only` it covers every scope of the settings."""
    order = Order(
        run=new_run_id(BACKFILL, engine.clock()),
        kind=BACKFILL,
        first=first,
        last=last,
        only=tuple(only) or None,
    )
    return await seed(engine, order)


async def backfill_request(engine: Engine, body: bytes) -> tuple[int, bytes]:
    """Answer a request for a backfill: 202 with the run that was seeded, or 400 with what is allowed."""
    try:
        first, last, only = _asked(engine, body)
    except ValueError as error:
        return 400, msgspec.json.encode({"error": str(error)})
    run = await backfill(engine, first, last, only)
    return 202, msgspec.json.encode(planned(run))


def planned(run: Run) -> dict[str, str | int]:
    """Say what a seeded run is called and what it will read."""
    return {
        "run_id": run.id,
        "from": run.first.isoformat(),
        "to": run.last.isoformat(),
        "slices": run.planned,
    }


def _asked(engine: Engine, body: bytes) -> tuple[date, date, tuple[Scope, ...]]:
    try:
        said = msgspec.json.decode(body, type=_Request)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the body cannot be read ({error}): {ALLOWED}") from error
    if said.scopes is not None and not said.scopes:
        raise ValueError(f"`scopes` is empty: {ALLOWED}")
    today = engine.clock().date()
    first, last = parse_day(said.first), parse_day(said.last)
    check_range(first, last, today)
    check_kept(first, today)
    return first, last, scopes_named(engine.settings.scopes, said.scopes or ())
