"""A generation counts day by day, and only where the provider's own totals agree."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from infra.local.simulator import Metric, Tenant, restate, scope_truth, transfer
from shared.days import Pointer, ScopeState
from shared.edge import Call
from shared.engine import open_engine
from shared.messages import PAGES
from shared.normalise.exact import text, total
from shared.plan.backfill import backfill
from shared.read import ending
from shared.read.comparing import agrees
from shared.read.fetch_page import fetch_page
from shared.registry.pages import Sums
from shared.runs import Run, RunStatus, Slice, SliceState
from tests.faults import Answer, Killed, Spoil, dies
from tests.laptop import Laptop, laptop
from tests.truth import truth_of


def small_tenant() -> Tenant:
    return Tenant(4, subscriptions=1, days=3, rows_per_day=20)


def rows_of(tenant: Tenant) -> int:
    return sum(
        total.rows for total in scope_truth(tenant, tenant.subscription_scopes[0], Metric.ACTUAL).values()
    )


def in_two_pages(tenant: Tenant) -> dict[str, str]:
    return {"COST_PAGE_SIZE": str(rows_of(tenant) // 2 + 1)}


async def pointers(bench: Laptop, piece: Slice) -> Mapping[date, Pointer]:
    return await bench.engine.days.of_scope(piece.metric, piece.scope_key, piece.first, piece.last)


async def kinds(bench: Laptop, run: Run) -> set[str]:
    """Say what proved the days of the only slice."""
    known = await pointers(bench, await bench.slice(run))
    return {pointer.reading.control_kind for pointer in known.values() if pointer.reading is not None}


def controls(bench: Laptop) -> int:
    return sum(entry.control for entry in bench.running.simulator.journal.entries)


def off_by_one(*days: date, column: str = "Cost") -> Spoil:
    """Let the control totals of these days say one more than there is."""
    numbers = {int(f"{day:%Y%m%d}") for day in days}

    def spoil(answer: Answer) -> Answer:
        status, headers, body = answer
        said = msgspec.json.decode(body)
        names = [one["name"] for one in said["properties"]["columns"]]
        if len(names) == 4:
            for row in said["properties"]["rows"]:
                if row[names.index("UsageDate")] in numbers:
                    row[names.index(column)] += 1
        return status, headers, msgspec.json.encode(said)

    return spoil


def control_that(change: Callable[[dict[str, Any]], None]) -> Spoil:
    """Let the answer with the control totals be another one."""

    def spoil(answer: Answer) -> Answer:
        status, headers, body = answer
        said = msgspec.json.decode(body)["properties"]
        if len(said["columns"]) == 4:
            change(said)
        return status, headers, msgspec.json.encode({"properties": said})

    return spoil


async def test_control_totals_that_lack_a_column_stop_the_slice_and_are_kept() -> None:
    tenant = small_tenant()

    def drop_the_cost(said: dict[str, Any]) -> None:
        said["columns"] = [one for one in said["columns"] if one["name"] != "Cost"]
        said["rows"] = [row[1:] for row in said["rows"]]

    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        bench.edge.spoil = control_that(drop_the_cost)

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("SchemaDrift: ")
        assert str(piece.cause).endswith("(control totals)")
        assert await bench.engine.storage.blobs.list("cost-staging", "quarantine/")
        assert await bench.totals() == {}


async def test_control_totals_that_come_in_pages_prove_nothing() -> None:
    """A sum over the first page alone would be too small; it is asked for again, and then the slice fails."""
    tenant = small_tenant()

    def page_it(said: dict[str, Any]) -> None:
        said["nextLink"] = f"{bench.engine.settings.arm_endpoint}/next"

    async with laptop(
        tenant, **in_two_pages(tenant), COST_MAX_ATTEMPTS="2", COST_RETRY_DELAY="0.01"
    ) as bench:
        bench.edge.spoil = control_that(page_it)

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert "ControlPaged" in str(piece.cause)
        assert await bench.totals() == {}


async def test_single_page_below_top_needs_no_control() -> None:
    """It is one execution of the query: nothing can have moved under it."""
    tenant = small_tenant()
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant) + 1)) as bench:
        run = await bench.run()

        assert (controls(bench), await kinds(bench, run)) == (0, {"single_page"})


async def test_single_page_with_rows_of_other_days_is_compared_with_the_control() -> None:
    """Who answers other days than were asked for may have left out some of these."""
    tenant = small_tenant()
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant) + 1)) as bench:
        bench.fault(out_of_window=2)
        run = await bench.seed(days=1)
        await bench.drain()

        assert (controls(bench), await kinds(bench, run)) == (1, {"query"})


async def test_page_of_exactly_top_rows_is_compared_with_the_control() -> None:
    """Without a nextLink it may still have been cut."""
    tenant = small_tenant()
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant))) as bench:
        run = await bench.run()

        assert (controls(bench), await kinds(bench, run)) == (1, {"query"})


async def test_lost_row_is_found_and_only_the_day_that_disagreed_is_read_again() -> None:
    """That reading is a single page, and is compared with the control all the same."""
    tenant = small_tenant()
    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        bench.fault(lose_rate=1.0, spoiled_readings=1)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading, piece.reading_first) == (
            SliceState.RECONCILED,
            2,
            piece.reading_last,
        )
        assert (controls(bench), await kinds(bench, run)) == (2, {"query"})
        readings = {day: pointer.reading for day, pointer in (await pointers(bench, piece)).items()}
        again = {
            day for day, reading in readings.items() if reading and reading.generation == piece.generation
        }
        assert again == {piece.reading_first}
        assert {key: amount for key, (amount, _) in (await bench.totals()).items()} == truth(tenant)


def truth(tenant: Tenant) -> dict[tuple[date, str, str], Decimal]:
    found = scope_truth(tenant, tenant.subscription_scopes[0], Metric.ACTUAL)
    return {(key.day, key.currency, key.subscription): told.amount for key, told in found.items()}


async def test_reading_again_takes_the_smallest_range_that_holds_the_days_that_disagreed() -> None:
    tenant = Tenant(4, subscriptions=1, days=5, rows_per_day=15)
    async with laptop(tenant, COST_MAX_READINGS="2", **in_two_pages(tenant)) as bench:
        bench.edge.spoil = off_by_one(tenant.days[1], tenant.days[3])

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.reading_first, piece.reading_last) == (tenant.days[1], tenant.days[3])


async def test_day_that_never_agrees_is_unreconciled_with_both_totals_and_the_others_are_published() -> None:
    tenant = small_tenant()
    bad, *good = tenant.days
    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        bench.edge.spoil = off_by_one(bad)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.UNRECONCILED, 4)
        ours = total(amount for (day, *_), amount in truth(tenant).items() if day == bad)
        assert f"{bad} rows add up to {ours.normalize():f}" in str(piece.cause)
        control = f"{ours + 1:f}"[:16]  # what the service's double still says
        assert f"control says {control}" in str(piece.cause)
        assert {day for day, *_ in await bench.totals()} == set(good)
        assert run.summary is not None
        assert run.status is RunStatus.PARTIAL
        assert [failure["state"] for failure in run.summary["failures"]] == ["unreconciled"]
        assert (await bench.manifest("ActualCost", bad))["scopes"][0]["state"] == "unreconciled"


async def test_each_day_that_never_agrees_is_named_with_its_own_totals() -> None:
    tenant = Tenant(4, subscriptions=1, days=5, rows_per_day=20)
    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        bench.edge.spoil = off_by_one(*tenant.days)

        run = await bench.run()

        for day in tenant.days:
            ours = total(amount for (one, *_), amount in truth(tenant).items() if one == day)
            (scope,) = (await bench.manifest("ActualCost", day))["scopes"]
            said = f"ControlMismatch: {day} rows add up to {text(ours)} USD, control says "
            assert str(scope["cause"]).startswith(said)
            assert scope["cause"].count("rows add up") == 1
            assert str(day) in str((await bench.slice(run)).cause)


async def test_each_further_reading_waits_twice_as_long_up_to_a_bound() -> None:
    """What disagreed may settle with time; jitter adds a quarter at the most."""
    tenant = small_tenant()
    settings = {"COST_RETRY_DELAY": "60", "COST_MAX_READINGS": "6", **in_two_pages(tenant)}
    pauses = []
    async with laptop(tenant, **settings) as bench:
        bench.edge.spoil = off_by_one(tenant.days[0])
        run = await bench.seed()
        message = ending.first_page(await bench.slice(run))
        while (piece := await bench.slice(run)).reading < 6:
            await fetch_page(bench.engine, message.encode())
            after = await bench.slice(run)
            message = msgspec.structs.replace(message, page=message.page + 1)
            if after.reading > piece.reading:
                assert after.not_before is not None
                pauses.append(after.not_before - bench.clock())
                bench.clock.ahead += pauses[-1]
                message = ending.first_page(after)

    second = timedelta(seconds=1)
    for pause, least in zip(pauses, (60, 120, 240, 300, 300), strict=True):
        assert (least - 5) * second < pause < 1.25 * least * second


async def test_day_that_never_agrees_is_published_and_marked_where_the_settings_ask_for_it() -> None:
    tenant = small_tenant()
    bad = tenant.days[0]
    settings = {"COST_PUBLISH_UNRECONCILED": "true", **in_two_pages(tenant)}
    async with laptop(tenant, **settings) as bench:
        bench.edge.spoil = off_by_one(bad)

        run = await bench.run()

        assert {key: amount for key, (amount, _) in (await bench.totals()).items()} == truth(tenant)
        assert (await bench.manifest("ActualCost", bad))["status"] == "unreconciled"
        assert (await bench.manifest("ActualCost", tenant.days[1]))["status"] == "reconciled"
        assert run.status is RunStatus.PARTIAL


async def test_reading_that_does_not_agree_never_replaces_one_that_came_to_agree_while_it_was_closing() -> (
    None
):
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=20)
    (day,) = tenant.days
    settings = {"COST_PUBLISH_UNRECONCILED": "true", "COST_MAX_READINGS": "1", **in_two_pages(tenant)}
    async with laptop(tenant, **settings) as bench:
        agrees, closing = await bench.work_up_to(3)
        bench.clock.ahead += timedelta(minutes=1)
        differs, closing_late = await bench.work_up_to(3)

        async def happens(call: Call) -> None:
            bench.clock.ahead -= timedelta(minutes=1)
            async with bench.other() as (engine, _):
                await fetch_page(engine, closing)
            bench.clock.ahead += timedelta(minutes=1)

        bench.edge.spoil = off_by_one(day)
        bench.edge.meanwhile("table insert CostDays", happens)
        await fetch_page(bench.engine, closing_late)
        await bench.drain()

        assert (await bench.slice(differs)).state is SliceState.UNRECONCILED
        reading = (await pointers(bench, await bench.slice(differs)))[day].reading
        assert reading is not None
        assert (reading.run, reading.agreed) == (agrees.id, True)
        assert (await bench.manifest("ActualCost", day))["status"] == "reconciled"


@pytest.mark.parametrize("publish", ["false", "true"])
async def test_what_was_proven_is_never_replaced_by_a_reading_that_never_agreed(publish: str) -> None:
    """Whatever COST_PUBLISH_UNRECONCILED says: that is for days of which nothing was ever proven."""
    tenant = small_tenant()
    bad = tenant.days[0]
    settings = {"COST_PUBLISH_UNRECONCILED": publish, **in_two_pages(tenant)}
    async with laptop(tenant, **settings) as bench:
        await bench.run()
        proven = await bench.totals()
        restate(tenant, 3, [bad])
        bench.edge.spoil = off_by_one(bad)

        run = await bench.run()

        assert run.status is RunStatus.PARTIAL
        assert await bench.totals() == proven != truth_of(tenant)
        manifest = await bench.manifest("ActualCost", bad)
        (scope,) = manifest["scopes"]
        assert (manifest["status"], scope["state"]) == ("reconciled", "stale")
        assert str(scope["cause"]).startswith(f"ControlMismatch: {bad} ")

        # AND the next reading that agrees replaces it
        bench.edge.heal()
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)


async def test_quantity_finds_what_the_cost_cannot() -> None:
    """A row without cost that was lost shows in the quantity alone."""
    tenant = small_tenant()
    async with laptop(tenant, COST_MAX_READINGS="1", **in_two_pages(tenant)) as bench:
        bench.edge.spoil = off_by_one(tenant.days[0], column="UsageQuantity")

        run = await bench.run()

        assert (await bench.slice(run)).state is SliceState.UNRECONCILED


async def test_refused_control_ends_the_slice_with_its_cause() -> None:
    tenant = small_tenant()

    def refuse(answer: Answer) -> Answer:
        if b'"ResourceId"' in answer[2]:
            return answer
        return 403, {}, b'{"error":{"code":"AuthorizationFailed","message":"no"}}'

    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        bench.edge.spoil = refuse
        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("AuthorizationFailed")
        assert await bench.totals() == {}


async def work_up_to_closing(bench: Laptop) -> tuple[Run, bytes]:
    run = await bench.seed()
    for _ in range(2):
        (body,) = await bench.take(PAGES)
        await fetch_page(bench.engine, body)
    (body,) = await bench.take(PAGES)
    return run, body


async def test_verdict_is_stored_before_anything_follows_and_applied_by_whoever_comes_next() -> None:
    """The worker died with the verdict stored and no day moved."""
    tenant = small_tenant()
    async with laptop(tenant, **in_two_pages(tenant)) as bench:
        run, body = await work_up_to_closing(bench)
        bench.edge.kill_on("table query CostDays")
        with pytest.raises(Killed):
            await fetch_page(bench.engine, body)
        assert bench.edge.made("table insert CostHashes")
        bench.restart()

        await fetch_page(bench.engine, body)

        assert bench.edge.made("api") == [], "the verdict is not asked for again"
        assert len(await pointers(bench, await bench.slice(run))) == len(tenant.days)
        assert (await bench.slice(run)).state is SliceState.RECONCILED


async def test_control_that_was_asked_late_makes_no_reading_newer() -> None:
    """GIVEN a cost that changes hands after one run's last page, which leaves the totals as they were."""
    tenant = Tenant(4, subscriptions=2, days=1, rows_per_day=12)
    scopes = {"COST_SCOPES": tenant.management_group, "COST_PAGE_SIZE": "8"}
    async with laptop(tenant, **scopes) as bench:
        slow, closing = await work_up_to_closing(bench)
        bench.clock.ahead += timedelta(hours=1)
        transfer(tenant, 2)
        await bench.run()

        # WHEN its control, asked after another run has read and published the change, agrees
        bench.clock.ahead += timedelta(minutes=1)
        await bench.engine.storage.queues.send(PAGES, closing)
        await bench.drain()

        # THEN what the other read stands
        assert (await bench.closed(slow)).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)


