"""Tags from the service to the ledger, in both sources: they tell rows apart and are published as JSON."""

import json
from collections.abc import Mapping
from decimal import Decimal
from random import Random

import polars as pl
import pytest

from infra.local.simulator import Charge, Line, Metric, Tenant, scope_truth
from infra.local.simulator.charges import exact_sum
from shared.engine import open_engine
from shared.runs import RunStatus
from tests.laptop import Laptop, laptop

GROUPING = "ResourceId,ResourceGuid,ServiceName,ChargeType,tag:env"
WIDE_GROUPING = "SubscriptionId,ServiceName,ChargeType,tag:env"
AWKWARD = 'pr"od\\é☃, {}'
BY_TAGS = {"query": {"COST_GROUPING": GROUPING}, "usage_details": {"COST_SOURCE": "usage_details"}}


def a_tenant() -> Tenant:
    """A tenant without twins, in which a resource costs something under two values of one tag, one of them odd."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=40)
    tenant.twins_seed = 0
    day, owner = tenant.days[0], tenant.subscriptions[0]
    charges = tenant.charges(day, owner)
    like = next(charge for charge in charges if charge.line.tags and charge.actual)
    tenant.put(day, owner, [*charges, tagged(like, {"env": AWKWARD, "org": "trey"})])
    return tenant


def tagged(charge: Charge, tags: Mapping[str, str]) -> Charge:
    line = charge.line
    return charge._replace(line=Line(line.subscription, line.currency, line.profile, line.dimensions, tags))


async def current(bench: Laptop) -> pl.DataFrame:
    return (await bench.ledger("ActualCost", bench.tenant.days[0])).filter(pl.col("x_ValidTo").is_null())


def by_tags(rows: pl.DataFrame) -> dict[tuple[str, str | None], Decimal]:
    """Add up rows by currency and tags, the tags in one spelling."""
    found: dict[tuple[str, str | None], list[Decimal]] = {}
    for currency, tags, cost in rows.select("BillingCurrency", "Tags", "BilledCost").iter_rows():
        said = tags and json.dumps(json.loads(tags), sort_keys=True)
        found.setdefault((currency, said), []).append(cost)
    return {key: exact_sum(costs) for key, costs in found.items()}


def costs_by_tags(tenant: Tenant, source: str) -> dict[tuple[str, str | None], Decimal]:
    """Add up the charges: a query tells the one tag that it was asked for, a record has all of them."""
    found: dict[tuple[str, str | None], list[Decimal]] = {}
    for subscription in tenant.subscriptions:
        for line, actual, _, _ in tenant.charges(tenant.days[0], subscription):
            # Query's answer does not tell an empty value from a tag that is not there.
            tags = {
                name: text
                for name, text in line.tags.items()
                if source != "query" or (name == "env" and text)
            }
            said = json.dumps(tags, sort_keys=True) if tags else None
            if actual is not None:
                found.setdefault((line.currency, said), []).append(actual)
    return {key: exact_sum(costs) for key, costs in found.items()}


@pytest.mark.parametrize("source", BY_TAGS)
async def test_each_cost_carries_its_tags_as_json(source: str) -> None:
    """Rows that differ by a tag alone are two; one without tags has null, not an empty object."""
    tenant = a_tenant()
    async with laptop(tenant, **BY_TAGS[source]) as bench:
        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        rows = await current(bench)
        wanted = costs_by_tags(tenant, source)
        assert {tags for _, tags in wanted} > {None}
        assert wanted == pytest.approx(by_tags(rows), rel=Decimal(0), abs=Decimal("1e-9"))
        odd = rows.filter(pl.col("Tags").str.json_path_match("$.env") == AWKWARD)
        beside = rows.filter(pl.col("ResourceId") == odd["ResourceId"].item())
        assert beside["x_RecordId"].n_unique() == len(beside) > 1


@pytest.mark.parametrize("source", BY_TAGS)
async def test_cost_whose_tag_changes_is_another_cost(source: str) -> None:
    """A settled day: the old tag's record is retracted, the new one's is new, and the sums stay."""
    tenant = a_tenant()
    day, owner = tenant.days[0], tenant.subscriptions[0]
    async with laptop(tenant, **BY_TAGS[source]) as bench:
        await bench.run()
        before = await bench.totals()
        charges = tenant.charges(day, owner)
        tenant.put(day, owner, [*charges[:-1], tagged(charges[-1], {"env": "else", "org": "trey"})])

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        assert await bench.totals() == before
        ledger = await bench.ledger("ActualCost", day)
        (gone,) = ledger.filter(pl.col("x_ValidTo").is_not_null()).select("x_Ended", "Tags").iter_rows()
        (came,) = ledger.filter(pl.col("x_IsAdjustment") & pl.col("Tags").str.contains('"else"')).iter_rows(
            named=True
        )
        assert (gone[0], json.loads(gone[1])["env"]) == ("retracted", AWKWARD)
        assert came["x_Change"] == "new"


async def test_wide_scope_may_be_grouped_by_a_tag_and_a_new_tag_grouping_reshapes() -> None:
    """No amount moves for it, and nothing becomes an adjustment."""
    tenant = a_tenant()
    async with laptop(tenant, COST_SCOPES=tenant.management_group) as bench:
        await bench.run()
        before = {key: cost for key, (cost, _) in (await bench.totals()).items()}
        environ = {**bench.environ, "COST_GROUPING": WIDE_GROUPING}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
            run = await bench.run()

            assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
            truth = scope_truth(tenant, tenant.management_group, Metric.ACTUAL, WIDE_GROUPING.split(","))
            after = await bench.totals()
            assert after == {
                (key.day, key.currency, key.subscription): (total.amount, total.rows)
                for key, total in truth.items()
            }
            assert {key: cost for key, (cost, _) in after.items()} == pytest.approx(
                before, rel=Decimal(0), abs=Decimal("1e-9")
            )
            rows = await current(bench)
            assert set(rows["x_Change"]) == {"reshaped"}
            assert not rows.filter(pl.col("x_ChargeType") == "Usage")["x_IsAdjustment"].any()
            assert json.dumps({"env": AWKWARD}, ensure_ascii=False, separators=(",", ":")) in set(
                rows["Tags"]
            )
