"""Backfills: any days that the service still has, in the background of all other runs."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import msgspec
import pytest

from infra.local.simulator import Tenant, restate
from shared.cli.arguments import Asked
from shared.cli.backfill import backfill as backfill_command
from shared.engine import Engine
from shared.messages import PAGES, PageItem
from shared.plan.backfill import backfill, backfill_request
from shared.plan.seed import seed_timer
from shared.plan.windows import first_kept
from shared.progress import last_progress
from shared.purge import purge
from shared.read.fetch_page import fetch_page
from shared.read.turn import LONGEST_PARKING, SHORTEST_PARKING
from shared.runs import Run, RunStatus, Slice, SliceState
from shared.scopes import Scope
from shared.sweep import RESTARTS, sweep
from tests.laptop import Laptop, laptop
from tests.truth import truth_of

A_STALL = timedelta(seconds=1801)
RETENTION = timedelta(days=45, minutes=1)


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=2, days=1, rows_per_day=20)


async def asked(bench: Laptop, **body: object) -> tuple[int, dict[str, Any]]:
    status, answer = await backfill_request(bench.engine, msgspec.json.encode(body))
    return status, msgspec.json.decode(answer, type=dict[str, Any])


async def filled(bench: Laptop) -> Run:
    """Backfill the tenant's days, with every slice's message due at once."""
    days = bench.tenant.days
    run = await backfill(bench.engine, days[0], days[-1])
    await bench.take(PAGES)
    return run


async def first_pages(bench: Laptop, run: Run) -> list[bytes]:
    return [_first_page(piece) for piece in await bench.slices(run)]


def _first_page(piece: Slice) -> bytes:
    return PageItem(run=piece.run, slice=piece.name, generation=piece.generation, page=1).encode()


async def test_request_seeds_a_run_over_windows_and_says_how_it_is_called() -> None:
    async with laptop(small_tenant()) as bench:
        scope = bench.tenant.subscription_scopes[0]

        status, answer = await asked(bench, **{"from": "2026-01-15", "to": "2026-03-02", "scopes": [scope]})

        (run,) = await bench.engine.runs.runs()
        assert (status, answer) == (
            202,
            {"run_id": run.id, "from": "2026-01-15", "to": "2026-03-02", "slices": 3},
        )
        pieces = await bench.slices(run)
        assert [(piece.first, piece.last) for piece in pieces] == [
            (date(2026, 3, 1), date(2026, 3, 2)),
            (date(2026, 2, 1), date(2026, 2, 28)),
            (date(2026, 1, 15), date(2026, 1, 31)),
        ]
        assert {piece.scope for piece in pieces} == {scope}
        assert all(piece.background for piece in pieces)


async def test_command_seeds_all_that_the_service_keeps_and_says_how_the_run_is_called(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with laptop(small_tenant()) as bench:
        today = bench.clock().date()
        command = Asked(command="backfill", days=(first_kept(today), today))

        assert await backfill_command(bench.engine, command, ()) == 0

        (run,) = await bench.engine.runs.runs()
        pieces = await bench.slices(run)
        assert len({(piece.first, piece.scope) for piece in pieces}) == len(pieces) == 38 * 2
        assert (min(piece.first for piece in pieces), max(piece.last for piece in pieces)) == command.days
        assert f"run {run.id}: 76 slices from {first_kept(today)} to {today}" in capsys.readouterr().out

        one = replace(command, json=True, days=(today, today))
        scopes = (Scope.parse(bench.tenant.subscription_scopes[0]),)
        assert await backfill_command(bench.engine, one, scopes) == 0
        told = msgspec.json.decode(capsys.readouterr().out)
        day = today.isoformat()
        assert (told["from"], told["to"], told["slices"]) == (day, day, 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "missing required field `from`"),
        ({"from": "2026-05", "to": "2026-05-02"}, "write it as YYYY-MM-DD"),
        ({"from": "2026-02-30", "to": "2026-03-02"}, "no day of the calendar"),
        ({"from": "2026-05-02", "to": "2026-05-01"}, "give the earlier day first"),
        ({"from": "2026-05-02", "to": "9999-05-01"}, "the last day that can be asked for is today"),
        ({"from": "2001-05-02", "to": "2026-05-01"}, "is before any charge of Azure"),
        ({"from": "2011-05-02", "to": "2026-05-01"}, "keeps 37 months, now from"),
        (
            {"from": "2026-05-01", "to": "2026-05-02", "scopes": ["/subscriptions/x"]},
            "is none of `COST_SCOPES`",
        ),
        ({"from": "2026-05-01", "to": "2026-05-02", "scopes": []}, "`scopes` is empty"),
        ({"from": "2026-05-01", "to": "2026-05-02", "scope": "x"}, "unknown field `scope`"),
        ({"from": 20260501, "to": "2026-05-02"}, "Expected `str`"),
    ],
)
async def test_request_that_cannot_be_met_is_answered_with_what_is_allowed(
    body: dict[str, object], says: str
) -> None:
    async with laptop(small_tenant()) as bench:
        status, answer = await asked(bench, **body)

        assert status == 400
        assert says in answer["error"]
        assert await bench.engine.runs.runs() == []


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"\xff\xfe", b"[]", b'{"from": "2026-05-01"', b'{"from": "\xff"}']
)
async def test_request_that_is_no_json_is_answered_with_what_is_allowed(body: bytes) -> None:
    async with laptop(small_tenant()) as bench:
        status, answer = await backfill_request(bench.engine, body)

        assert status == 400
        assert b'send {\\"from\\": \\"YYYY-MM-DD\\"' in answer


async def test_backfill_leaves_a_part_of_the_quota_to_the_timers_run() -> None:
    """Of four requests an hour it takes three; the timer's run has its place at once."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="4/h") as bench:
        run = await filled(bench)
        (body, _) = await first_pages(bench, run)
        for _ in range(3):
            await bench.engine.gate.take_spare("elsewhere", bench.clock())
        bench.edge.heal()

        await fetch_page(bench.engine, body)

        assert bench.edge.made("api") == bench.edge.made("table batch CostQuota") == []
        timers = await bench.seed(bench.tenant.subscription_scopes[0])
        (other,) = await first_pages(bench, timers)
        await fetch_page(bench.engine, other)
        assert len(bench.edge.made("api")) == 1