async def test_day_that_another_run_read_at_the_same_time_and_otherwise_is_read_once_more() -> None:
    """GIVEN a run between whose pages another reads the day in one answer, and a correction in its last page."""
    tenant = Tenant(4, subscriptions=2, days=1, rows_per_day=12)
    scopes = {"COST_SCOPES": tenant.management_group, "COST_PAGE_SIZE": "8"}
    async with laptop(tenant, **scopes) as bench:
        slow, second = await bench.work_up_to(2)
        await be_crossed(bench, second)

        # THEN nobody can tell which is newer, so it is read again, and the correction is there
        piece = await bench.slice(slow)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 2)
        found, said = (
            total(amount for amount, _ in of.values()) for of in (await bench.totals(), truth_of(tenant))
        )
        # JSON numbers are doubles, so the corrected amount has fewer digits than it had.
        assert abs(found - said - 1) < Decimal("1e-9")


async def test_background_reading_that_another_crossed_later_is_not_made_again() -> None:
    """It takes hours for days that the timer reads all the while: made again, it would be crossed again."""
    tenant = Tenant(4, subscriptions=2, days=1, rows_per_day=12)
    scopes = {"COST_SCOPES": tenant.management_group, "COST_PAGE_SIZE": "8"}
    async with laptop(tenant, **scopes) as bench:
        slow = await backfill(bench.engine, tenant.days[0], tenant.days[0])
        (first,) = await bench.take(PAGES)
        await fetch_page(bench.engine, first)
        (second,) = await bench.take(PAGES)
        await be_crossed(bench, second)

        piece = await bench.slice(slow)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 1)
        assert await bench.totals() == truth_of(tenant)


