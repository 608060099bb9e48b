"""An owner that fails for a day loses an open day to the next: when that is, until when, and what is told of it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from infra.local.simulator import Tenant
from tests.laptop import Laptop, laptop
from tests.then import asked

SETTLED = 72
"""Hours after which the day is."""

OWNED, LOST = Decimal(8), Decimal(5)
"""What the subscription itself said of its cost, and what its management group says later."""


@dataclass
class Contested:
    """A day which a subscription and its management group both report."""

    bench: Laptop
    narrow: str
    wide: str

    async def run_at(self, hours: float, *only: str) -> None:
        self._at(hours)
        await self.bench.run(*only)

    async def believed(self, at: float, asked_at: float) -> Decimal | None:
        """Ask at one hour what was believed of the subscription's cost at another."""
        self._at(asked_at)
        (day,) = await asked(self.bench, self._time(at))
        if day.totals is None:
            return None
        (subscription,) = self.bench.tenant.subscriptions
        return day.subscriptions[subscription]["USD"]

    def costs(self, amount: Decimal) -> None:
        tenant = self.bench.tenant
        (day,), (subscription,) = tenant.days, tenant.subscriptions
        charge = tenant.charges(day, subscription)[0]
        tenant.put(day, subscription, [charge._replace(actual=amount, amortized=amount)])

    def answers(self, how: str) -> None:
        """Let the subscription be refused, or answer nothing, or answer and cost what it did at first."""
        (day,) = self.bench.tenant.days
        self.bench.fault(**({"refuse": {self.narrow: "RBACAccessDenied"}} if how == "refused" else {}))
        if how == "nothing":
            self.bench.tenant.vanish(self.narrow, day)
        elif how == "as at first":
            self.bench.tenant.appear(self.narrow, day)
            self.costs(OWNED)

    def _at(self, hours: float) -> None:
        self.bench.clock.ahead = self._time(hours) - datetime.now(UTC)

    def _time(self, hours: float) -> datetime:
        return datetime.combine(self.bench.tenant.days[0], time(), UTC) + timedelta(hours=hours)


@asynccontextmanager
async def contested() -> AsyncIterator[Contested]:
    """The subscription was read at 30 hours, before the day settled; it costs less from then on."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=20, currencies=("USD",))
    narrow, wide = tenant.subscription_scopes[0], tenant.management_group
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        place = Contested(bench, narrow, wide)
        place.costs(OWNED)
        await place.run_at(30)
        place.costs(LOST)
        yield place


Told = Sequence[tuple[int, str, Decimal]]
"""At an hour the scope answers so, and what is published then."""

STORIES: dict[str, Told] = {
    "lost_a_day_after_the_first_failure_and_back_by_a_reading": (
        (70, "refused", OWNED),
        (80, "refused", OWNED),
        (96, "refused", LOST),
        (100, "as at first", OWNED),
    ),
    "vanished_for_days_and_refused_once": (
        (50, "nothing", OWNED),
        (75, "nothing", OWNED),
        (200, "nothing", OWNED),
        (204, "refused", OWNED),
        (208, "nothing", OWNED),
    ),
    "refused_for_a_day_after_it_vanished": (
        (50, "nothing", OWNED),
        (80, "nothing", OWNED),
        (84, "refused", OWNED),
        (109, "refused", LOST),
    ),
    "lost_and_then_vanished": (
        (50, "refused", OWNED),
        (60, "refused", OWNED),
        (75, "refused", LOST),
        (100, "refused", LOST),
        (208, "nothing", LOST),
        (212, "as at first", OWNED),
    ),
    "lost_by_a_failure_that_came_after_a_pause": (
        (40, "refused", OWNED),
        (60, "refused", OWNED),
        (100, "refused", LOST),
    ),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES.keys())
async def test_what_was_published_of_a_contested_day_is_told_of_that_time_ever_after(story: Told) -> None:
    """GIVEN a day that may change hands WHEN it was published so THEN no later run tells another thing of then."""
    async with contested() as place:
        published: dict[float, Decimal | None] = {}
        for hour, answer, expected in story:
            place.answers(answer)
            if hour > SETTLED:
                published[hour - 1] = await place.believed(hour - 1, asked_at=hour - 0.5)
            await place.run_at(hour)
            if hour > SETTLED:
                published[hour + 0.5] = await place.believed(hour + 0.5, asked_at=hour + 0.6)
                assert published[hour + 0.5] == expected, hour
            for then, cost in published.items():
                assert await place.believed(then, asked_at=hour + 0.7) == cost, f"of {then} at {hour}"
