"""The models are of this code: its outside effects come in the order that the models take for granted.

What a model leaves out is left out here as well: the quota gate, tokens, and staged pages that are named already.
"""

import pytest

from infra.local.simulator import Metric, Tenant, restate, scope_truth
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, RUNS
from shared.orchestrate import orchestrate
from shared.read.fetch_page import fetch_page
from tests.faults import dies, name_of
from tests.laptop import Laptop, laptop
from tests.model.publishing import DAY_OF_TWO_PARTITIONS, HALF_WRITTEN_DAY
from tests.model.reading import CLOSING_WITH_CONTROL, PAGE_IN_THE_MIDDLE


def effects(bench: Laptop) -> tuple[str, ...]:
    """Name the outside effects since the edge was healed as the models do."""
    return tuple(
        _as_modelled(name)
        for name in map(name_of, bench.edge.calls)
        if "CostQuota" not in name and not name.startswith("token ")
    )


def _as_modelled(name: str) -> str:
    service, operation, target = name.split(" ", 2)
    match service:
        case "api":
            return "api post"
        case "blob":
            # The container says nothing, and of a name only what kind of file it is.
            return f"blob {operation} {target.split('/')[1]}"
        case _:
            return f"{service} {operation} {target}"


def rows_of(tenant: Tenant) -> int:
    told = scope_truth(tenant, tenant.subscription_scopes[0], Metric.ACTUAL)
    return sum(total.rows for total in told.values())


async def test_page_in_the_middle_is_worked_in_the_order_of_the_model() -> None:
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant) // 2 + 1)) as bench:
        await bench.seed()
        (page,) = await bench.take(PAGES)
        bench.edge.heal()

        await fetch_page(bench.engine, page)

        assert effects(bench) == PAGE_IN_THE_MIDDLE


async def test_closing_with_a_control_is_worked_in_the_order_of_the_model() -> None:
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=20)
    async with laptop(tenant, COST_PAGE_SIZE=str(rows_of(tenant) // 2 + 1)) as bench:
        await bench.seed()
        for _ in (1, 2):
            (page,) = await bench.take(PAGES)
            await fetch_page(bench.engine, page)
        (closing,) = await bench.take(PAGES)
        bench.edge.heal()

        await fetch_page(bench.engine, closing)

        assert effects(bench) == CLOSING_WITH_CONTROL


@pytest.mark.parametrize(
    ("half_written", "order"), [(False, DAY_OF_TWO_PARTITIONS), (True, HALF_WRITTEN_DAY)]
)
async def test_day_of_two_partitions_is_published_in_the_order_of_the_model(
    order: tuple[str, ...], *, half_written: bool
) -> None:
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    async with laptop(tenant) as bench:
        await bench.run()
        for subscription in tenant.subscriptions:
            restate(tenant, 5, subscription=subscription)
        await bench.seed()
        await bench.drain(PAGES)
        for run in await bench.take(RUNS):
            await orchestrate(bench.engine, run)
        (day,) = set(await bench.take(DAYS))
        if half_written:
            bench.edge.kill_on("blob put costs/ledger", after=True)
            assert await dies(publish_day(bench.engine, day))
            bench.restart()
        bench.edge.heal()

        await publish_day(bench.engine, day)

        staged = ("blob get pages", "table query CostHashes")
        assert tuple(name for name in effects(bench) if name not in staged) == order
