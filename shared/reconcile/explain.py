"""Explaining a mismatch as well as can be told: the days, and the subscriptions, in which it may lie.

In this order: days whose reading is in doubt (the last attempt failed, or other scopes see another cost), days
that were last read before the period's costs were final, days that changed after the invoice was issued, and then
the days that cost most.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from shared.days import Day, Pointer, ScopeState
from shared.engine import Engine
from shared.normalise.exact import minus, total
from shared.reconcile.compare import Finding, Suspect
from shared.reconcile.kept import METRIC, Part, read_kept
from shared.reconcile.periods import CHANGES_FOR, Period
from shared.versions import tell

READ_EARLY, CHANGED, LARGEST = "read_early", "changed_after_the_invoice", "largest"

MOST_DAYS = 10
"""How many days are named."""

_AS_LIKELY = "in doubt, were read early, or changed after the invoice"

MOST_LARGEST = 3
MOST_SUBSCRIPTIONS = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """The days that may explain a mismatch; `partial` says what is missing of them, None where nothing is."""

    suspects: tuple[Suspect, ...]
    partial: str | None = None


@dataclass(frozen=True, slots=True)
class _Shares:
    """What the ledger keeps of a bill's day, by subscription: its cost, by how much it changed, who said it."""

    now: Mapping[str, Decimal]
    changed: Mapping[str, Decimal]
    kept_by: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "_Shares":
        """Put a day's partitions together.

        A day that was read for the first time after the invoice changed by nothing that anybody could know of.
        """
        known_then = any(part.known_then for part in parts)
        return cls(
            {part.subscription: part.now for part in parts},
            {part.subscription: minus(part.now, part.then) for part in parts if known_then},
            {part.subscription: part.kept_by for part in parts},
        )

    def laid_on(self, suspect: Suspect, shares: Mapping[str, Decimal]) -> Suspect:
        """Say of a suspect whose cost it is, by the largest of some shares."""
        largest = sorted(shares.items(), key=lambda share: (-abs(share[1]), share[0]))
        named = tuple(share for share in largest if share[1])[:MOST_SUBSCRIPTIONS]
        keepers = sorted({scope for name, _ in named for scope in self.kept_by[name]})
        return replace(suspect, subscriptions=named, kept_by=tuple(keepers))


async def explain(engine: Engine, finding: Finding, key: str, within: timedelta) -> Explanation:
    """Name the days that may explain a mismatch, the likeliest first; `key` is the scope's.

    It reads every partition of the period, some side by side, the days that are likeliest first, and never longer
    than `within`. Whatever breaks it, what is known by then is given: a mismatch is told with little of an
    explanation rather than not at all.
    """
    looked = _Looked(engine, finding, key)
    (end,) = await asyncio.gather(looked.look(within), return_exceptions=True)
    if isinstance(end, Exception):
        said = f"after {within.total_seconds():.0f} seconds" if isinstance(end, TimeoutError) else str(end)
        return looked.explained(f"{type(end).__name__}: {said}")
    if end is not None:
        raise end
    return looked.explained()


class _Looked:
    """What was found out of a mismatch so far."""

    def __init__(self, engine: Engine, finding: Finding, key: str) -> None:
        self._engine = engine
        self._finding = finding
        self._key = key
        self._known: Mapping[date, Day] | None = None
        self._costs: dict[date, Decimal | None] = {}
        self._parts: dict[date, list[Part]] = {}

    async def look(self, within: timedelta) -> None:
        """Look at the days' rows, then at what the ledger keeps of each.

        Raises:
            TimeoutError: there was no time to read all of it.
            StorageError: some of it could not be read.
        """
        async with asyncio.timeout(within.total_seconds()):
            period = self._finding.period
            known = await self._engine.days.days(
                METRIC, period.first, period.last, refused=lambda _, error: tell(error)
            )
            currency = self._finding.currency or ""
            self._costs = {day: _cost(known.get(day), self._key, currency) for day in period.days}
            self._known = known
            await read_kept(self._engine, self._finding, known, self._likeliest(), self._parts)

    def explained(self, broken: str | None = None) -> Explanation:
        """Name the days that may explain it, as far as they were looked at; `broken` says what kept the rest away."""
        each = {day: _Shares.of(parts) for day, parts in sorted(self._parts.items())}
        found = self._likely(each)
        more = sum(one.reason != LARGEST for one in found[MOST_DAYS:])
        suspects = tuple(
            one if one.subscriptions or one.day not in each else each[one.day].laid_on(one, each[one.day].now)
            for one in found[:MOST_DAYS]
        )
        return Explanation(suspects, broken or (f"{more} more days are {_AS_LIKELY}" if more else None))

    def _likely(self, each: Mapping[date, _Shares]) -> list[Suspect]:
        """Give the days that may explain it, the likeliest first: of each reason, those that changed most."""
        if self._known is None:
            return []
        named = {one.day: one for one in self._in_doubt()}
        changed = {day: total(shares.changed.values()) for day, shares in each.items()}
        for day, shares in each.items():
            if any(shares.changed.values()) and day not in named:
                named[day] = shares.laid_on(Suspect(day, CHANGED, changed[day]), shares.changed)
        dearest = [day for day in self._dearest() if day not in named and self._costs[day]]
        for day in dearest[:MOST_LARGEST]:
            named[day] = Suspect(day, LARGEST, self._costs[day])
        order = {READ_EARLY: 1, CHANGED: 2, LARGEST: 3}

        def likelihood(one: Suspect) -> tuple[int, Decimal, Decimal, date]:
            moved = changed.get(one.day, Decimal(0))
            return order.get(one.reason, 0), -abs(moved), -abs(one.amount or Decimal(0)), one.day

        return sorted(named.values(), key=likelihood)

    def _likeliest(self) -> list[date]:
        return list(dict.fromkeys([*(one.day for one in self._in_doubt()), *self._dearest()]))

    def _in_doubt(self) -> list[Suspect]:
        doubtful = _doubtful(self._known or {}, self._key, self._finding.scope, self._finding.period)
        return [Suspect(day, reason, self._costs[day]) for day, reason in doubtful]

    def _dearest(self) -> list[date]:
        days = self._finding.period.days
        return sorted(days, key=lambda day: abs(self._costs[day] or Decimal(0)), reverse=True)


def _doubtful(known: Mapping[date, Day], key: str, scope: str, period: Period) -> Iterator[tuple[date, str]]:
    final = datetime.combine(period.last + CHANGES_FOR + timedelta(days=1), time(), UTC)
    for day in period.days:
        pointer = _pointer(known.get(day), key)
        if pointer is None or pointer.reading is None:
            yield day, ScopeState.MISSING.value
        elif pointer.state is not ScopeState.RECONCILED:
            yield day, pointer.state.value
        elif _disagrees(known[day], scope):
            yield day, ScopeState.DISAGREES.value
        elif pointer.reading.read_at < final:
            yield day, READ_EARLY


def _pointer(known: Day | None, key: str) -> Pointer | None:
    pointers = () if known is None else known.pointers
    return next((pointer for pointer in pointers if pointer.key == key), None)


def _disagrees(known: Day, scope: str) -> bool:
    return known.publication is not None and scope.lower() in known.publication.disagrees


def _cost(known: Day | None, key: str, currency: str) -> Decimal | None:
    pointer = _pointer(known, key)
    if pointer is None or pointer.reading is None:
        return None
    return pointer.reading.totals.get(currency, Decimal(0))