async def be_crossed(bench: Laptop, second: bytes) -> None:
    """Let another run read the day in one answer, correct its last page, and go on with the second page."""
    awake, environ = bench.engine, {**bench.environ, "COST_PAGE_SIZE": "5000"}
    bench.clock.ahead += timedelta(minutes=10)
    async with open_engine(environ, edge=bench.edge, clock=bench.clock) as bench.engine:
        assert (await bench.run()).status is RunStatus.COMPLETE
    bench.engine = awake
    bench.clock.ahead += timedelta(minutes=10)
    bench.edge.spoil = corrected_in_the_last_page
    await bench.engine.storage.queues.send(PAGES, second)
    await bench.drain()


def corrected_in_the_last_page(answer: Answer) -> Answer:
    """Let one row cost one more, and the control know of it."""
    status, headers, body = answer
    said = msgspec.json.decode(body)
    names = [one["name"] for one in said["properties"]["columns"]]
    if said["properties"].get("nextLink") is None:
        said["properties"]["rows"][0][names.index("Cost")] += 1
    return status, headers, msgspec.json.encode(said)


async def test_loser_of_a_verdict_applies_the_winners() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_two_pages(tenant)) as bench, bench.other() as (winner, edge):
        run, body = await work_up_to_closing(bench)

        async def another_decides_otherwise(_: Call) -> None:
            edge.spoil = off_by_one(tenant.days[0])
            edge.kill_on("table query CostDays")
            assert await dies(fetch_page(winner, body))

        bench.edge.meanwhile("table insert CostHashes", another_decides_otherwise)
        await fetch_page(bench.engine, body)

        piece = await bench.slice(run)
        assert (piece.reading, piece.reading_first) == (2, tenant.days[0]), (
            "the winner found a day to read again"
        )
        assert set(await pointers(bench, piece)) == set(tenant.days[1:])


