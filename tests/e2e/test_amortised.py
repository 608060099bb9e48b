"""AmortizedCost beside ActualCost: partitions of its own, and what FOCUS says of commitments."""

from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Charge, Metric, Tenant
from shared.runs import RunStatus
from tests.laptop import Laptop, laptop
from tests.truth import details_truth_of, truth_of

BOTH = {"COST_METRICS": "ActualCost,AmortizedCost"}
SOURCES = {"query": {}, "usage_details": {"COST_SOURCE": "usage_details"}}
COLUMN = {"ActualCost": "BilledCost", "AmortizedCost": "EffectiveCost"}


def a_tenant() -> Tenant:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=60)
    tenant.twins_seed = 0
    return tenant


async def current(bench: Laptop, metric: str) -> pl.DataFrame:
    return (await bench.ledger(metric, bench.tenant.days[0])).filter(pl.col("x_ValidTo").is_null())


async def records(bench: Laptop, metric: str, charge_type: str, model: str) -> pl.DataFrame:
    """Give what is published of charges of a type that FOCUS puts into a pricing category."""
    said = (pl.col("x_ChargeType") == charge_type) & (pl.col("PricingCategory") == model)
    return (await current(bench, metric)).filter(said)


@pytest.mark.parametrize("source", SOURCES)
async def test_each_metric_has_partitions_of_its_own_and_its_own_column_of_cost(source: str) -> None:
    tenant = a_tenant()
    truth = truth_of if source == "query" else details_truth_of
    async with laptop(tenant, **BOTH, **SOURCES[source]) as bench:
        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        assert truth(tenant, Metric.ACTUAL) != truth(tenant, Metric.AMORTIZED)
        for metric in Metric:
            assert await bench.totals(metric) == truth(tenant, metric)
            rows = await current(bench, metric)
            (other,) = {*COLUMN.values()} - {COLUMN[metric]}
            assert rows[COLUMN[metric]].null_count() == 0
            assert rows[other].null_count() == len(rows)
            assert (await bench.manifest(metric, tenant.days[0]))["metric"] == metric


@pytest.mark.parametrize("source", SOURCES)
async def test_commitments_are_told_as_focus_wants_them(source: str) -> None:
    """Usage that a commitment covers is billed nothing and costs its share; what was not used is usage too.

    Buying one has no effective cost: its share stands in each day's usage.
    """
    tenant = a_tenant()
    async with laptop(tenant, COST_SCOPES=tenant.billing_account, **BOTH, **SOURCES[source]) as bench:
        await bench.run()

        billed = await records(bench, "ActualCost", "Usage", "Committed")
        effective = await records(bench, "AmortizedCost", "Usage", "Committed")
        assert len(billed) == len(effective) > 0
        assert set(billed["BilledCost"]) == {Decimal(0)}
        assert min(effective["EffectiveCost"]) > 0
        assert {*billed["ChargeCategory"], *effective["ChargeCategory"]} == {"Usage"}
        # The same record in both metrics, so that they can be joined.
        assert set(billed["x_RecordId"]) == set(effective["x_RecordId"])

        unused = (await current(bench, "AmortizedCost")).filter(pl.col("x_ChargeType") == "UnusedReservation")
        assert set(unused["ChargeCategory"]) == {"Usage"}
        assert "UnusedReservation" not in set((await current(bench, "ActualCost"))["x_ChargeType"])

        told = (await current(bench, "ActualCost")).filter(pl.col("ChargeCategory") == "Purchase")
        assert set(told["ChargeClass"]) == {None, "Correction"}
        assert set(told.filter(pl.col("ChargeClass") == "Correction")["x_ChargeType"]) == {"Refund"}
        bought = sum(effective_cost_of_purchases(tenant, tenant.days[0]))
        amortised = (await current(bench, "AmortizedCost")).filter(pl.col("x_ChargeType") == "Purchase")
        assert sum(amortised["EffectiveCost"]) == bought


def effective_cost_of_purchases(tenant: Tenant, day: date) -> list[Decimal]:
    """Give what purchases that are no commitments (marketplace) are worth."""
    charges: list[Charge] = list(tenant.charges(day, "none"))
    said = [charge for charge in charges if charge.line.dimensions["ChargeType"] == "Purchase"]
    assert any(charge.amortized is None for charge in said), "no commitment was bought"
    return [charge.amortized for charge in said if charge.amortized is not None]


async def test_metric_that_moves_rewrites_nothing_of_the_other() -> None:
    """The share of a commitment is told anew while what is billed stays."""
    tenant = a_tenant()
    day, owner = tenant.days[0], tenant.subscriptions[0]
    async with laptop(tenant, **BOTH) as bench:
        await bench.run()
        before = await bench.etags()
        charges = tenant.charges(day, owner)
        tenant.put(
            day,
            owner,
            [
                one._replace(amortized=one.amortized * 2) if one.actual == 0 and one.amortized else one
                for one in charges
            ],
        )

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        written = {name for name, etag in (await bench.etags()).items() if before.get(name) != etag}
        assert written
        assert all("metric=AmortizedCost" in name for name in written)
        assert await bench.totals(Metric.AMORTIZED) == truth_of(tenant, Metric.AMORTIZED)
