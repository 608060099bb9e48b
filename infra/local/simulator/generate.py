"""The seeded lines of a tenant, with the pattern after which each is charged.

The first lines of each subscription are the awkward ones, so that even a tenant of few rows has them.
"""

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from infra.local.simulator.catalogue import ENVIRONMENTS, GROUPS, LOCATIONS, METERS, NAMES, Meter
from infra.local.simulator.charges import DIMENSIONS, NO_SUBSCRIPTION, ZERO, Charge, Line, as_service_number

PROFILES = ("BP-NORTH", "BP-SOUTH")
"""The billing profiles; subscriptions take turns, purchases of the account are paid by the first."""

AWKWARD = (
    "casings",
    "usage",
    "refund",
    "tiny",
    "zero",
    "covered",
    "nameless",
    "merged",
    "currencies",
    "unused",
)
"""The kinds of a subscription's first lines, in this order; the rest is plain usage."""

_ABSENT = 0.04  # share of a plain line's days without a charge
_RARELY = 6  # a refund comes on each so-manieth day


@dataclass(frozen=True, slots=True)
class Pattern:
    """A line, the kind of its amounts, its price level, and on each how-manieth day it is charged."""

    line: Line
    kind: str
    price: float
    every: int = 1

    def charge(self, day_index: int, rng: Random) -> Charge | None:
        """Give the line's charge on the tenant's n-th day, or None where it has none."""
        if day_index % self.every or (self.kind == "usage" and rng.random() < _ABSENT):
            return None
        return draw(self.line, self.kind, self.price, rng)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the tenant a line is made: the subscription, its number, the row in it, its currencies."""

    subscription: str
    index: int
    row: int
    currencies: tuple[str, str]


def draw(line: Line, kind: str, price: float, rng: Random) -> Charge:
    """Draw one charge of a kind at a price level (currency units a day)."""
    cost = as_service_number(price * rng.uniform(0.7, 1.3))
    quantity = as_service_number(rng.uniform(0.01, 24.0))
    drawn = {
        "zero": (ZERO, ZERO),
        "refund": (-cost, -cost),
        "covered": (ZERO, cost),
        "unused": (None, cost),
        "reservation": (cost, None),
        "rounding": (-cost, -cost),
    }
    actual, amortized = drawn.get(kind, (cost, cost))
    return Charge(line, actual, amortized, quantity)


def subscription_ids(seed: int, count: int) -> tuple[str, ...]:
    """Give the ids of a seed's subscriptions, lower case."""
    return tuple(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed}/subscription/{n}")) for n in range(count))


def shares(rows_per_day: int, subscriptions: int) -> list[int]:
    """Divide the rows of a day unevenly over the subscriptions, at least two each."""
    weights = [1 / (n + 1) ** 0.8 for n in range(subscriptions)]
    total = math.fsum(weights)
    return [max(2, round(rows_per_day * weight / total)) for weight in weights]


def patterns(
    seed: int, subscriptions: Sequence[str], rows_per_day: int, currencies: Sequence[str]
) -> list[Pattern]:
    """Give every line of the tenant with its pattern: some `rows_per_day` of them, the account's own last."""
    rng = Random(f"{seed}/lines")
    made: list[Pattern] = []
    for index, rows in enumerate(shares(rows_per_day, len(subscriptions))):
        own = _currencies(index, currencies)
        until = len(made) + rows
        for kind in (*AWKWARD, *["usage"] * rows):
            if len(made) < until:
                made.extend(_patterns(rng, kind, _Place(subscriptions[index], index, len(made), own)))
    return [*made, *_account_patterns(rng, currencies)]


def _currencies(index: int, currencies: Sequence[str]) -> tuple[str, str]:
    """Give a subscription's currency and second currency: each third uses the other one, the second both."""
    first, other = currencies[0], currencies[-1]
    if index == 1:
        return first, other
    home = other if index % 3 == 2 else first  # noqa: PLR2004 - each third
    return home, home


