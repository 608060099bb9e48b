"""Whatever befalls any call that leaves the process, what is published in the end is the same."""

import asyncio
from random import Random
from typing import Any

import pytest

from shared.edge import Call
from tests.crash.choice import POINTS, SEED, sample
from tests.crash.points import Point, history, points
from tests.fates import Fate, name_of

SHARES = 64 if POINTS == "all" else 2
"""The points are dealt out to so many tests, so that none takes long."""

AT_ONCE = 3


@pytest.fixture(scope="module")
def undisturbed() -> tuple[dict[str, Any], list[Call]]:
    """The files that an undisturbed history publishes, and its calls."""
    return asyncio.run(history())


async def test_history_holds_what_it_takes_to_prove_something(
    undisturbed: tuple[dict[str, Any], list[Call]],
) -> None:
    """Several pages with overlaps, control totals, shadowed rows, and versions of every kind."""
    files, calls = undisturbed
    again, same = await history()

    assert again == files
    assert [_plain(call) for call in same] == [_plain(call) for call in calls]
    rows = [row for name, content in files.items() if name.startswith("ledger/") for row in content]
    assert {"restated", "retracted", "new"} <= {
        value for row in rows for value in row if isinstance(value, str)
    }
    shadowed = [said["shadowed"] for name in files if name.startswith("m") for said in files[name]["scopes"]]
    assert any(shadowed)
    assert len(calls) > 400


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("fate", Fate)
async def test_whatever_befalls_a_call_the_same_is_published(
    undisturbed: tuple[dict[str, Any], list[Call]], fate: Fate, share: int
) -> None:
    """The process ends there, or the service fails it; what comes after is left alone."""
    files, calls = undisturbed
    chosen = sample(_one_failure_each(points(calls, (fate,))), fate)[share::SHARES]
    pace = asyncio.Semaphore(AT_ONCE)

    async def differs(point: Point) -> str | None:
        async with pace:
            try:
                found, _ = await history(point)
            except Exception as error:  # noqa: BLE001 - the point must be named, whatever happened there
                return f"{point} {calls[point.place]}: {error!r}"
        return None if found == files else f"{point} {calls[point.place]}: something else is published"

    failed = [said for said in await asyncio.gather(*map(differs, chosen)) if said is not None]

    assert failed == []


def _one_failure_each(found: list[Point]) -> list[Point]:
    """Choose one failure of each call: all of them would be five times as many."""
    chosen: dict[int, list[Point]] = {}
    for point in found:
        chosen.setdefault(point.place, []).append(point)
    return [Random(f"{SEED}/{place}").choice(of_call) for place, of_call in chosen.items()]


def _plain(call: Call) -> str:
    """Name a call without the random names of a staged page, or of what was put aside."""
    return name_of(call).partition("/pages/")[0].partition("/aside/")[0]
