"""What happens to a tenant between two readings: restated, withdrawn and late charges."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import NamedTuple

from infra.local.simulator.charges import (
    EXACT,
    ZERO,
    Charge,
    Line,
    Metric,
    as_service_number,
    exact_sum,
)
from infra.local.simulator.generate import draw
from infra.local.simulator.tenant import Tenant
from infra.local.simulator.truth import TruthKey

WITHDRAWN_SHARE = Decimal("0.05")
"""The most that withdrawals take of a day's absolute amounts, per subscription and currency."""


@dataclass(frozen=True, slots=True)
class ChangedCharge:
    """One charge before and after; a late one has no before, a withdrawn one no after."""

    day: date
    before: Charge | None
    after: Charge | None

    @property
    def line(self) -> Line:
        """The line that was charged."""
        known = self.after or self.before
        if known is None:
            raise ValueError("a change has a charge before or after it")
        return known.line


class Delta(NamedTuple):
    """By how much a total moved, exactly, and how many charges moved it."""

    amount: Decimal
    charges: int


@dataclass(frozen=True, slots=True)
class Change:
    """All that one call changed; fewer charges than asked for where the tenant had no more to give."""

    kind: str
    charges: tuple[ChangedCharge, ...]

    def deltas(self, metric: Metric) -> dict[TruthKey, Delta]:
        """Give what moved in a metric, per day, currency and subscription.

        Exact in the charges' own digits: equal to the difference of two truths where a charge is alone in its
        group, up to the rounding to 18 decimals and to doubles elsewhere.
        """
        deltas: dict[TruthKey, Delta] = {}
        for changed in self.charges:
            moved = EXACT.subtract(_cost(changed.after, metric), _cost(changed.before, metric))
            key = TruthKey(changed.day, changed.line.currency, changed.line.subscription)
            so_far = deltas.get(key, Delta(ZERO, 0))
            deltas[key] = Delta(EXACT.add(so_far.amount, moved), so_far.charges + 1)
        return deltas


def restate(tenant: Tenant, count: int, days: Sequence[date] = (), subscription: str | None = None) -> Change:
    """Change the amounts of `count` charges by up to a fifth, on `days` or any day.

    Raises:
        KeyError: The tenant has no such day or subscription.
    """
    rng = _rng(tenant, "restate")
    with tenant.lock:
        places = _places(tenant, days, subscription)
        candidates = [
            (day, name, index)
            for day, name in places
            for index, charge in enumerate(tenant.charges(day, name))
            if charge.actual or charge.amortized
        ]
        changed = []
        for day, name, index in rng.sample(candidates, min(count, len(candidates))):
            charges = list(tenant.charges(day, name))
            before = charges[index]
            charges[index] = _scaled(before, rng.choice((rng.uniform(0.8, 0.99), rng.uniform(1.01, 1.2))))
            tenant.put(day, name, charges)
            changed.append(ChangedCharge(day, before, charges[index]))
    return Change("restate", tuple(changed))


