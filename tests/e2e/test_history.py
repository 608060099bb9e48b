"""24 months of history with restatements on every day: every time has exactly the answer of its last reading.

Each month's days are read when the month is over, and once more a month later, after all of them were restated. The
days around the reading are read while they are open and are changed before they settle for good; some days go back
to what they were at first; one subscription begins only in the last months.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random

import pytest

from infra.local.simulator import Charge, Metric, Tenant, add, restate, scope_truth, withdraw
from shared.history.as_of import DayAsOf, as_of, by_subscription
from shared.history.beliefs import Beliefs, beliefs
from shared.history.changes import changes
from shared.normalise.exact import add_by_currency, minus
from shared.plan.seed import Order, new_run_id, seed
from shared.runs import RunStatus
from shared.view import settled_at
from tests.laptop import Laptop, laptop

METRIC = "ActualCost"
BEGIN = date(2024, 1, 1)
MONTHS = 24
DAY = timedelta(days=1)
SUBSCRIPTION_BEGINS = date(2025, 10, 20)

Cells = Mapping[tuple[str, str], Decimal]
"""What one day cost, by subscription and currency."""


def month(number: int) -> list[date]:
    """Give the days of the n-th month, the first being 0; none outside of the tenant's months."""
    if not 0 <= number < MONTHS:
        return []
    first, after = (date(BEGIN.year + n // 12, n % 12 + 1, 1) for n in (number, number + 1))
    return [first + n * DAY for n in range((after - first).days)]


@dataclass(frozen=True, slots=True)
class Said:
    """What the simulator said in one reading, by day, and when that began and was published."""

    began: datetime
    published: datetime
    days: Mapping[date, Cells]


@dataclass(slots=True)
class Story:
    """The tenant's life: what changes, when it is read, and what it said then."""

    bench: Laptop
    tenant: Tenant
    readings: list[Said] = field(default_factory=list)
    first_charges: dict[date, tuple[Charge, ...]] = field(default_factory=dict)

    async def step(self, number: int) -> None:
        """Come to the 5th after the n-th month, let the provider change its mind, and read two months."""
        today = date(BEGIN.year + (number + 1) // 12, (number + 1) % 12 + 1, 5)
        self.bench.clock.ahead = datetime.combine(today, time(4), UTC) - datetime.now(UTC)
        self._change(number)
        asked = [*month(number - 2)[-4:], *month(number - 1), *month(number), *month(number + 1)]
        await self._read([day for day in asked if day <= today])

    def _change(self, number: int) -> None:
        """Restate every day of the month before, some days that were open then, and put some back."""
        owner = self.tenant.subscriptions[1]
        for day in month(number):
            self.first_charges[day] = self.tenant.charges(day, owner)
        for day in month(number)[2:5]:
            restate(self.tenant, 3, [day])
        for day in month(number - 1):
            restate(self.tenant, 3, [day], owner)
        for day in month(number - 1)[:27:9]:
            add(self.tenant, 1, [day])
            withdraw(self.tenant, 1, [day])
        for day in month(number - 2)[-4:]:
            self.tenant.put(day, owner, self.first_charges[day])

    async def _read(self, days: list[date]) -> None:
        bench, began = self.bench, self.bench.clock()
        run = await seed(
            bench.engine,
            Order(run=new_run_id("run", began), kind="run", first=days[0], last=days[-1]),
        )
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        self.readings.append(Said(began, bench.clock(), self._truth(days)))

    def _truth(self, days: list[date]) -> dict[date, Cells]:
        found: dict[date, dict[tuple[str, str], Decimal]] = {day: {} for day in days}
        scope, period = self.tenant.management_group, (days[0], days[-1])
        for key, total in scope_truth(self.tenant, scope, Metric.ACTUAL, period=period).items():
            found[key.day][key.subscription, key.currency] = total.amount
        return dict(found)

    def believed(self, day: date, at: datetime) -> tuple[str, Cells]:
        """Give the state of a day at a time, and what the last reading said that was published before it."""
        if at < settled_at(day, timedelta(hours=48)):
            return "open", {}
        known = [said.days[day] for said in self.readings if said.published <= at and day in said.days]
        return ("settled", known[-1]) if known else ("unread", {})

    def times(self, rng: Random) -> list[datetime]:
        """Give a time before the first reading, and one between each reading and the next.

        A month is open or being read at the time of its own number, and read for the last time three further on.
        """
        ends = [*(said.began for said in self.readings[1:]), self.bench.clock()]
        between = [
            said.published + rng.choice([0, rng.random()]) * (until - said.published)
            for said, until in zip(self.readings, ends, strict=True)
        ]
        return [self.readings[0].began - timedelta(hours=1), *between]


def tenant_of_two_years() -> Tenant:
    tenant = Tenant(11, subscriptions=2, days=731, rows_per_day=36, first_day=BEGIN)
    for day in tenant.days:
        if day < SUBSCRIPTION_BEGINS:
            tenant.put(day, tenant.subscriptions[0], [])
    assert tenant.days == tuple(day for number in range(MONTHS) for day in month(number))
    return tenant


def cells(subscriptions: Mapping[str, Mapping[str, Decimal]]) -> Cells:
    return {
        (subscription, currency): amount
        for subscription, totals in subscriptions.items()
        for currency, amount in totals.items()
    }


def told(day: Beliefs, number: int, at: datetime) -> tuple[str, Cells]:
    state = day.state(at, timedelta(hours=48))
    if state != "settled" or day.amounts is None:
        return state, {}
    return state, cells(by_subscription(day.amounts[number]))


def by_currency(said: Cells) -> Mapping[str, Decimal]:
    return add_by_currency({currency: amount} for (_, currency), amount in said.items())


@pytest.mark.timeout(1800)
async def test_as_of_any_time_equals_what_the_simulator_said_at_the_last_reading_before_it() -> None:
    tenant, rng = tenant_of_two_years(), Random(4)
    days = tenant.days[0], tenant.days[-1]
    async with laptop(tenant, COST_SCOPES=tenant.management_group, COST_PAGE_SIZE="5000") as bench:
        # GIVEN two years, in which every day is read, restated after it settled, and read again
        story = Story(bench, tenant)
        for number in range(MONTHS + 1):
            await story.step(number)
        for day in tenant.days:
            said = [said for reading in story.readings if (said := reading.days.get(day)) is not None]
            assert any(one != other for one, other in zip(said[1:], said, strict=False)), day

        # THEN at every time each day's amounts are those that were last said of it, by subscription and currency
        place = bench.engine.storage.blobs, bench.engine.settings.container
        times = story.times(rng)
        compared = 0
        for number in range(MONTHS):
            of_month = month(number)
            asked = [*times[number : number + 6], times[-1]]
            async for found in beliefs(place, METRIC, (of_month[0], of_month[-1]), asked):
                for place_in, at in enumerate(asked):
                    assert told(found, place_in, at) == story.believed(found.day, at), (found.day, at)
                    compared += 1
        assert compared > 731 * 6

        # AND so are the answer of `as-of` and what `changes` tells between two of these times
        earlier, later = times[9], times[20]
        settle = bench.engine.settings.settle
        answers = [answer async for answer in as_of(place, METRIC, days, earlier, settle)]
        for answer in answers:
            assert (answer.state, cells(answer.subscriptions)) == story.believed(answer.day, earlier)
            demand_total(answer)
        moved = await changes(place, [METRIC], (earlier, later), settle)
        assert {(one.day, one.currency): one.amount.change for one in moved.days} == expected_moves(
            story, answers, later
        )
        assert len(moved.days) > 30
        assert add_by_currency({one.charged.currency: one.amount.change} for one in moved.charges) == (
            add_by_currency({one.currency: one.amount.change} for one in moved.days)
        )


def demand_total(answer: DayAsOf) -> None:
    expected = by_currency(cells(answer.subscriptions)) if answer.state == "settled" else None
    assert answer.totals == expected


def expected_moves(story: Story, answers: list[DayAsOf], later: datetime) -> dict[tuple[date, str], Decimal]:
    """Give by how much each settled day moved between what was answered and a later time."""
    found = {}
    for answer in answers:
        if answer.totals is None:
            continue
        after = by_currency(story.believed(answer.day, later)[1])
        for currency in answer.totals.keys() | after.keys():
            change = minus(after.get(currency, Decimal(0)), answer.totals.get(currency, Decimal(0)))
            if change:
                found[answer.day, currency] = change
    return found
