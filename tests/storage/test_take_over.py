"""Scopes whose pages are gone: what counted of them stands in the ledger, and nothing else is made up."""

from datetime import timedelta
from random import Random

from infra.local.simulator import Tenant, restate
from shared.engine import open_engine
from shared.ledger.publish_day import publish_day
from shared.messages import DAYS, PAGES, RUNS
from shared.purge import purge
from shared.runs import RunStatus
from tests.faults import dies
from tests.laptop import laptop


async def test_no_cost_is_lost_where_the_scope_that_takes_over_has_lost_its_pages() -> None:
    # GIVEN a subscription that shadows its usage in a billing account whose staged pages are purged
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    narrow, other = tenant.subscription_scopes
    wide = tenant.billing_account
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        assert (await bench.run()).status is RunStatus.COMPLETE
        before = await bench.totals()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)

        # WHEN it leaves the settings, and a run reads something else
        environ = {**bench.environ, "COST_SCOPES": f"{other},{wide}"}
        async with open_engine(environ, clock=bench.clock, jitter=Random(0)) as engine:
            bench.engine = engine
            run = await bench.run(other)

            # THEN the day fails by name, and what was published stands
            assert run.status is RunStatus.PARTIAL
            causes = [str(failure["cause"]) for failure in (run.summary or {})["failures"]]
            assert any(
                cause.startswith("StagedPageMissingError") and wide.lower() in cause for cause in causes
            )
            assert await bench.totals() == before

            # AND a run that reads the wide scope again publishes the day
            healed = await bench.run()
            assert healed.status is RunStatus.COMPLETE
            assert await bench.totals() == before


async def test_publisher_killed_half_way_finds_the_rows_of_a_scope_whose_pages_are_gone_in_the_ledger() -> (
    None
):
    """Only the subscription is read again; of the billing account no more is left than what counted of it."""
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=30)
    narrow, wide = tenant.subscription_scopes[0], tenant.billing_account
    place, killed = 0, True
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide}") as bench:
        await bench.run()
        bench.clock.ahead = timedelta(days=8)
        await purge(bench.engine)
        while killed:
            before = await bench.totals()
            restate(tenant, 2, subscription=tenant.subscriptions[0])
            run = await bench.seed(narrow)
            await bench.drain(PAGES, RUNS)
            (day,) = set(await bench.take(DAYS))
            bench.edge.kill_at(place, after=True)
            killed = await dies(publish_day(bench.engine, day))
            bench.restart()

            await publish_day(bench.engine, day)

            await bench.drain(RUNS)
            summary = (await bench.closed(run)).summary
            assert summary is not None
            assert [said["state"] for said in summary["days"]] == ["published"], place
            # The billing account was not asked again, so it still says what was so before.
            assert {failure["state"] for failure in summary["failures"]} == {"disagrees"}, place
            after = await bench.totals()
            changed = {key[2] for key in after if after[key] != before[key]}
            assert changed == {tenant.subscriptions[0]}, place
            place += 1
    assert place > 12