def withdraw(
    tenant: Tenant, count: int, days: Sequence[date] = (), subscription: str | None = None
) -> Change:
    """Remove up to `count` charges, of a day's amounts never more than `WITHDRAWN_SHARE`.

    Raises:
        KeyError: The tenant has no such day or subscription.
    """
    rng = _rng(tenant, "withdraw")
    changed: list[ChangedCharge] = []
    with tenant.lock:
        places = _places(tenant, days, subscription)
        rng.shuffle(places)
        each = max(1, -(-count // max(1, len(places))))
        for day, name in places:
            if len(changed) == count:
                break
            charges = tenant.charges(day, name)
            gone = _spare(charges)[: min(each, count - len(changed))]
            if gone:
                tenant.put(
                    day, name, [charge for charge in charges if not any(charge is one for one in gone)]
                )
                changed.extend(ChangedCharge(day, charge, None) for charge in gone)
    return Change("withdraw", tuple(changed))


def add(tenant: Tenant, count: int, days: Sequence[date] = (), subscription: str | None = None) -> Change:
    """Let `count` late charges arrive, each of a resource not seen before.

    Raises:
        KeyError: The tenant has no such day or subscription.
    """
    rng = _rng(tenant, "add")
    changed: list[ChangedCharge] = []
    with tenant.lock:
        places = [place for place in _places(tenant, days, subscription) if tenant.charges(*place)]
        for _ in range(count if places else 0):
            day, name = rng.choice(places)
            charges = list(tenant.charges(day, name))
            late = draw(_new_line(rng, rng.choice(charges).line), "steady", rng.uniform(0.001, 20), rng)
            charges.insert(rng.randrange(len(charges) + 1), late)
            tenant.put(day, name, charges)
            changed.append(ChangedCharge(day, None, late))
    return Change("add", tuple(changed))


def transfer(tenant: Tenant, count: int, days: Sequence[date] = ()) -> Change:
    """Let up to `count` charges of one subscription be another's: the total of both stays.

    Never more than `WITHDRAWN_SHARE` of what a day's subscription has.

    Raises:
        KeyError: The tenant has no such day.
        ValueError: It has one subscription only.
    """
    rng = _rng(tenant, "transfer")
    changed: list[ChangedCharge] = []
    with tenant.lock:
        day = rng.choice(list(days or tenant.days))
        giver, taker = rng.sample(tenant.subscriptions, 2)
        charges = tenant.charges(day, giver)
        gone = _spare(charges)[:count]
        came = [charge._replace(line=_of_subscription(charge.line, taker)) for charge in gone]
        tenant.put(day, giver, [charge for charge in charges if not any(charge is one for one in gone)])
        tenant.put(day, taker, [*tenant.charges(day, taker), *came])
        changed += [ChangedCharge(day, charge, None) for charge in gone]
        changed += [ChangedCharge(day, None, charge) for charge in came]
    return Change("transfer", tuple(changed))


def _of_subscription(line: Line, subscription: str) -> Line:
    said = {**line.dimensions, "SubscriptionId": subscription}
    return Line(subscription, line.currency, line.profile, said, line.tags)


def _rng(tenant: Tenant, kind: str) -> Random:
    return Random(f"{tenant.seed}/{kind}/{tenant.version}")


def _places(tenant: Tenant, days: Sequence[date], subscription: str | None) -> list[tuple[date, str]]:
    names = tenant.subscriptions if subscription is None else (subscription.lower(),)
    return [(day, name) for day in (days or tenant.days) for name in names]


def _cost(charge: Charge | None, metric: Metric) -> Decimal:
    return (charge.cost(metric) if charge else None) or ZERO


def _scaled(charge: Charge, factor: float) -> Charge:
    def scaled(cost: Decimal | None) -> Decimal | None:
        return as_service_number(float(cost) * factor) if cost else cost

    return charge._replace(actual=scaled(charge.actual), amortized=scaled(charge.amortized))


def _spare(charges: Sequence[Charge]) -> list[Charge]:
    """Give the charges that may go, smallest first: within the share in each currency and metric, not all."""
    limits = {
        (currency, metric): EXACT.multiply(
            WITHDRAWN_SHARE,
            exact_sum(abs(_cost(charge, metric)) for charge in charges if charge.line.currency == currency),
        )
        for currency in {charge.line.currency for charge in charges}
        for metric in Metric
    }
    spare: list[Charge] = []
    taken = dict.fromkeys(limits, ZERO)
    for charge in sorted(charges, key=lambda one: max(abs(_cost(one, metric)) for metric in Metric)):
        after = {
            (charge.line.currency, metric): taken[charge.line.currency, metric] + abs(_cost(charge, metric))
            for metric in Metric
        }
        if len(spare) + 1 < len(charges) and all(after[key] <= limits[key] for key in after):
            spare.append(charge)
            taken |= after
    return spare


def _new_line(rng: Random, like: Line) -> Line:
    name = uuid.UUID(int=rng.getrandbits(128), version=4).hex[:12]
    resource = (like.dimensions["ResourceId"] or "").rsplit("/", 1)[0]
    said = {**like.dimensions, "ResourceId": f"{resource}/late-{name}", "ChargeType": "Usage"}
    return Line(like.subscription, like.currency, like.profile, said, like.tags)
