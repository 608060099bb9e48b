"""One message, one page: the registry entity is the commit, whatever dies around it."""

from typing import Any

import msgspec
import pytest

from infra.local.simulator import DEFAULT_TOKEN, Metric, Tenant, scope_truth
from shared.days import ScopeState
from shared.edge import Call
from shared.messages import PAGES, RUNS, BadMessage, PageItem
from shared.read.fetch_page import fetch_page
from shared.registry import pages
from shared.registry.pages import Page, Verdict
from shared.runs import Slice, SliceState
from tests.faults import Answer, Killed, Spoil, dies
from tests.laptop import Laptop, laptop, page_message

CLOSING = 3


def rows_of(tenant: Tenant) -> int:
    return sum(
        total.rows for total in scope_truth(tenant, tenant.subscription_scopes[0], Metric.ACTUAL).values()
    )


def two_pages(tenant: Tenant) -> dict[str, str]:
    """A page size under which the tenant's only subscription comes in two pages."""
    return {"COST_PAGE_SIZE": str(rows_of(tenant) // 2 + 1)}


def small_tenant() -> Tenant:
    return Tenant(4, subscriptions=1, days=2, rows_per_day=30)


async def entries(bench: Laptop, piece: Slice) -> list[Page | Verdict]:
    return await pages.entries(bench.engine.storage.tables, piece.partition)


async def told(bench: Laptop, piece: Slice) -> list[object]:
    """Say what a generation's registry comes to, without the names that differ from one worker to the next."""
    found: list[object] = []
    for entry in await entries(bench, piece):
        if isinstance(entry, Page):
            found.append((entry.number, entry.raw_rows, entry.sums, entry.digests, entry.packed, entry.sent))
        else:
            found.append((entry.number, entry.control_kind, entry.days))
    return found


async def queued(bench: Laptop) -> list[PageItem]:
    """Take the messages of the page queue."""
    return [PageItem.decode(body) for body in await bench.take(PAGES)]


@pytest.mark.parametrize("page", [1, 2, CLOSING])
async def test_killed_at_any_outside_call_the_redelivery_ends_with_the_same_registry(page: int) -> None:
    """Nothing is lost, nothing comes twice. Dying after a call's effect is dying before the next call."""
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        wanted = await registry_of_an_undisturbed_run(bench)
        place, killed = 0, True
        while killed:
            run, body = await bench.work_up_to(page)
            bench.edge.kill_at(place, after=True)
            killed = await dies(fetch_page(bench.engine, body))
            bench.restart()

            await fetch_page(bench.engine, body)

            sent = await queued(bench)
            assert page == CLOSING or {item.page for item in sent} == {page + 1} or not killed, place
            for item in sent:
                await fetch_page(bench.engine, item.encode())
            await bench.drain(PAGES)
            piece = await bench.slice(run)
            assert piece.state is SliceState.RECONCILED
            assert await told(bench, piece) == wanted, place
            assert await records_pointed_at(bench, piece) == rows_of(tenant)
            place += 1
        assert place > 9


async def registry_of_an_undisturbed_run(bench: Laptop) -> list[object]:
    run = await bench.seed()
    await bench.drain(PAGES)
    return await told(bench, await bench.slice(run))


async def records_pointed_at(bench: Laptop, piece: Slice) -> int:
    """Count the staged rows of the days that point at this slice's generation."""
    known = await bench.engine.days.of_scope(piece.metric, piece.scope_key, piece.first, piece.last)
    assert {pointer.reading and pointer.reading.generation for pointer in known.values()} == {
        piece.generation
    }
    count = 0
    for day in known:
        names = await bench.engine.generations.staged_on(piece.partition, day)
        count += len(await bench.engine.staging.read(names, day))
    return count


@pytest.mark.parametrize(
    ("named", "after"),
    [
        ("blob put cost-staging", True),
        ("table insert CostHashes", True),
        ("queue send cost-pages", True),
        ("table merge CostHashes", False),
    ],
    ids=["staged blob written", "entity inserted", "next message sent", "before sent is recorded"],
)
async def test_worker_that_dies_around_the_commit_leaves_one_page_and_its_successor(
    named: str, *, after: bool
) -> None:
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        run, body = await bench.work_up_to(1)
        bench.edge.kill_on(named, after=after)
        with pytest.raises(Killed):
            await fetch_page(bench.engine, body)
        bench.restart()

        await fetch_page(bench.engine, body)

        (page,) = await entries(bench, await bench.slice(run))
        assert isinstance(page, Page)
        assert page.sent
        assert {item.page for item in await queued(bench)} == {2}


async def test_loser_of_an_insert_takes_the_winners_page_and_sends_its_successor() -> None:
    """The winner committed the page and died before it sent anything."""
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench, bench.other() as (winner, edge):
        run, body = await bench.work_up_to(1)

        async def another_worker_wins(_: Call) -> None:
            edge.kill_on("queue send")
            with pytest.raises(Killed):
                await fetch_page(winner, body)

        bench.edge.meanwhile("table insert CostHashes", another_worker_wins)
        await fetch_page(bench.engine, body)

        (page,) = await entries(bench, await bench.slice(run))
        assert isinstance(page, Page)
        staged = await bench.engine.storage.blobs.list("cost-staging", "pages/")
        assert len(staged) == 2
        assert page.staged in {blob.name for blob in staged}
        assert page.sent
        assert [item.page for item in await queued(bench)] == [2]


async def test_message_of_a_committed_page_sends_nothing_once_its_successor_is_recorded_as_sent() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        _, body = await bench.work_up_to(1)
        await fetch_page(bench.engine, body)
        assert len(await queued(bench)) == 1
        bench.restart()

        await fetch_page(bench.engine, body)

        assert await queued(bench) == []
        assert bench.edge.made("api") == []


async def test_message_of_an_older_generation_starts_the_current_one_where_that_has_no_page() -> None:
    """The worker died between the new generation's row and its first message."""
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        bench.fault(move_rate=1.0, spoiled_readings=1)
        run, body = await bench.work_up_to(2)
        bench.edge.kill_on("queue send")
        with pytest.raises(Killed):
            await fetch_page(bench.engine, body)
        bench.restart()

        await fetch_page(bench.engine, body)

        piece = await bench.slice(run)
        (item,) = await queued(bench)
        assert (item.generation, item.page) == (piece.generation, 1)
        assert item.generation > PageItem.decode(body).generation


async def test_message_of_an_older_generation_is_dropped_where_the_current_one_has_a_page() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        bench.fault(move_rate=1.0, spoiled_readings=1)
        _, older = await bench.work_up_to(2)
        await fetch_page(bench.engine, older)
        (first,) = await bench.take(PAGES)
        await fetch_page(bench.engine, first)
        assert [item.page for item in await queued(bench)] == [2]
        bench.edge.heal()

        await fetch_page(bench.engine, older)

        assert await queued(bench) == []
        assert bench.edge.made("api") == []


async def test_data_that_moved_between_two_pages_start_a_new_generation() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant)) as bench:
        bench.fault(move_rate=1.0, spoiled_readings=1)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading, piece.discarded) == (SliceState.RECONCILED, 2, 1)


