"""The quota gate: places of the tenant and of each scope, shared by all workers in one Table partition.

A place is taken from the tenant and the scope in one batch under both ETags; who loses takes again. A pause
(after a 429) shifts the tenant's places that are still to come, so it holds for everyone.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from shared.quota.limits import Limit, Used, spare
from shared.quota.places import Gate, Taken, due, learn, pause, take, unpack_places
from shared.storage.errors import Conflict
from shared.storage.packing import pack, unpack
from shared.storage.rows import Insert, Operation, Replace, Row, quoted
from shared.storage.tables import Tables
from shared.versions import VERSION, converted, demand, reads

TABLE = "CostQuota"
PARTITION = "gates"
TENANT = "tenant"
RACES = 50
CURE: Final = "restore it, or remove it: the next request writes it anew"

_MICROSECOND = timedelta(microseconds=1)
_LESS_THAN = timedelta(days=36_525)
_NO_LATER = datetime(9000, 1, 1, tzinfo=UTC)
"""What no gate's pauses and times reach: adding one to the other always gives a time."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Turn:
    """A place at the gate and what the gates' pauses added up to when it was taken (microseconds)."""

    place: datetime
    shifts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Held:
    """A gate's row as it was read; `booked` is the tenant's shift when the last place was taken here."""

    key: str
    gate: Gate
    etag: str | None
    booked: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class _Said:
    """What a gate's row says beside its places, in microseconds."""

    shift: int
    booked: int
    resume_at: datetime | None = None


class QuotaGate:
    """Hands out places. Times are the workers' own; the limits are those of the settings.

    Each API has a quota of its own, and so gates of its own: `api` keeps their rows apart.
    Whatever looks at a gate raises UnreadableError where somebody edited its row or another version wrote it.
    """

    def __init__(
        self, tables: Tables, tenant: Sequence[Limit], scope: Sequence[Limit], *, api: str = ""
    ) -> None:
        self._tables = tables
        self._prefix = f"{api}|" if api else ""
        self._tenant = tenant
        self._scope = scope
        self._turn = asyncio.Lock()
        self._known = Gate()

    async def take(self, scope_key: str, now: datetime) -> Turn:
        """Take the earliest place from `now` on that tenant and scope have free; two Table calls when unraced.

        Raises:
            Conflict: others were first too many times in a row.
        """

        def taking(gates: tuple[Gate, Gate]) -> tuple[tuple[Gate, ...], Turn]:
            taken = take(now, ((gates[0], self._tenant), (gates[1], self._scope)))
            return taken.gates, _turn(taken)

        return await self._change(scope_key, taking)

    async def take_by(self, scope_key: str, now: datetime, until: datetime) -> Turn | datetime:
        """Take the earliest place if it comes by `until`; else tell when it would have come, and book none.

        Raises:
            Conflict: others were first too many times in a row.
        """

        def taking(gates: tuple[Gate, Gate]) -> tuple[tuple[Gate, ...], Turn | datetime]:
            taken = take(now, ((gates[0], self._tenant), (gates[1], self._scope)))
            return (taken.gates, _turn(taken)) if taken.place <= until else (gates, taken.place)

        return await self._change(scope_key, taking)

    async def take_spare(self, scope_key: str, now: datetime) -> Turn | datetime:
        """Take the place of this moment if the gates have one to spare; else tell when they may have, and book none.

        What books no place ahead keeps nobody waiting who does.

        Raises:
            Conflict: others were first too many times in a row.
        """

        def taking(gates: tuple[Gate, Gate]) -> tuple[tuple[Gate, ...], Turn | datetime]:
            found = take(now, ((gates[0], spare(self._tenant)), (gates[1], spare(self._scope))))
            if found.place > now:
                return gates, found.place
            taken = take(now, ((gates[0], self._tenant), (gates[1], self._scope)))
            return taken.gates, _turn(taken)

        return await self._change(scope_key, taking)

    async def due(self, scope_key: str, turn: Turn) -> datetime:
        """Tell when the holder of a place may go: later than its place only where a 429 moved the gate."""
        tenant, scope = await self._read(scope_key)
        shifts = [timedelta(microseconds=shift) for shift in turn.shifts]
        return due(turn.place, shifts, (tenant.gate, scope.gate))

    async def pause(self, scope_key: str, now: datetime, wait: timedelta) -> None:
        """Let nobody go before `wait` is over, and move every place to come by as much."""

        def pausing(gates: tuple[Gate, Gate]) -> tuple[tuple[Gate, ...], None]:
            return (pause(gates[0], now, wait), gates[1]), None

        await self._change(scope_key, pausing)

    async def learn(self, scope_key: str, now: datetime, used: Used) -> None:
        """Take note of what an answer says of the tenant's quota; no call where it is as this process knows it.

        Raises:
            Conflict: others were first too many times in a row.
        """
        if learn(self._known, self._tenant, now, used) == self._known:
            return

        def learning(gates: tuple[Gate, Gate]) -> tuple[tuple[Gate, ...], None]:
            return (learn(gates[0], self._tenant, now, used), gates[1]), None

        await self._change(scope_key, learning)

    async def waits_until(self, scope_key: str) -> datetime | None:
        """Give the time until which a holder of the scope's last place waits: that is progress.

        A pause moves the tenant's gate only, so its holder waits longer by what the pauses since have added.
        """
        tenant, scope = await self._read(scope_key)
        times = [place + tenant.gate.shift - scope.booked for place in scope.gate.places[-1:]]
        return max([*times, *([tenant.gate.resume_at] if tenant.gate.resume_at else [])], default=None)

    async def _change(
        self, scope_key: str, change: Callable[[tuple[Gate, Gate]], tuple[tuple[Gate, ...], T]]
    ) -> T:
        # One at a time in this process: its own workers need not race each other for the tenant's row.
        async with self._turn:
            for _ in range(RACES):
                held = await self._read(scope_key)
                gates, result = change((held[0].gate, held[1].gate))
                booked = gates[0].shift
                writes = [
                    _write(old, new, booked) for old, new in zip(held, gates, strict=True) if old.gate != new
                ]
                try:
                    if writes:
                        await self._tables.batch(TABLE, writes)
                except Conflict:
                    continue
                self._known = gates[0]
                return result
        raise Conflict(f"{TABLE} {PARTITION}")

    async def _read(self, scope_key: str) -> tuple[_Held, _Held]:
        keys = (f"{self._prefix}{TENANT}", f"{self._prefix}scope|{scope_key}")
        either = " or ".join(f"RowKey eq {quoted(key)}" for key in keys)
        rows = await self._tables.query(TABLE, f"PartitionKey eq {quoted(PARTITION)} and ({either})")
        found = {row.rk: row for row in rows}
        tenant, scope = (_held(key, found.get(key)) for key in keys)
        self._known = tenant.gate
        return tenant, scope


