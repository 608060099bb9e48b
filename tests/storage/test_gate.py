"""The quota gate in its table: shared by all workers, never more than the limits, moved by a 429 for everyone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from shared.quota.gate import TABLE, QuotaGate
from shared.quota.limits import Used, parse_limits
from shared.storage import Storage, storage_connection
from tests.faults import FaultyEdge
from tests.laptop import fresh_storage

NOW = datetime(2026, 5, 10, 12, tzinfo=UTC)


@asynccontextmanager
async def gates(
    tenant: str, scope: str, workers: int = 1
) -> AsyncIterator[tuple[list[QuotaGate], FaultyEdge]]:
    """One gate as several workers see it."""
    edge = FaultyEdge()
    async with Storage(storage_connection({"COST_STORAGE": fresh_storage()}), edge) as storage:
        await storage.ensure(tables=[TABLE])
        limits = parse_limits(tenant), parse_limits(scope)
        yield [QuotaGate(storage.tables, *limits) for _ in range(workers)], edge


def most_within(places: Sequence[datetime], span: timedelta) -> int:
    """Count the most places that any window of this length holds."""
    return max(sum(start <= place < start + span for place in places) for start in places)


async def test_no_window_ever_holds_more_than_the_limits_whoever_takes() -> None:
    """Four workers side by side take for three scopes."""
    async with gates("5/10s,12/m", "3/10s", workers=4) as (workers, _):
        scopes = ["a", "b", "c"] * 8
        turns = await asyncio.gather(
            *(workers[number % 4].take(scope, NOW) for number, scope in enumerate(scopes))
        )

    places = [turn.place for turn in turns]
    assert most_within(places, timedelta(seconds=10)) == 5
    assert most_within(places, timedelta(minutes=1)) <= 12
    for scope in "abc":
        own = [place for place, name in zip(places, scopes, strict=True) if name == scope]
        assert most_within(own, timedelta(seconds=10)) <= 3


async def test_place_costs_two_table_calls() -> None:
    async with gates("60/m", "4/m") as ((gate,), edge):
        await gate.take("a", NOW)
        edge.heal()

        await gate.take("a", NOW)

        assert edge.made("") == ["table query CostQuota", "table batch CostQuota"]


async def test_who_wakes_keeps_the_place_and_books_nothing() -> None:
    async with gates("1/10s", "1/10s") as ((gate,), edge):
        await gate.take("a", NOW)
        turn = await gate.take("a", NOW)
        edge.heal()

        assert await gate.due("a", turn) == turn.place > NOW
        assert edge.made("") == ["table query CostQuota"]
        later = await gate.take("b", NOW)
        assert later.place - turn.place >= timedelta(seconds=10)


async def test_pause_moves_every_place_to_come_of_every_scope() -> None:
    async with gates("1/10s", "1/10s") as ((gate,), _):
        await gate.take("a", NOW)
        waiting = {scope: await gate.take(scope, NOW) for scope in "bc"}

        await gate.pause("a", NOW, timedelta(seconds=45))

        for scope, turn in waiting.items():
            assert await gate.due(scope, turn) == turn.place + timedelta(seconds=45)
        assert (await gate.take("d", NOW)).place >= max(turn.place for turn in waiting.values())


async def test_what_an_answer_says_of_others_holds_for_every_worker() -> None:
    """GIVEN a minute of which others have used all but one WHEN one worker hears of it THEN all of them wait."""
    async with gates("10/m", "100/m", workers=2) as ((one, other), _):
        await one.take("a", NOW)

        await one.learn("a", NOW, Used(left={timedelta(minutes=1): 1}))

        places = [(await other.take("b", NOW)).place for _ in range(3)]
        assert places[0] == NOW < places[1] < places[2]


async def test_answer_that_says_what_the_gate_knows_costs_no_call() -> None:
    async with gates("10/m", "100/m") as ((gate,), edge):
        await gate.take("a", NOW)
        edge.heal()

        await gate.learn("a", NOW, Used(left={timedelta(minutes=1): 9}))

        assert edge.made("") == []


async def test_nobody_gets_a_place_before_a_pause_is_over() -> None:
    async with gates("100/10s", "100/10s", workers=2) as ((one, other), _):
        await one.pause("a", NOW, timedelta(seconds=45))

        assert (await other.take("b", NOW)).place >= NOW + timedelta(seconds=45)


async def test_lost_race_for_a_gate_takes_again() -> None:
    async with gates("1/10s", "1/10s", workers=2) as ((one, other), edge):
        await one.take("a", NOW)

        async def the_other_takes(_: object) -> None:
            await other.take("b", NOW)

        edge.meanwhile("table batch CostQuota", the_other_takes)
        turn = await one.take("a", NOW)

        assert turn.place - NOW >= timedelta(seconds=20)


async def test_waiting_is_known_until_the_last_place_of_the_scope() -> None:
    async with gates("100/s", "1/10s") as ((gate,), _):
        assert await gate.waits_until("a") is None
        turns = [await gate.take("a", NOW) for _ in range(3)]

        assert await gate.waits_until("a") == turns[-1].place
        assert await gate.waits_until("b") is None
