"""What is published is the provider's truth to the last digit, whatever went wrong on the way."""

import io
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.dataset as ds  # type: ignore[import-untyped]
import pytest

from infra.local.simulator import Faults, Metric, Tenant, add, restate, withdraw
from shared.runs import Run, RunStatus
from shared.worker import Worker
from tests.laptop import Laptop, laptop
from tests.truth import Totals, truth_of

ALL_AT_ONCE = Faults(
    throttle_rate=0.05,
    hint_seconds=0,
    overlap=7,
    move_rate=0.3,
    lose_rate=0.3,
    loop_rate=0.3,
    spoiled_readings=3,
    out_of_window=2,
    empty_tail=True,
    error_rate=0.05,
    empty_status=204,
)
BOTH_METRICS = {"COST_METRICS": "ActualCost,AmortizedCost"}


def moved_between(before: Totals, after: Totals) -> set[tuple[date, str]]:
    """Name the days and subscriptions of which anything changed."""
    return {(key[0], key[2]) for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


async def work(bench: Laptop) -> Run:
    """Run as the standalone worker does, with all its steps side by side."""
    bench.edge.heal()
    run = await bench.seed()
    return await Worker(bench.engine).work(run.id)


@pytest.mark.parametrize("seed", [1, 5, 7])
async def test_published_sums_are_the_truth_with_every_fault_at_once(seed: int) -> None:
    """Per metric, day, currency and subscription; again after nothing, and after everything, changed."""
    tenant = Tenant(seed, subscriptions=5, days=3, rows_per_day=320)
    async with laptop(tenant, **BOTH_METRICS) as bench:
        bench.running.simulator.faults = ALL_AT_ONCE
        first = await work(bench)
        before = {metric: truth_of(tenant, metric) for metric in Metric}

        assert first.summary is not None
        assert (first.status, first.summary["failures"]) == (RunStatus.COMPLETE, [])
        assert {metric: await bench.totals(metric) for metric in Metric} == before
        faults = set(bench.running.simulator.journal.by_fault)
        assert {"throttle", "lose", "move", "loop"} <= faults, "the faults of this seed prove nothing"

        published = await bench.etags()
        await work(bench)

        assert await bench.etags() == published
        assert bench.edge.made("queue send cost-days") == []
        assert bench.edge.made("blob put costs/") == []

        for change in (restate, withdraw, add):
            change(tenant, 6)
        third = await work(bench)
        after = {metric: truth_of(tenant, metric) for metric in Metric}

        assert third.status is RunStatus.COMPLETE
        assert {metric: await bench.totals(metric) for metric in Metric} == after
        rewritten = {name for name, etag in (await bench.etags()).items() if published.get(name) != etag}
        assert rewritten == expected_files(before, after)


def expected_files(before: Mapping[Metric, Totals], after: Mapping[Metric, Totals]) -> set[str]:
    """Name the files that must be written for a change of the truth: no partition of a day more."""
    names = set()
    for metric in Metric:
        for day, subscription in moved_between(before[metric], after[metric]):
            names |= {
                f"ledger/metric={metric}/usage_date={day}/subscription_id={subscription}/data.parquet",
                f"daily/metric={metric}/usage_date={day}/data.parquet",
                f"manifests/metric={metric}/{day}.json",
            }
    return names


@pytest.fixture
async def lake(tmp_path: Path) -> tuple[Path, Totals]:
    """A published tenant as files in a folder, with history in it, and what it must add up to."""
    tenant = Tenant(5, subscriptions=3, days=2, rows_per_day=90)
    async with laptop(tenant) as bench:
        await bench.run()
        restate(tenant, 10)
        await bench.run()
        for name in await bench.etags():
            blob = await bench.engine.storage.blobs.get("costs", name)
            assert blob is not None
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(blob.data)
    return tmp_path, truth_of(tenant)


def test_duckdb_reads_the_truth_from_the_hive_partitions(lake: tuple[Path, Totals]) -> None:
    folder, truth = lake

    with duckdb.connect() as database:
        rows = database.execute(
            f"""
            select usage_date, BillingCurrency, subscription_id::varchar, sum(BilledCost), count(*)
            from read_parquet('{folder}/ledger/**/*.parquet', hive_partitioning = true)
            where x_ValidTo is null and metric = 'ActualCost' group by all
            """  # noqa: S608 - a folder of this test
        ).fetchall()

    assert {(day, currency, sub): (cost, count) for day, currency, sub, cost, count in rows} == truth


def test_pyarrow_reads_the_truth_from_the_hive_partitions(lake: tuple[Path, Totals]) -> None:
    folder, truth = lake

    ledger = ds.dataset(folder / "ledger", partitioning="hive").to_table(
        filter=pc.field("x_ValidTo").is_null()
    )
    totals = ledger.group_by(["usage_date", "BillingCurrency", "subscription_id"]).aggregate(
        [("BilledCost", "sum"), ("x_RecordId", "count")]
    )

    assert {
        (date.fromisoformat(row["usage_date"]), row["BillingCurrency"], row["subscription_id"]): (
            row["BilledCost_sum"],
            row["x_RecordId_count"],
        )
        for row in totals.to_pylist()
    } == truth


def test_polars_reads_the_truth_and_the_daily_totals_agree_with_it(lake: tuple[Path, Totals]) -> None:
    folder, truth = lake

    ledger = pl.scan_parquet(folder / "ledger/**/*.parquet", hive_partitioning=True)
    current = ledger.filter(pl.col("x_ValidTo").is_null())
    rows = (
        current.group_by("usage_date", "BillingCurrency", "subscription_id")
        .agg(pl.col("BilledCost").sum(), pl.len())
        .collect()
    )
    assert {
        (day, currency, sub): (cost, count) for day, currency, sub, cost, count in rows.iter_rows()
    } == truth

    daily = pl.concat(
        pl.read_parquet(io.BytesIO(path.read_bytes())) for path in folder.glob("daily/**/*.parquet")
    )
    summed = daily.group_by("billing_date", "currency", "account_id").agg(
        pl.col("cost_amount").sum(), pl.col("record_count").sum()
    )
    assert {
        (day, currency, sub): (cost, count) for day, currency, sub, cost, count in summed.iter_rows()
    } == truth
