"""What changed between two times: exactly what the provider changed, on days that were believed."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import polars as pl
import pytest

from infra.local.simulator import add, restate, withdraw
from shared.engine import open_engine
from shared.normalise.exact import minus, plus, text, total
from shared.runs import RunStatus
from tests.laptop import Laptop, laptop
from tests.then import METRIC, NOTHING, Cell, amounts, asked, changed, costs, now, tenant_of, versions
from tests.truth import truth_of

Services = dict[tuple[date, str, str | None, str], Decimal]


async def test_late_withdrawn_and_restated_rows_are_adjustments_from_their_reading_on_and_listed_exactly(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant = tenant_of()
    async with laptop(tenant) as bench:
        await bench.run()
        earlier, before, had = now(bench), costs(truth_of(tenant)), await services(bench)
        for change in (restate, withdraw, add):
            change(tenant, 4)
        await bench.run()
        later, after, has = now(bench), costs(truth_of(tenant)), await services(bench)

        assert amounts(await asked(bench, earlier)) == before
        assert amounts(await asked(bench, later)) == after
        words = set()
        for day in tenant.days:
            rows = await versions(bench, day)
            words |= {*rows["x_Ended"].drop_nulls(), *rows["x_Change"]}
            assert rows.filter(pl.col("x_ValidTo").is_null())["x_IsAdjustment"].all()
        assert words == {"new", "restated", "retracted"}

        found = await changed(bench, capsys, earlier, later)
        assert len(found["changes"]) > 4
        assert found["changes"] == moved_services(had, has)
        assert net(found["days"]) == moved_days(before, after)
        assert (found["compared"], found["left_out"]) == (2, {"open": 0, "unread": 0, "unreadable": 0})
        assert (await changed(bench, capsys, later, now(bench)))["changes"] == []


async def services(bench: Laptop) -> Services:
    """Add up what is published now, by day, subscription, service and currency."""
    found: Services = {}
    for day in bench.tenant.days:
        current = (await bench.ledger(METRIC, day)).filter(pl.col("x_ValidTo").is_null())
        columns = ("subscription", "ServiceName", "BillingCurrency", "BilledCost")
        for subscription, service, currency, amount in current.select(columns).iter_rows():
            key = day, subscription, service, currency
            found[key] = plus(found.get(key, NOTHING), amount)
    return found


def moved_services(had: Services, has: Services) -> list[dict[str, Any]]:
    """Give what moved between two such sums over all days, in the words of the command."""
    cells = {key: (had.get(key, NOTHING), has.get(key, NOTHING)) for key in had.keys() | has.keys()}
    rows = []
    for subscription, service, currency in {key[1:] for key in cells}:
        moved = [
            pair
            for key, pair in cells.items()
            if key[1:] == (subscription, service, currency) and pair[0] != pair[1]
        ]
        if moved:
            of_whom = {"subscription_id": subscription, "service_name": service, "currency": currency}
            rows.append({"metric": METRIC, **of_whom, **told(moved), "days": len(moved)})
    return largest_first(rows)


def moved_days(before: Mapping[Cell, Decimal], after: Mapping[Cell, Decimal]) -> list[dict[str, Any]]:
    """Give the days that moved between two truths of the simulator, in the words of the command."""
    rows = []
    for day, currency in {key[:2] for key in before.keys() | after.keys()}:
        sums = [
            total(amount for key, amount in truth.items() if key[:2] == (day, currency))
            for truth in (before, after)
        ]
        if sums[0] != sums[1]:
            rows.append({"metric": METRIC, "day": str(day), "currency": currency, **net([told([sums])])[0]})
    return largest_first(rows)


def told(parts: Sequence[Sequence[Decimal]]) -> dict[str, str]:
    """Say by how much parts, each before and after, moved together."""
    before, after = (total(part[side] for part in parts) for side in (0, 1))
    gross = total(minus(after, before).copy_abs() for before, after in parts)
    return {
        "before": text(before),
        "after": text(after),
        "change": text(minus(after, before)),
        "gross": text(gross),
    }


def net(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Leave out how much moved within: the truth of whole days does not tell."""
    return [{name: value for name, value in row.items() if name != "gross"} for row in rows]


