"""Asking for bills under the quota: what is waited for, what is not, and whose turn it is."""

import asyncio
from datetime import timedelta

from shared.edge import Call
from shared.reconcile.alerts import Patience
from shared.reconcile.reconcile import reconcile
from tests.billed import MAY, a_tenant, bench_of, found
from tests.fates import Fate


async def test_a_throttle_is_waited_for_and_a_stumble_tried_again() -> None:
    tenant = a_tenant(days=1)
    async with bench_of(tenant, read=False) as bench:
        bench.fault(throttle_rate=1, throttles_in_a_row=2, hint_seconds=0.05)
        bench.edge.befall("api get", Fate.FAILS)
        (finding,) = await found(bench)
        assert finding.state == "missing"
        assert len(bench.edge.made("api get")) == 4


async def test_an_answer_that_does_not_come_in_time_is_waited_for_no_longer() -> None:
    """The host ends the timer's function for a service that is slow, and nobody would have been told of anything."""
    tenant = a_tenant(days=1)
    async with bench_of(tenant, lambda tenant: tenant.subscription_scopes, read=False) as bench:

        async def hang(call: Call) -> None:
            await asyncio.Event().wait()

        bench.edge.meanwhile("api get", hang)
        until = bench.clock() + timedelta(seconds=2)
        findings = await reconcile(bench.engine, [MAY], Patience(until))
        assert bench.clock() < until + timedelta(seconds=15)
        assert {finding.state for finding in findings} == {"unknown"}
        assert sorted((finding.cause or "").partition(":")[0] for finding in findings) == [
            "NoAnswer",
            "QuotaExhausted",
        ]


async def test_what_has_no_place_at_the_gate_in_time_is_unknown_and_not_asked() -> None:
    tenant = a_tenant(days=1)
    async with bench_of(
        tenant, lambda tenant: tenant.subscription_scopes, read=False, COST_QUOTA_TENANT="1/1h"
    ) as bench:
        findings = await found(bench)
        unasked, asked = sorted(findings, key=lambda finding: finding.state, reverse=True)
        assert (asked.state, unasked.state) == ("missing", "unknown")
        assert (unasked.cause or "").startswith("QuotaExhausted")
        assert len(bench.edge.made("api")) == 1
        # What was not asked keeps no place from whoever reads costs.
        turn = await bench.engine.gate.take("elsewhere", bench.clock())
        assert turn.place < bench.clock() + timedelta(hours=1.5)


async def test_a_tight_quota_keeps_no_scope_from_its_turn_for_ever() -> None:
    """GIVEN a quota of two requests WHEN three months go by THEN the profile, listed last, is compared each time,
    and each subscription once at least; what is found comes in the order of the settings.
    """
    tenant = a_tenant(days=1)
    scopes = (*tenant.subscription_scopes, tenant.billing_profiles[0])
    async with bench_of(tenant, lambda _: scopes, read=False, COST_QUOTA_TENANT="2/1h") as bench:
        compared = set()
        for _ in range(3):
            findings = await found(bench)
            assert [finding.scope for finding in findings] == list(scopes)
            asked = {finding.scope for finding in findings if finding.state != "unknown"}
            assert scopes[-1] in asked
            assert len(asked) == 2
            compared |= asked
            bench.clock.ahead += timedelta(days=31)
        assert compared == set(scopes)
