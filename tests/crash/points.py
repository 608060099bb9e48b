"""The small history whose every outside call is a point at which things may go wrong."""

from dataclasses import dataclass
from typing import Any

from infra.local.simulator import Faults, Tenant, add, restate, withdraw
from shared.edge import Call
from tests.crash.published import published
from tests.crash.world import FIRST_DAY, World, world
from tests.fates import OUTAGES, Fate, Killed, failures_of

FAULTS = Faults(overlap=2)
LIVES = 12


@dataclass(frozen=True, slots=True)
class Point:
    """A call of the undisturbed history, and what befalls it."""

    place: int
    fate: Fate
    failure: str = ""

    def __str__(self) -> str:
        return f"{self.place}-{self.fate.replace(' ', '-')}" + (f"-{self.failure}" if self.failure else "")


def tenant() -> Tenant:
    """Two subscriptions over three days, two of them settled."""
    return Tenant(6, subscriptions=2, days=3, rows_per_day=9, first_day=FIRST_DAY, currencies=("USD",))


def scopes(of: Tenant) -> list[str]:
    """A subscription, and a management group that sees it too."""
    return [of.subscription_scopes[0], of.management_group]


async def history(point: Point | None = None) -> tuple[dict[str, Any], list[Call]]:
    """Live through a first run, a restatement and a second run; give what is published, and the calls made.

    At `point` the process comes to its fate: a new one goes on from what lies there.
    """
    people = tenant()
    async with world(people, scopes(people), FAULTS) as place:
        if point is not None:
            place.edge.faults.befall(point.place, point.fate, point.failure)
        for name in ("first", "second"):
            await _until_done(place, name)
            if name == "first":
                _restate(people)
        return await published(place.storage), place.edge.faults.calls


async def _until_done(place: World, run: str) -> None:
    """Begin processes until one gets through; what the last one came to is in the storage."""
    for _ in range(LIVES):
        try:
            async with place.process() as engine:
                await place.seed(engine, run)
                await place.work(engine)
                while await place.give_back():
                    await place.work(engine)
        except* (Killed, *OUTAGES):
            await place.give_back()
        else:
            return
    raise AssertionError(f"not done after {LIVES} lives")


def _restate(people: Tenant) -> None:
    """Change something of every kind on a settled day, and on the open one."""
    for day in (people.days[0], people.days[-1]):
        for change in (restate, withdraw, add):
            change(people, 2, [day])


def points(calls: list[Call], fates: tuple[Fate, ...]) -> list[Point]:
    """Name every point of a history's calls."""
    found = []
    for place, call in enumerate(calls):
        for fate in fates:
            if fate is Fate.FAILS:
                found += [Point(place, fate, failure) for failure in failures_of(call)]
            else:
                found.append(Point(place, fate))
    return found