def largest_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: Decimal(row["change"]).copy_abs(), reverse=True)


async def test_a_changed_source_reshapes_the_rows_and_is_no_adjustment() -> None:
    tenant = tenant_of(days=1)
    async with laptop(tenant) as bench:
        await bench.run()
        earlier, truth = now(bench), costs(truth_of(tenant))

        environ = {**bench.environ, "COST_SOURCE": "usage_details"}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            assert (await bench.run()).status is RunStatus.COMPLETE

            rows = await versions(bench, tenant.days[0])
            assert {*rows.filter(pl.col("x_ValidTo").is_null())["x_Change"]} == {"reshaped"}
            assert {*rows["x_Ended"].drop_nulls()} == {"reshaped"}
            assert not rows.filter(pl.col("x_ChargeType") == "Usage")["x_IsAdjustment"].any()
            assert amounts(await asked(bench, earlier)) == truth


async def test_a_changed_grouping_reshapes_the_rows_and_changes_no_total_at_any_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant = tenant_of(days=1)
    grouping = "ResourceGroupName,ServiceName,ChargeType,ResourceLocation,Meter"
    async with laptop(tenant) as bench:
        await bench.run()
        earlier, truth = now(bench), costs(truth_of(tenant))

        # WHEN the same charges are read in another grouping
        async with open_engine(
            {**bench.environ, "COST_GROUPING": grouping}, edge=bench.edge, clock=bench.clock, jitter=Random(0)
        ) as engine:
            bench.engine = engine
            assert (await bench.run()).status is RunStatus.COMPLETE
            later = now(bench)

            # THEN all rows are others, but no amount moved and nothing is an adjustment by its time
            rows = await versions(bench, tenant.days[0])
            assert {*rows["x_Change"]} == {"new", "reshaped"}
            assert {*rows["x_Ended"].drop_nulls()} == {"reshaped"}
            charges = rows.filter(~pl.col("x_ChargeType").is_in(["Refund"]))
            assert not charges["x_IsAdjustment"].any()
            assert amounts(await asked(bench, earlier)) == truth
            assert amounts(await asked(bench, later)) == truth
            found = await changed(bench, capsys, earlier, later)
            assert (found["changes"], found["days"], found["compared"]) == ([], [], 1)


async def test_a_scope_that_is_read_alone_is_among_the_changes_though_the_days_other_readings_are_old(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The manifest's `data_as_of` is the earliest of the readings, so it may lie long before the last change."""
    tenant = tenant_of(days=1)
    one, _ = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        await bench.run()
        bench.clock.ahead += timedelta(days=9)
        earlier, before = now(bench), costs(truth_of(tenant))
        restate(tenant, 1, subscription=tenant.subscriptions[0])
        await bench.run(one)
        manifest = await bench.manifest(METRIC, tenant.days[0])
        assert datetime.fromisoformat(manifest["data_as_of"]) < earlier

        found = await changed(bench, capsys, earlier, now(bench))

        assert net(found["days"]) == moved_days(before, costs(truth_of(tenant)))
        assert [row["subscription_id"] for row in found["changes"]] == [tenant.subscriptions[0]]


async def test_changes_read_no_ledger_that_was_published_a_day_before_the_earlier_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tenant = tenant_of()
    async with laptop(tenant) as bench:
        await bench.run()
        bench.clock.ahead += timedelta(days=1)
        earlier = now(bench)
        restate(tenant, 3, [tenant.days[1]])
        await bench.run()
        bench.edge.heal()

        found = await changed(bench, capsys, earlier, now(bench))

        assert found["compared"] == 2
        assert {name.split("usage_date=")[1][:10] for name in bench.edge.made("blob get costs/ledger")} == {
            str(tenant.days[1])
        }