def _turn(taken: Taken) -> Turn:
    tenant, scope = (shift // _MICROSECOND for shift in taken.shifts)
    return Turn(taken.place, (tenant, scope))


def _held(key: str, row: Row | None) -> _Held:
    if row is None:
        return _Held(key, Gate(), None)
    return _read_gate(row)


@reads(TABLE, CURE)
def _read_gate(row: Row) -> _Held:
    said = converted(_Said, row.values, {}, packed=("places",))
    places = unpack_places(unpack("places", row.values))
    demand(list(places) == sorted(places), "places_0", "places out of order")
    for time in (*places[-1:], *([said.resume_at] if said.resume_at else [])):
        demand(time < _NO_LATER, "resume_at" if time == said.resume_at else "places_0", time)
    shift, booked = timedelta(microseconds=said.shift), timedelta(microseconds=said.booked)
    demand(timedelta() <= shift < _LESS_THAN, "shift", said.shift)
    demand(timedelta() <= booked < _LESS_THAN, "booked", said.booked)
    return _Held(row.rk, Gate(places, said.resume_at, shift), row.etag, booked)


def _write(old: _Held, new: Gate, booked: timedelta) -> Operation:
    values: dict[str, Any] = {
        "version": VERSION,
        "shift": new.shift // _MICROSECOND,
        "booked": booked // _MICROSECOND,
    }
    values.update(pack("places", new.pack_places()))
    if new.resume_at is not None:
        values["resume_at"] = new.resume_at
    row = Row(PARTITION, old.key, values)
    return Insert(row) if old.etag is None else Replace(row, old.etag)