async def test_backfill_that_gives_way_asks_again_later_and_is_spread_further_each_time() -> None:
    """Whoever was parked would else wake with all others, again and again."""
    hidden: list[tuple[PageItem, timedelta]] = []

    class Listening(Engine):
        async def send_page(self, item: PageItem) -> None:
            assert item.not_before is not None
            hidden.append((item, item.not_before - self.clock()))
            await super().send_page(item)

    async with laptop(small_tenant(), COST_QUOTA_TENANT="4/1s") as bench:
        run = await filled(bench)
        (body, _) = await first_pages(bench, run)
        listening = Listening(**{name: getattr(bench.engine, name) for name in Engine.__dataclass_fields__})
        for _ in range(12):
            now = bench.clock()
            for _ in range(4):
                await bench.engine.gate.take("elsewhere", now)
            await fetch_page(listening, body)
            item, _ = hidden[-1]
            bench.clock.ahead += timedelta(minutes=16)
            body = item.encode()

    assert [item.parked for item, _ in hidden] == list(range(1, 13))
    assert all(
        wait < SHORTEST_PARKING * 2**number + timedelta(seconds=2) for number, (_, wait) in enumerate(hidden)
    )
    assert max(wait for _, wait in hidden[8:]) > 4 * SHORTEST_PARKING
    assert max(wait for _, wait in hidden) < LONGEST_PARKING + timedelta(seconds=2)


async def others_take(bench: Laptop, requests: int) -> None:
    for _ in range(requests):
        await bench.engine.gate.take("elsewhere", bench.clock())


async def test_slice_that_gives_way_has_not_stalled_as_long_as_its_message_is_there() -> None:
    """For a day others leave it no place; its message is put off time and again, and no sweep sends it twice."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="4/h") as bench:
        run = await filled(bench)
        (body, _) = await first_pages(bench, run)
        for _ in range(8):
            await others_take(bench, 4)
            await fetch_page(bench.engine, body)
            (piece, _) = await bench.slices(run)
            assert piece.not_before is not None
            bench.clock.ahead += piece.not_before - bench.clock() + timedelta(minutes=29)
            await sweep(bench.engine)

        (piece, _) = await bench.slices(run)
        assert bench.clock.ahead > timedelta(hours=8)
        assert piece.restarts == 0


async def test_slice_that_others_leave_nothing_is_restarted_after_each_outage_and_does_not_fail() -> None:
    """For days it finds no place, and every night there is no worker: neither is the service's fault nor its own."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="4/h") as bench:
        run = await filled(bench)
        (body, _) = await first_pages(bench, run)
        for _ in range(RESTARTS + 2):
            await others_take(bench, 4)
            await fetch_page(bench.engine, body)
            bench.clock.ahead += timedelta(hours=9)

            await sweep(bench.engine)

            (piece, _) = await bench.slices(run)
            assert (piece.state, piece.restarts) == (SliceState.OPEN, 1)


