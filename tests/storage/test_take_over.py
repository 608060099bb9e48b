"""A scope that would have to take over days whose pages are gone: the day fails loudly, nothing is lost."""

from datetime import timedelta
from random import Random

from infra.local.simulator import Tenant
from shared.engine import open_engine
from shared.purge import purge
from shared.runs import RunStatus
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
