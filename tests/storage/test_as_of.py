"""What was believed at another time, and what is said of days that nothing is known of."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from random import Random

import polars as pl
import pytest

from infra.local.simulator import Charge, Tenant, restate
from shared.cli.arguments import Asked, UsageError
from shared.cli.as_of import as_of
from shared.cli.changes import changes
from shared.edge import Call
from shared.engine import open_engine
from shared.history.as_of import DayAsOf
from shared.ledger.files import daily_path, ledger_path, manifest_path
from shared.messages import PAGES
from shared.normalise.exact import plus, text, total
from shared.read.fetch_page import fetch_page
from shared.runs import RunStatus
from tests.laptop import laptop
from tests.then import METRIC, MOMENT, NOTHING, amounts, asked, changed, costs, now, tenant_of, versions
from tests.truth import truth_of


async def test_an_amount_that_is_corrected_and_put_back_has_three_versions_and_each_time_its_answer() -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    subscription = tenant.subscriptions[0]
    async with laptop(tenant) as bench:
        await bench.run()
        first = tenant.charges(day, subscription)
        believed_at = {now(bench): costs(truth_of(tenant))}

        # WHEN one charge is corrected, then put back, and read once more without any change
        number, charge = usage_of(first)
        tenant.put(day, subscription, [*first[:number], costlier(charge), *first[number + 1 :]])
        corrected = costs(truth_of(tenant))
        await bench.run()
        believed_at[now(bench)] = corrected
        tenant.put(day, subscription, first)
        await bench.run()
        believed_at[now(bench)] = costs(truth_of(tenant))
        before = await bench.etags()
        await bench.run()
        believed_at[now(bench)] = costs(truth_of(tenant))

        # THEN the ledger has A, B and A, one after the other, and nothing of the reading that changed nothing
        rows = await versions(bench, day)
        (a, b, again) = rows["BilledCost"]
        assert a == again != b
        assert rows["x_RecordId"].n_unique() == 1
        assert rows["x_Change"].to_list() == ["new", "restated", "restated"]
        assert rows["x_Ended"].to_list() == ["restated", "restated", None]
        assert rows["x_ValidTo"].to_list() == [*rows["x_ValidFrom"].to_list()[1:], None]
        assert rows["x_IsAdjustment"].to_list() == [False, True, True]
        assert await bench.etags() == before

        # AND each time has its own answer, to the instant at which it changed
        for at, truth in believed_at.items():
            assert amounts(await asked(bench, at)) == truth
        _, since, until = rows["x_ValidFrom"]
        assert amounts(await asked(bench, since)) == corrected
        assert amounts(await asked(bench, until - timedelta(microseconds=1))) == corrected
        assert amounts(await asked(bench, until)) != corrected


def usage_of(charges: Sequence[Charge]) -> tuple[int, Charge]:
    """Give the first charge for plain usage, with its place."""
    return next(
        (number, charge)
        for number, charge in enumerate(charges)
        if charge.line.dimensions["ChargeType"] == "Usage" and charge.actual
    )


def costlier(charge: Charge) -> Charge:
    cost = plus(charge.actual or NOTHING, Decimal(1))
    return charge._replace(actual=cost, amortized=cost)


async def test_a_day_that_was_not_settled_is_open_and_one_that_nobody_had_read_is_unread(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Neither has a total, and for an open one nothing is read at all."""
    tenant = tenant_of()
    first, second = tenant.days
    settled = datetime.combine(first, time(), UTC) + timedelta(days=3)
    async with laptop(tenant) as bench:
        for at in (settled - timedelta(microseconds=1), settled):
            states = [(day.state, day.totals) for day in await asked(bench, at)]
            assert states == [("open" if at < settled else "unread", None), ("open", None)]
        before = now(bench)
        await bench.run()
        later = now(bench)
        bench.edge.heal()

        assert [day.state for day in await asked(bench, settled - MOMENT)] == ["open", "open"]
        assert bench.edge.made() == []
        assert [day.state for day in await asked(bench, before)] == ["unread", "unread"]
        assert [day.state for day in await asked(bench, later, [first, second, second + timedelta(1)])] == [
            "settled",
            "settled",
            "unread",
        ]
        found = await changed(bench, capsys, settled, later)
        assert (found["compared"], found["left_out"]) == (0, {"open": 1, "unread": 1, "unreadable": 0})
        assert found["changes"] == found["days"] == []


