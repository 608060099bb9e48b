"""usageDetails to the last digit: the synthetic tenant under every fault, and rows of a real EA agreement."""

from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import polars as pl
import pytest

from infra.local.simulator import Charge, Faults, Metric, Tenant, add, ea_export, restate, withdraw
from infra.local.simulator.charges import exact_sum
from shared.runs import RunStatus
from shared.worker import Worker
from tests.laptop import laptop
from tests.truth import Totals, details_truth_of

BOTH = {"COST_SOURCE": "usage_details", "COST_METRICS": "ActualCost,AmortizedCost"}
SAMPLES = Path(__file__).parents[3] / "shared" / "data"
STEP = Decimal("1e-18")

ALL_AT_ONCE = Faults(
    throttle_rate=0.05,
    hint_seconds=0,
    move_rate=0.3,
    lose_rate=0.3,
    loop_rate=0.3,
    spoiled_readings=3,
    out_of_window=2,
    empty_tail=True,
    error_rate=0.05,
)


async def test_published_sums_are_all_records_with_every_fault_at_once() -> None:
    """Per metric, day, currency and subscription, twins included; again after everything changed."""
    tenant = Tenant(5, subscriptions=4, days=3, rows_per_day=240)
    async with laptop(tenant, **BOTH) as bench:
        bench.running.simulator.faults = ALL_AT_ONCE
        run = await bench.seed()
        first = await Worker(bench.engine).work(run.id)

        assert (first.status, first.summary and first.summary["failures"]) == (RunStatus.COMPLETE, [])
        truth = {metric: details_truth_of(tenant, metric) for metric in Metric}
        assert {metric: await bench.totals(metric) for metric in Metric} == truth
        faults = set(bench.running.simulator.journal.by_fault)
        assert {"throttle", "lose", "move", "loop"} <= faults, "the faults of this seed prove nothing"

        for change in (restate, withdraw, add):
            change(tenant, 6)
        run = await bench.seed()
        second = await Worker(bench.engine).work(run.id)

        assert second.status is RunStatus.COMPLETE
        after = {metric: details_truth_of(tenant, metric) for metric in Metric}
        assert after != truth
        assert {metric: await bench.totals(metric) for metric in Metric} == after


def rows_of_an_ea_agreement() -> list[tuple[date, Charge]]:
    """Each row of the exports, and one of them twice more: what the data lack is several equal rows a day."""
    if not SAMPLES.is_dir():
        pytest.skip(f"the real billing rows are not here: {SAMPLES}")
    rows = ea_export(SAMPLES)
    dearest = max(rows, key=lambda row: row[1].amortized or 0)
    return [*rows, dearest, dearest]


def exact(rows: list[tuple[date, Charge]], metric: Metric) -> Totals:
    """Add up the rows as they stand in the files, each amount rounded to 18 decimals once."""
    amounts: dict[tuple[date, str, str], list[Decimal]] = {}
    for day, charge in rows:
        cost = charge.cost(metric)
        if cost is not None:
            key = (day, charge.line.currency, charge.line.subscription)
            amounts.setdefault(key, []).append(cost.quantize(STEP, rounding=ROUND_HALF_EVEN))
    return {key: (exact_sum(found), len(found)) for key, found in amounts.items()}


@pytest.mark.parametrize("page_size", ["1000", "3"], ids=["one page", "pages of three"])
@pytest.mark.parametrize("scope", ["subscriptions", "account"])
async def test_rows_of_a_real_agreement_come_out_with_their_own_sums(scope: str, page_size: str) -> None:
    """Per day, currency and subscription, in both metrics; three equal rows a day stay three."""
    rows = rows_of_an_ea_agreement()
    tenant = Tenant.of(rows)
    scopes = tenant.subscription_scopes if scope == "subscriptions" else (tenant.billing_account,)
    settings = {**BOTH, "COST_PAGE_SIZE": page_size, "COST_SCOPES": ",".join(scopes)}
    async with laptop(tenant, **settings) as bench:
        run = await bench.run()

        assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
        for metric in Metric:
            assert await bench.totals(metric) == exact(rows, metric)
        day, charge = rows[-1]
        ledger = await bench.ledger("AmortizedCost", day)
        tripled = ledger.filter(pl.col("EffectiveCost") == charge.amortized)
        assert tripled.height == 3
        assert tripled["x_RecordId"].n_unique() == 1
        assert tripled["ConsumedUnit"].unique().to_list() == [charge.line.dimensions["UnitOfMeasure"]]