async def test_reading_that_loses_more_than_half_of_a_day_moves_nothing_and_is_called_vanished() -> None:
    tenant = small_tenant()
    (scope,) = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        await bench.run()
        published, before = await bench.totals(), await pointers(bench, await bench.slice(await bench.run()))
        tenant.vanish(scope, tenant.days[1])

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.VANISHED
        assert str(piece.cause).startswith(
            "Vanished: more than half of the cost is gone from 1 reconciled days"
        )
        emptied = tenant.days[1]
        assert f"--accept-vanished --from {emptied} --to {emptied} --scope {piece.scope}`" in str(piece.cure)
        after = await pointers(bench, piece)
        assert {day: pointer.reading for day, pointer in after.items()} == {
            day: pointer.reading for day, pointer in before.items()
        }
        assert after[tenant.days[1]].state is ScopeState.VANISHED
        assert await bench.totals() == published
        assert run.status is RunStatus.PARTIAL
        assert (await bench.manifest("ActualCost", tenant.days[1]))["scopes"][0]["state"] == "vanished"


async def test_vanished_cost_is_applied_when_a_person_accepts_it() -> None:
    tenant = small_tenant()
    (scope,) = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        await bench.run()
        tenant.vanish(scope, tenant.days[1])
        await bench.run()

        run = await bench.run(accept_vanished=True)

        assert (await bench.slice(run)).state is SliceState.RECONCILED
        assert {day for day, *_ in await bench.totals()} == {tenant.days[0], tenant.days[2]}