async def test_slice_whose_message_is_lost_is_restarted_though_others_are_served() -> None:
    async with laptop(small_tenant()) as bench:
        run = await filled(bench)
        bench.clock.ahead += A_STALL
        await others_take(bench, 1)

        await sweep(bench.engine)

        assert [piece.restarts for piece in await bench.slices(run)] == [1, 1]
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_slice_that_gives_way_writes_so_on_its_row_only_where_it_was_not_touched_lately() -> None:
    async with laptop(small_tenant(), COST_QUOTA_TENANT="4/h", COST_STALL_SECONDS="14400") as bench:
        run = await filled(bench)
        (body, _) = await first_pages(bench, run)
        await others_take(bench, 3)
        bench.edge.heal()

        await fetch_page(bench.engine, body)

        assert bench.edge.made("table replace CostRuns") == []
        bench.clock.ahead += timedelta(hours=2)
        await others_take(bench, 3)
        await fetch_page(bench.engine, body)
        assert len(bench.edge.made("table replace CostRuns")) == 1


async def test_backfilled_slice_that_fails_says_how_to_ask_for_its_days_again() -> None:
    async with laptop(small_tenant()) as bench:
        run = await filled(bench)
        bench.clock.ahead += timedelta(days=7, minutes=2)

        await sweep(bench.engine)

        day = bench.tenant.days[0]
        for piece in await bench.slices(run):
            assert str(piece.cure).endswith(f"`python -m shared backfill --from {day} --to {day}`")


async def test_slices_that_wait_for_their_day_cost_a_sweep_nothing() -> None:
    """Of thousands, else, it would come to no end and reach no other run."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="1/h") as bench:
        run = await filled(bench)
        first, second = await bench.slices(run)
        assert second.not_before is not None
        bench.clock.ahead += A_STALL
        bench.edge.heal()

        await sweep(bench.engine)

        asked = bench.edge.made("table query CostHashes")
        bench.edge.heal()
        bench.clock.ahead += timedelta(hours=2)
        await sweep(bench.engine)
        assert 0 < len(asked) < len(bench.edge.made("table query CostHashes"))
        assert first.not_before is None


async def test_timer_reads_what_a_backfill_has_still_before_it() -> None:
    async with laptop(small_tenant(), COST_LOOKBACK_DAYS="1") as bench:
        today = bench.clock().date()
        await backfill(bench.engine, today, today)

        run = await seed_timer(bench.engine)

        assert run.planned == 2


async def test_first_pages_of_a_backfill_come_as_fast_as_the_spare_quota_clears_them() -> None:
    """A slice asks for a page and its control totals; of 60 an hour 45 are spare, one every 80 seconds."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="60/h") as bench:
        run = await filled(bench)

        first, second = await bench.slices(run)

        assert (first.not_before, second.not_before) == (None, run.created_at + timedelta(seconds=160))
        assert await last_progress(bench.engine, second) == second.not_before


async def test_slices_of_more_than_the_quota_clears_in_a_week_wait_for_as_long_as_it_takes() -> None:
    """A message cannot be hidden for so long: whoever takes it before its time puts it back."""
    async with laptop(small_tenant(), COST_QUOTA_TENANT="1/24h", COST_WINDOW_DAYS="1") as bench:
        today = bench.clock().date()
        run = await backfill(bench.engine, today - timedelta(days=7), today)
        (body,) = await bench.take(PAGES)
        last = (await bench.slices(run))[-1]
        bench.edge.heal()

        item = PageItem.decode(_first_page(last))
        await fetch_page(bench.engine, msgspec.structs.replace(item, not_before=last.not_before).encode())

        assert PageItem.decode(body).slice != last.name
        assert last.not_before == run.created_at + timedelta(days=30)
        assert bench.edge.made("api") == []
        assert bench.edge.made("queue send") == ["queue send cost-pages"]
        bench.clock.ahead += timedelta(days=29)
        await sweep(bench.engine)
        assert (await bench.slices(run))[-1].cause is None


async def test_days_whose_hashes_are_long_gone_are_restated_from_the_ledger_alone() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        for ahead in (timedelta(days=8), RETENTION):
            bench.clock.ahead = ahead
            await purge(bench.engine)
        assert await bench.engine.storage.tables.query("CostHashes", "", select=["kind"]) == []
        restate(tenant, 4)

        run = await backfill(bench.engine, tenant.days[0], tenant.days[-1])
        await bench.take(PAGES)
        for body in await first_pages(bench, run):
            await fetch_page(bench.engine, body)
        await bench.drain()

        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)