async def test_data_that_never_stand_still_end_the_slice_after_the_bounded_number_of_readings() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **two_pages(tenant), COST_MAX_READINGS="3") as bench:
        bench.fault(move_rate=1.0, spoiled_readings=99)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.FAILED, 3)
        assert str(piece.cause).startswith("DataMoved: 1 rows of page 2")


@pytest.mark.parametrize(
    ("faults", "settings", "cause"),
    [
        ({"loop_rate": 1.0, "spoiled_readings": 99}, {}, "CursorLoop: the nextLink of page"),
        ({"endless": "*"}, {}, "CursorLoop: all rows of page 3 were on earlier pages"),
        (
            {"endless": "*"},
            {"COST_MAX_PAGES": "2"},
            "TooManyPages: page 2 has a nextLink, COST_MAX_PAGES is 2",
        ),
    ],
    ids=["cursor used before", "all rows seen before", "more than COST_MAX_PAGES"],
)
async def test_loop_is_thrown_away_and_after_four_readings_failed_with_its_cause(
    faults: dict[str, Any], settings: dict[str, str], cause: str
) -> None:
    tenant = small_tenant()
    if "endless" in faults:
        faults = {"endless": tenant.subscription_scopes}
    async with laptop(tenant, **two_pages(tenant), **settings) as bench:
        bench.fault(**faults)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading, piece.discarded) == (SliceState.FAILED, 4, 3)
        assert str(piece.cause).startswith(cause)
        assert piece.cure
        assert await bench.totals() == {}