async def test_rows_that_were_replaced_while_the_day_was_open_are_nobodys_belief() -> None:
    tenant = tenant_of(days=1)
    day = tenant.days[0]
    async with laptop(tenant) as bench:
        bench.clock.ahead += datetime.combine(day, time(23), UTC) - bench.clock()
        await bench.run()
        restate(tenant, 3)
        bench.clock.ahead += timedelta(hours=20)
        await bench.run()
        settled, truth = datetime.combine(day, time(), UTC) + timedelta(days=3), costs(truth_of(tenant))
        assert (await bench.ledger(METRIC, day))["x_ValidTo"].null_count() == len(
            await bench.ledger(METRIC, day)
        )
        restate(tenant, 3)
        bench.clock.ahead += timedelta(days=10)
        await bench.run()

        assert [one.state for one in await asked(bench, settled - MOMENT)] == ["open"]
        assert amounts(await asked(bench, settled)) == truth
        assert amounts(await asked(bench, bench.clock())) == costs(truth_of(tenant)) != truth


async def test_a_day_that_cost_nothing_any_more_is_settled_with_no_amounts() -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=16)
    async with laptop(tenant) as bench:
        await bench.run()
        tenant.vanish(tenant.subscription_scopes[0], tenant.days[0])
        await bench.run(accept_vanished=True)

        (day,) = await asked(bench, now(bench))

        assert (day.state, day.totals, day.subscriptions) == ("settled", {}, {})