def _patterns(rng: Random, kind: str, place: _Place) -> Iterator[Pattern]:
    meter = rng.choice(METERS)
    price = meter.price * 10 ** rng.uniform(-1.5, 1.5)
    line = _line(rng, place, meter)
    variants: dict[str, list[dict[str, str | None]]] = {
        "casings": [_grouped(place, meter, group) for group in ("rg-data", "RG-DATA")],
        "nameless": [{"ServiceName": None}, {"ServiceName": ""}],
        # Equal in the usual groupings, so the service adds them up.
        "merged": [{"MeterSubcategory": "One Series"}, {"MeterSubcategory": "Another Series"}],
    }
    if kind in variants:
        yield from (Pattern(_changed(line, **change), "steady", price) for change in variants[kind])
    elif kind == "currencies":
        for currency in dict.fromkeys(place.currencies):
            yield Pattern(_changed(line, currency), "steady", price)
    elif kind == "refund":
        yield Pattern(_changed(line, ChargeType="Refund", Frequency="OneTime"), kind, price, _RARELY)
    elif kind == "tiny":
        yield Pattern(line, kind, 4e-7)
    elif kind == "covered":
        order = f"/providers/Microsoft.Capacity/reservationOrders/{place.index:08d}"
        yield Pattern(_changed(line, PricingModel="Reservation", BenefitId=order), kind, price)
    elif kind == "unused":
        yield Pattern(_changed(line, ChargeType="UnusedReservation", PricingModel="Reservation"), kind, price)
    else:
        yield Pattern(line, kind, price)


def _line(rng: Random, place: _Place, meter: Meter) -> Line:
    name = f"{rng.choice(NAMES)}-{place.row}"
    said: dict[str, str | None] = dict.fromkeys(DIMENSIONS, "")
    said |= {
        "SubscriptionId": place.subscription,
        "SubscriptionName": f"Landing zone {place.index}",
        "ResourceLocation": rng.choice(LOCATIONS),
        "ResourceType": meter.resource_type,
        "ResourceGuid": str(uuid.uuid5(uuid.NAMESPACE_OID, meter.name)),
        "MeterCategory": meter.category,
        "MeterSubcategory": meter.subcategory,
        "Meter": meter.name,
        "ServiceName": meter.service,
        "ChargeType": "Usage",
        "PublisherType": "Azure",
        "PricingModel": "OnDemand",
        "Frequency": "UsageBased",
        "InvoiceId": None,
    }
    said |= _grouped(place, meter, rng.choice(GROUPS), name)
    tags = {"env": rng.choice(ENVIRONMENTS), "org": "trey"} if place.row % 3 else {}
    return Line(place.subscription, place.currencies[0], PROFILES[place.index % len(PROFILES)], said, tags)


def _grouped(place: _Place, meter: Meter, group: str, name: str = "lager") -> dict[str, str | None]:
    """Give the two dimensions that carry the resource group, in the casing asked for."""
    resource = (
        f"/subscriptions/{place.subscription}/resourceGroups/{group}/providers/{meter.resource_type}/{name}"
    )
    return {"ResourceGroupName": group, "ResourceId": resource}


def _changed(line: Line, currency: str | None = None, **changed: str | None) -> Line:
    said = {**line.dimensions, **changed}
    return Line(line.subscription, currency or line.currency, line.profile, said, line.tags)


def _account_patterns(rng: Random, currencies: Sequence[str]) -> Iterator[Pattern]:
    """Give what belongs to no subscription: the service says null there, or an empty text."""
    own = (currencies[0], currencies[0])
    for row, (kind, charge_type, every) in enumerate(
        (
            ("reservation", "Purchase", 9),
            ("marketplace", "Purchase", 4),
            ("refund", "Refund", 11),
            ("rounding", "RoundingAdjustment", 7),
            ("unused", "UnusedReservation", 1),
        )
    ):
        line = _line(rng, _Place(NO_SUBSCRIPTION, 0, row, own), rng.choice(METERS))
        nothing: str | None = None if row % 2 else ""
        said = dict.fromkeys(
            ("SubscriptionId", "SubscriptionName", "ResourceGroupName", "ResourceLocation"), nothing
        )
        said |= {"ChargeType": charge_type, "Frequency": "OneTime", "PricingModel": nothing}
        order = f"/providers/Microsoft.Capacity/reservationOrders/{row:08d}"
        price = 0.004 if kind == "rounding" else 137.0 * rng.uniform(0.1, 30)
        yield Pattern(_changed(line, None, ResourceId=order, ReservationId=order, **said), kind, price, every)