async def test_outage_that_answers_204_for_all_there_was_takes_nothing_away() -> None:
    tenant = small_tenant()
    (scope,) = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        await bench.run()
        published = await bench.totals()
        for day in tenant.days:
            tenant.vanish(scope, day)
        bench.fault(empty_status=204)

        run = await bench.run()

        assert (await bench.slice(run)).state is SliceState.VANISHED
        assert run.status is RunStatus.PARTIAL
        assert await bench.totals() == published != {}
        for day in tenant.days:
            tenant.appear(scope, day)
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == published


async def test_vanished_cost_that_comes_back_is_reconciled_again() -> None:
    tenant = small_tenant()
    (scope,) = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        await bench.run()
        tenant.vanish(scope, tenant.days[1])
        await bench.run()
        tenant.appear(scope, tenant.days[1])

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        assert (await bench.manifest("ActualCost", tenant.days[1]))["status"] == "reconciled"


A_CENT = Sums(Decimal("0.01"), Decimal("0.01"), Decimal(1), Decimal(1), 1)


@pytest.mark.parametrize(
    ("said", "control", "expected"),
    [
        ({}, {}, True),
        ({"USD": A_CENT}, {"USD": A_CENT}, True),
        ({"USD": A_CENT}, {}, False),
        ({}, {"USD": A_CENT}, False),
        ({"USD": A_CENT}, {"EUR": A_CENT}, False),
        ({"USD": Sums(Decimal("1e-9"))}, {}, True),
        ({"USD": Sums(Decimal("1.000000001e-9"))}, {}, False),
        ({"USD": Sums(Decimal(0), Decimal(10**9))}, {"USD": Sums(Decimal("1.000000001"))}, True),
        ({"USD": Sums(Decimal(0), Decimal(10**9))}, {"USD": Sums(Decimal("1.000000002"))}, False),
        ({"USD": Sums(quantity=Decimal(1))}, {"USD": Sums()}, False),
    ],
    ids=[
        "nothing on both sides",
        "equal",
        "unknown to the control",
        "missing in the rows",
        "other currency",
        "within the floor",
        "past the floor",
        "within the tolerance of the absolute amounts",
        "past it",
        "quantity alone",
    ],
)
def test_agreement_is_per_currency_and_within_the_tolerance(
    said: Mapping[str, Sums], control: Mapping[str, Sums], *, expected: bool
) -> None:
    assert agrees(said, control, Decimal("0.000000001")) is expected