async def test_overlap_of_two_pages_is_dropped_and_counted() -> None:
    tenant = small_tenant()
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant) // 2 + 5)) as bench:
        bench.fault(overlap=5)

        run = await bench.run()

        assert run.summary is not None
        assert (run.summary["duplicates_dropped"], run.summary["status"]) == (5, "complete")
        assert sum(rows for _, rows in (await bench.totals()).values()) == rows_of(tenant)


async def test_throttle_puts_the_message_back_with_a_place_and_burns_no_attempt() -> None:
    tenant = small_tenant()
    async with laptop(tenant, COST_THROTTLE_FLOOR="1") as bench:
        bench.fault(throttle_rate=1.0, throttles_in_a_row=1, hint_seconds=0)
        run, body = await bench.work_up_to(1)

        before = bench.clock()
        await fetch_page(bench.engine, body)

        assert await bench.take(PAGES) == [], "it is hidden until its place"
        (again,) = await waited_for(bench)
        item = PageItem.decode(again)
        assert item.place is not None
        assert item.place >= before
        assert (item.attempt, item.throttled, item.requests) == (0, 1, 1)
        bench.edge.heal()
        await fetch_page(bench.engine, again)
        assert bench.edge.made("table batch CostQuota") == [], "who wakes takes no new place"
        (page, *_) = await entries(bench, await bench.slice(run))
        assert (page.requests, page.throttled) == (2, 1)


async def waited_for(bench: Laptop) -> list[bytes]:
    while not (found := await bench.take(PAGES)):
        assert await bench.engine.storage.queues.length(PAGES)
    return found


async def test_failures_of_the_service_are_tried_again_and_end_after_the_bounded_number() -> None:
    tenant = small_tenant()
    async with laptop(tenant, COST_MAX_ATTEMPTS="3") as bench:
        bench.fault(error_rate=1.0, error_kinds=("500",), errors_in_a_row=99)

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("500: 500 500: An unexpected error")
        assert bench.running.simulator.journal.requests == 3


async def test_expired_token_is_fetched_anew_and_tried_once_more() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        bench.edge.spoil = on_the_first_answer(
            lambda _: (401, {}, b'{"error":{"code":"ExpiredAuthenticationToken","message":"expired"}}')
        )
        run, body = await bench.work_up_to(1)

        await fetch_page(bench.engine, body)

        assert len(bench.edge.made("token get")) == 2
        assert len(await entries(bench, await bench.slice(run))) == 1


async def test_token_that_stays_expired_ends_the_slice() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        bench.fault(expired_tokens=(DEFAULT_TOKEN,))

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("401 ExpiredAuthenticationToken")
        assert bench.running.simulator.journal.requests == 2