async def test_a_day_that_was_read_and_empty_stays_so_for_its_time_when_rows_come_late(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No row bears witness of the empty reading: the manifest does, and goes on doing so."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    (day,), (owner,) = tenant.days, tenant.subscriptions
    late = tenant.charges(day, owner)
    tenant.put(day, owner, [])
    async with laptop(tenant) as bench:
        unread = now(bench)
        await bench.run()
        empty = now(bench)
        believed_at: dict[datetime, tuple[str, object]] = {unread: ("unread", None), empty: ("settled", {})}
        assert {at: told(await asked(bench, at)) for at in believed_at} == believed_at

        # WHEN rows come late, and change once more
        for charges in (late, late[1:]):
            tenant.put(day, owner, charges)
            await bench.run()
            at = now(bench)
            believed_at[at] = told(await asked(bench, at))
            assert amounts(await asked(bench, at)) == costs(truth_of(tenant))

        # THEN each time has the answer that it had, and the late rows are a change
        assert {at: told(await asked(bench, at)) for at in believed_at} == believed_at
        found = await changed(bench, capsys, empty, at)
        assert {one["currency"]: one["after"] for one in found["days"]} == {
            currency: text(
                total(amount for key, amount in costs(truth_of(tenant)).items() if key[1] == currency)
            )
            for currency in {key[1] for key in costs(truth_of(tenant))}
        }
        assert {one["before"] for one in found["days"]} == {text(NOTHING)}
        assert (found["compared"], found["left_out"]["unread"]) == (1, 0)


def told(days: Sequence[DayAsOf]) -> tuple[str, object]:
    (day,) = days
    return day.state, day.totals


async def test_a_day_is_known_since_all_of_its_first_publications_readings_and_never_told_as_zero_before() -> (
    None
):
    """Its scopes are read one after the other, in a backfill days apart; what came of both stands since the later."""
    tenant = tenant_of(days=1)
    one, other = tenant.subscription_scopes
    async with laptop(tenant, COST_SCOPES=f"{one},{other}") as bench:
        run = await bench.seed()
        first, second = await bench.take(PAGES)
        await fetch_page(bench.engine, first)
        between = now(bench)
        bench.clock.ahead += timedelta(days=2)
        await fetch_page(bench.engine, second)
        await bench.drain()
        assert (await bench.closed(run)).status is RunStatus.COMPLETE

        assert told(await asked(bench, between)) == ("unread", None)
        assert amounts(await asked(bench, now(bench))) == costs(truth_of(tenant))


async def test_scope_that_is_added_later_adjusts_the_settled_days_that_stand_already() -> None:
    """It is the day that was published before, without this cost."""
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    one, other = tenant.subscription_scopes
    async with laptop(tenant, COST_SCOPES=one) as bench:
        bench.clock.ahead += timedelta(days=20)
        await bench.run()
        environ = {**bench.environ, "COST_SCOPES": f"{one},{other}"}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            await bench.run()

            rows = await bench.ledger(METRIC, day)
            of_other = pl.col("subscription") == other.rpartition("/")[2]
            assert rows.filter(of_other)["x_IsAdjustment"].all()
            assert not rows.filter(~of_other & (pl.col("x_ChargeType") == "Usage"))["x_IsAdjustment"].any()


@pytest.mark.parametrize("of", ["ledger", "manifest", "stray", "no manifest"])
async def test_a_day_whose_files_are_not_what_its_manifest_says_is_named_and_has_no_total(
    of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = tenant_of()
    bad, good = tenant.days
    ledger = ledger_path(METRIC, bad, tenant.subscriptions[0])
    path = {"ledger": ledger, "stray": ledger_path(METRIC, bad, "stray")}.get(of, manifest_path(METRIC, bad))
    blobs_of_day = {ledger_path(METRIC, bad, name) for name in tenant.subscriptions} | {
        daily_path(METRIC, bad)
    }
    async with laptop(tenant) as bench:
        await bench.run()
        at = now(bench)
        blobs = bench.engine.storage.blobs
        if of == "no manifest":
            await blobs.delete("costs", path)
        else:
            await blobs.put("costs", path, b"edited")
        named = blobs_of_day if of == "no manifest" else {path}

        code = await as_of(bench.engine, Asked(command="as-of", json=True, at=at, days=(bad, good)), ())

        found = json.loads(capsys.readouterr().out)
        assert code == 2
        assert [(day["state"], day["totals"] is None) for day in found["days"]] == [
            ("unreadable", True),
            ("settled", False),
        ]
        assert found["days"][0]["subscriptions"] == []
        assert {one["path"] for one in found["differences"]} == named

        found = await changed(bench, capsys, at, now(bench), code=2)
        assert found["left_out"] == {"open": 0, "unread": 0, "unreadable": 1}
        assert {one["path"] for one in found["differences"]} == named

        assert await as_of(bench.engine, Asked(command="as-of", at=at, days=(bad, good)), ()) == 2
        printed = capsys.readouterr().out
        assert all(f"differs: {name}: " in printed for name in named)
        assert await changes(bench.engine, Asked(command="changes", times=(at, now(bench))), ()) == 2
        printed = capsys.readouterr().out
        assert all(f"differs: {name}: " in printed for name in named)


async def test_a_day_that_is_published_while_it_is_read_is_looked_at_again() -> None:
    tenant = tenant_of(days=1)
    async with laptop(tenant) as bench:
        await bench.run()
        at, truth = now(bench), costs(truth_of(tenant))
        restate(tenant, 6)

        # GIVEN a publication between the reading of the manifest and that of the ledger
        async def published(_: Call) -> None:
            await bench.run()

        bench.edge.meanwhile("blob get costs/ledger/", published)

        assert amounts(await asked(bench, at)) == truth
        assert amounts(await asked(bench, bench.clock())) == costs(truth_of(tenant)) != truth


async def test_a_day_costs_its_manifest_and_its_partitions_and_a_month_three_listings() -> None:
    tenant = tenant_of()
    async with laptop(tenant) as bench:
        await bench.run()
        bench.edge.heal()

        await asked(bench, bench.clock())

        assert len(bench.edge.made("blob list")) == 3
        assert len(bench.edge.made("blob get costs/manifests")) == 2
        assert len(bench.edge.made("blob get costs/ledger")) == 4
        assert len(bench.edge.made()) == 9


async def test_a_time_that_has_not_come_is_refused_with_the_last_that_can_be_asked_for() -> None:
    async with laptop(tenant_of(days=1)) as bench:
        ahead = bench.clock() + timedelta(minutes=1)
        for command, said in (
            (as_of, Asked(command="as-of", at=ahead)),
            (changes, Asked(command="changes", times=(bench.clock(), ahead))),
        ):
            with pytest.raises(UsageError, match=r"is in the future: the last time .* is now, 20"):
                await command(bench.engine, said, ())


async def test_the_days_of_as_of_are_the_look_back_of_that_time(capsys: pytest.CaptureFixture[str]) -> None:
    async with laptop(tenant_of(days=1), COST_LOOKBACK_DAYS="3") as bench:
        said = Asked(command="as-of", json=True, at=datetime(2026, 5, 20, 4, tzinfo=UTC))

        assert await as_of(bench.engine, said, ()) == 0

        found = json.loads(capsys.readouterr().out)
        assert (found["as_of"], found["from"], found["to"]) == (
            "2026-05-20T04:00:00Z",
            "2026-05-18",
            "2026-05-20",
        )
        assert {day["state"] for day in found["days"]} == {"open"}


async def test_metric_that_left_the_settings_is_told_of_still(capsys: pytest.CaptureFixture[str]) -> None:
    tenant = tenant_of(days=1)
    (day,) = tenant.days
    async with laptop(tenant, COST_METRICS="ActualCost,AmortizedCost") as bench:
        await bench.run()
        at = now(bench)
        environ = {**bench.environ, "COST_METRICS": "ActualCost"}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock) as engine:
            said = Asked(command="as-of", json=True, at=at, days=(day, day))
            assert await as_of(engine, said, ()) == 0
            found = json.loads(capsys.readouterr().out)
            assert [one["metric"] for one in found["days"]] == ["ActualCost", "AmortizedCost"]
            asked_for = Asked(command="changes", json=True, times=(at, now(bench)))
            assert await changes(engine, asked_for, ()) == 0
            assert json.loads(capsys.readouterr().out)["compared"] == 2