@pytest.mark.parametrize("named", ["table query CostDays", "table insert CostDays"])
async def test_worker_that_gives_a_message_up_says_nothing_of_days_that_another_has_just_moved(
    named: str,
) -> None:
    """Both work one message; the other died before it ended the slice, whose pointers stand."""
    tenant = small_tenant()
    async with laptop(tenant) as bench, bench.other() as (other, edge):
        run, body = await bench.work_up_to(2)
        piece = await bench.slice(run)

        paused, goes_on = asyncio.Event(), asyncio.Event()

        async def pauses(_: Call) -> None:
            paused.set()
            await goes_on.wait()

        edge.meanwhile("table insert CostDays", pauses)
        edge.kill_on("table replace CostRuns")
        dead = asyncio.create_task(dies(fetch_page(other, body)))
        await paused.wait()
        bench.clock.ahead += timedelta(minutes=1)

        async def another_moves(_: Call) -> None:
            goes_on.set()
            assert await dead

        bench.edge.meanwhile(named, another_moves)

        await ending.end(bench.engine, piece, SliceState.FAILED, "it failed", "wait")

        known = await pointers(bench, piece)
        assert {day: pointer.state for day, pointer in known.items()} == dict.fromkeys(
            tenant.days, ScopeState.RECONCILED
        )