@pytest.mark.parametrize(
    ("column", "cure"),
    [
        ("Meter", "COST_GROUPING (or this scope's `grouping` in COST_SCOPES) asks for Meter: ask without it"),
        (
            "TagValue",
            "COST_GROUPING (or this scope's `grouping` in COST_SCOPES) asks for tag:env: ask without it",
        ),
        ("UsageQuantity", "look at the payload, kept as "),
    ],
)
async def test_lost_column_that_the_grouping_asks_for_has_a_cure_that_names_it(
    column: str, cure: str
) -> None:
    tenant = small_tenant()
    async with laptop(tenant, COST_GROUPING="ServiceName,ChargeType,Meter,tag:env") as bench:

        def lose(answer: Answer) -> Answer:
            status, headers, body = answer
            assert f'"{column}"'.encode() in body
            return status, headers, body.replace(f'"{column}"'.encode(), b'"other"')

        bench.edge.spoil = lose
        piece = await bench.slice(await bench.run())

        assert piece.cause == f"SchemaDrift: column `{column}` is missing (page 1)"
        assert str(piece.cure).startswith(cure)
        assert "look at the payload" in str(piece.cure)


async def test_cursor_too_long_for_a_table_property_is_refused_by_name() -> None:
    tenant = small_tenant()

    def lengthen(answer: Answer) -> Answer:
        status, headers, body = answer
        said = msgspec.json.decode(body)
        said["properties"]["nextLink"] += "&pad=" + "x" * 32_000
        return status, headers, msgspec.json.encode(said)

    async with laptop(tenant, **two_pages(tenant)) as bench:
        bench.edge.spoil = on_the_first_answer(lengthen)
        run, body = await bench.work_up_to(1)

        await fetch_page(bench.engine, body)

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("CursorTooLong: the nextLink has 32")


def on_the_first_answer(change: Spoil) -> Spoil:
    done: list[bool] = []

    def spoil(answer: Answer) -> Answer:
        if done:
            return answer
        done.append(True)
        return change(answer)

    return spoil


async def test_message_that_names_no_slice_is_a_bad_message() -> None:
    async with laptop(small_tenant()) as bench:
        with pytest.raises(BadMessage, match="there is no slice s of a run r"):
            await fetch_page(bench.engine, PageItem(run="r", slice="s", generation="g", page=1).encode())


async def test_page_asked_for_before_its_predecessor_is_a_bad_message() -> None:
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        with pytest.raises(BadMessage, match=r"page 2 of .* was asked for before page 1"):
            await fetch_page(bench.engine, page_message(await bench.slice(run), 2))


async def test_message_of_an_ended_slice_tells_the_orchestrator_again_and_reads_nothing() -> None:
    """The worker died between the slice's end and the news of it."""
    async with laptop(small_tenant()) as bench:
        run = await bench.seed()
        bench.edge.kill_on("queue send cost-runs")
        with pytest.raises(Killed):
            await bench.drain(PAGES)
        bench.restart()

        await fetch_page(bench.engine, page_message(await bench.slice(run)))

        assert bench.edge.made("api") == []
        assert len(bench.edge.made("queue send cost-runs")) == 1
        await bench.drain()
        await bench.closed(run)


async def test_slice_that_another_worker_has_ended_is_not_failed_by_one_that_was_refused_later() -> None:
    """The second worker's answer says nothing about the days that the first has read to their end."""
    tenant = small_tenant()
    async with laptop(tenant) as bench, bench.other() as (other, _):
        run, body = await bench.work_up_to(1)

        async def read_to_the_end(_: Call) -> None:
            await fetch_page(other, body)
            for closing in await bench.take(PAGES):
                await fetch_page(other, closing)

        bench.edge.meanwhile("api", read_to_the_end)
        bench.edge.spoil = refused
        await fetch_page(bench.engine, body)

        piece = await bench.slice(run)
        assert piece.state is SliceState.RECONCILED
        known = await bench.engine.days.of_scope(piece.metric, piece.scope_key, piece.first, piece.last)
        assert {pointer.state for pointer in known.values()} == {ScopeState.RECONCILED}
        assert len(await bench.take(RUNS)) == 2, "each of them tells the orchestrator"


def refused(answer: Answer) -> Answer:
    """Let the service say that the reader has no role."""
    return 403, answer[1], msgspec.json.encode({"error": {"code": "AuthorizationFailed", "message": "no"}})
