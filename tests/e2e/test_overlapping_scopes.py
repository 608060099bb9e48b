"""Scopes that see each other's cost, side by side: every charge is published once, whoever sees it besides."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import polars as pl
import pytest

from infra.local.simulator import NO_SUBSCRIPTION, Charge, Line, Metric, Tenant, restate
from infra.local.simulator.charges import exact_sum
from shared.engine import open_engine
from shared.purge import purge
from shared.runs import Run, RunStatus
from tests.laptop import Laptop, laptop

BOTH = {"COST_METRICS": "ActualCost,AmortizedCost"}
NEVER_SETTLED = {"COST_SETTLE_HOURS": "8760"}
CHOICES: dict[str, Callable[[Tenant], Sequence[str]]] = {
    "one subscription, its management group and the account": lambda tenant: (
        tenant.subscription_scopes[0],
        tenant.management_group,
        tenant.billing_account,
    ),
    "all subscriptions and the account": lambda tenant: (*tenant.subscription_scopes, tenant.billing_account),
    "two profiles side by side": lambda tenant: tenant.billing_profiles,
    "two profiles, their account and a subscription": lambda tenant: (
        *tenant.billing_profiles,
        tenant.billing_account,
        tenant.subscription_scopes[1],
    ),
    "nested management groups and two profiles": lambda tenant: (
        tenant.management_group,
        tenant.nested_group,
        *tenant.billing_profiles,
    ),
    "everything at once": lambda tenant: (
        *tenant.subscription_scopes,
        tenant.management_group,
        tenant.nested_group,
        *tenant.billing_profiles,
        tenant.billing_account,
    ),
}
"""Settings whose scopes together see all that the tenant costs, most of it more than once."""


def a_tenant() -> Tenant:
    """A tenant whose subscriptions bought something as well, which only those who are billed are told of."""
    tenant = Tenant(6, subscriptions=3, days=2, rows_per_day=60)
    orders = [bought(tenant, subscription, 100 + n) for n, subscription in enumerate(tenant.subscriptions)]
    # Each of the two profiles has paid for something that belongs to no subscription.
    orders += [bought(tenant, subscription, 7, named=None) for subscription in tenant.subscriptions[:2]]
    for day in tenant.days:
        tenant.put(day, NO_SUBSCRIPTION, [*tenant.charges(day, NO_SUBSCRIPTION), *orders])
    return tenant


def bought(tenant: Tenant, subscription: str, cost: int, named: str | None = "") -> Charge:
    """Give a purchase of the profile of a subscription, which it names, though its own scope does not see it."""
    like = tenant.charges(tenant.days[0], subscription)[0].line
    said = {**like.dimensions, "ResourceId": f"/orders/{cost}", "ChargeType": "Purchase"}
    said["SubscriptionId"] = subscription if named == "" else named
    line = Line(NO_SUBSCRIPTION, like.currency, like.profile, said, {})
    return Charge(line, Decimal(cost), None, Decimal(1))


def every_charge_once(
    tenant: Tenant, metric: Metric = Metric.ACTUAL, *, purchases: bool = True
) -> dict[Any, Decimal]:
    """Add up the charges themselves, by day, currency and subscription, without asking who sees them."""
    found: dict[Any, list[Decimal]] = {}
    for day in tenant.days:
        for owner in (*tenant.subscriptions, NO_SUBSCRIPTION):
            for line, actual, amortized, _ in tenant.charges(day, owner):
                cost = actual if metric is Metric.ACTUAL else amortized
                key = day, line.currency, line.dimensions["SubscriptionId"] or NO_SUBSCRIPTION
                if cost is not None and (purchases or owner != NO_SUBSCRIPTION):
                    found.setdefault(key, []).append(cost)
    return {key: exact_sum(costs) for key, costs in found.items()}


async def costs(bench: Laptop, metric: Metric = Metric.ACTUAL) -> Any:  # noqa: ANN401 - a matcher of pytest
    """Give what is published; the service adds up doubles, more of them in a wide scope's rows."""
    found = {key: cost for key, (cost, _) in (await bench.totals(metric)).items()}
    return pytest.approx(found, rel=Decimal(0), abs=Decimal("1e-9"))


async def sources(bench: Laptop, condition: pl.Expr) -> set[str]:
    """Name the scopes from which published rows come."""
    rows = [(await bench.ledger("ActualCost", day)).filter(condition) for day in bench.tenant.days]
    return set(pl.concat(rows).filter(pl.col("x_ValidTo").is_null())["x_SourceScope"])


async def usage_of(bench: Laptop, subscription: str) -> set[tuple[Any, ...]]:
    """Give the whole history of a subscription's usage as (scope, why it came, why it went, adjustment)."""
    days = [await bench.ledger("ActualCost", day) for day in bench.tenant.days]
    rows = pl.concat(days).filter(of(subscription) & (pl.col("x_ChargeType") == "Usage"))
    return set(rows.select("x_SourceScope", "x_Change", "x_Ended", "x_IsAdjustment").iter_rows())


def handed_over(loser: str, taker: str) -> set[tuple[Any, ...]]:
    """Give the history of settled usage that a scope has taken over: nobody's cost changed."""
    return {(loser.lower(), "new", "reshaped", False), (taker.lower(), "reshaped", None, False)}


def of(subscription: str) -> pl.Expr:
    return pl.col("subscription") == subscription


async def entries(bench: Laptop) -> dict[str, dict[str, Any]]:
    """Give what the first day's manifest says of each scope."""
    return {one["scope"]: one for one in (await bench.manifest("ActualCost", bench.tenant.days[0]))["scopes"]}


def failures(run: Run) -> list[tuple[str, str]]:
    assert run.summary is not None
    return [(failure["scope"], failure["state"]) for failure in run.summary["failures"]]


@asynccontextmanager
async def settings_of(bench: Laptop, *scopes: str) -> AsyncIterator[None]:
    """Let the laptop's engine have other scopes in its settings."""
    environ = {**bench.environ, "COST_SCOPES": ",".join(scopes)}
    before = bench.engine
    async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as bench.engine:
        yield
    bench.engine = before


@pytest.mark.parametrize("choice", CHOICES)
async def test_every_cost_counts_once_in_both_metrics(choice: str) -> None:
    """Purchases that only a billing scope sees are in, with a subscription and without."""
    tenant = a_tenant()
    async with laptop(tenant, COST_SCOPES=",".join(CHOICES[choice](tenant)), **BOTH) as bench:
        run = await bench.run()

        assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
        for metric in Metric:
            assert every_charge_once(tenant, metric) == await costs(bench, metric)


async def test_each_class_of_charge_comes_from_the_scope_that_knows_it_best() -> None:
    """Usage from the narrowest scope, purchases from the widest that is billed; what others say is told."""
    tenant = a_tenant()
    narrow, wide, account = tenant.subscription_scopes[0], tenant.management_group, tenant.billing_account
    usage, own = pl.col("x_ChargeType") == "Usage", pl.col("subscription") == tenant.subscriptions[0]
    async with laptop(tenant, COST_SCOPES=f"{narrow},{wide},{account}") as bench:
        await bench.run()

        assert await sources(bench, usage & own) == {narrow}
        assert await sources(bench, ~usage & own) == {account.lower()}
        assert await sources(bench, ~own) == {account.lower()}
        told = await entries(bench)
        assert {one["state"] for one in told.values()} == {"reconciled"}
        # Nothing of the management group counts, so all that it said is shadowed.
        assert told[wide]["shadowed"] == told[wide]["totals"]
        assert told[account]["shadowed"]
        assert told[account]["shadowed"] != told[account]["totals"]


def move(tenant: Tenant, day: date, of: float = 1) -> None:
    """Let a part of what the first subscription uses on a day be charged to the profile of the second."""
    moved, second = tenant.subscriptions[:2]
    charges = tenant.charges(day, moved)
    other = tenant.charges(day, second)[0].line.profile
    kept = len(charges) - round(of * len(charges))
    after = [
        charge._replace(
            line=Line(moved, charge.line.currency, other, charge.line.dimensions, charge.line.tags)
        )
        for charge in charges[kept:]
    ]
    tenant.put(day, moved, [*charges[:kept], *after])


async def test_subscription_that_moved_between_two_profiles_has_its_cost_from_both() -> None:
    tenant = a_tenant()
    day, moved = tenant.days[0], tenant.subscriptions[0]
    move(tenant, day, of=0.5)
    scopes = [*tenant.billing_profiles, tenant.billing_account]
    async with laptop(tenant, COST_SCOPES=",".join(scopes)) as bench:
        run = await bench.run()

        usage, own = pl.col("x_ChargeType") == "Usage", pl.col("subscription") == moved
        assert await sources(bench, usage & own) == {path.lower() for path in tenant.billing_profiles}
        assert every_charge_once(tenant) == await costs(bench)
        assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])


async def test_subscription_that_moved_to_a_profile_that_is_not_listed_comes_from_their_account() -> None:
    """On the day of the move itself the profile that it left still owns it: what it misses is told with figures."""
    tenant = a_tenant()
    profile, _ = tenant.billing_profiles
    moved = tenant.subscriptions[0]
    async with laptop(tenant, COST_SCOPES=f"{profile},{tenant.billing_account}", **NEVER_SETTLED) as bench:
        await bench.run()
        usage, own = pl.col("x_ChargeType") == "Usage", pl.col("subscription") == moved
        assert await sources(bench, usage & own) == {profile.lower()}
        for day in tenant.days:
            move(tenant, day)

        run = await bench.run(accept_vanished=True)

        assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
        assert await sources(bench, usage & own) == {tenant.billing_account.lower()}
        assert every_charge_once(tenant) == await costs(bench)

    tenant = a_tenant()
    move(tenant, tenant.days[0], of=0.5)
    async with laptop(tenant, COST_SCOPES=f"{profile},{tenant.billing_account}") as bench:
        run = await bench.run()

        assert (run.status, failures(run)) == (
            RunStatus.PARTIAL,
            [(tenant.billing_account, "disagrees")],
        )
        assert f"usage of {moved}: it says " in (await entries(bench))[tenant.billing_account]["cause"]


async def test_scope_that_lost_its_role_loses_its_open_days_after_a_day_and_gets_them_back() -> None:
    tenant = a_tenant()
    narrow, account = tenant.subscription_scopes[0], tenant.billing_account
    usage = (pl.col("x_ChargeType") == "Usage") & (pl.col("subscription") == tenant.subscriptions[0])
    async with laptop(tenant, COST_SCOPES=f"{narrow},{account}", **NEVER_SETTLED) as bench:
        await bench.run()
        published = every_charge_once(tenant)

        # GIVEN a role that was taken away WHEN the cost changes THEN the older reading stands, and is called stale
        bench.fault(refuse={narrow: "RBACAccessDenied"})
        restate(tenant, 8, subscription=tenant.subscriptions[0])
        run = await bench.run()
        assert run.status is RunStatus.PARTIAL
        assert (narrow, "failed") in failures(run)
        assert await sources(bench, usage) == {narrow}
        assert (await entries(bench))[narrow]["state"] == "stale"
        now, before = every_charge_once(tenant), dict(published)
        assert now != before

        # WHEN a day has gone by THEN the account speaks for the subscription, and every cost is there once
        bench.clock.ahead += timedelta(hours=25)
        run = await bench.run()
        assert run.status is RunStatus.PARTIAL
        assert await sources(bench, usage) == {account.lower()}
        assert now == await costs(bench)

        # WHEN the role is back THEN so is the subscription
        bench.fault()
        run = await bench.run()
        assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
        assert await sources(bench, usage) == {narrow}
        assert now == await costs(bench)


async def test_scope_that_left_the_settings_keeps_its_cost_until_another_reports_it() -> None:
    tenant = a_tenant()
    first, second, third = tenant.subscription_scopes
    async with laptop(tenant, COST_SCOPES=f"{first},{second},{third}") as bench:
        await bench.run()
        published = await bench.totals()

        # WHEN one leaves and nobody else reports it THEN its cost stays, and no other moves
        async with settings_of(bench, second, third):
            run = await bench.run()
            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert await bench.totals() == published

        # WHEN a wider one comes that reports it THEN its cost comes from there, once
        async with settings_of(bench, second, third, tenant.billing_account):
            run = await bench.run()
            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert first not in await sources(bench, pl.lit(value=True))
            assert every_charge_once(tenant) == await costs(bench)
            assert await usage_of(bench, tenant.subscriptions[0]) == handed_over(
                first, tenant.billing_account
            )

        # WHEN that one leaves and the first is back THEN purchases that nobody reports now stay as well
        async with settings_of(bench, first, second, third):
            run = await bench.run()
            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            usage = pl.col("x_ChargeType") == "Usage"
            assert await sources(bench, usage & (pl.col("subscription") == tenant.subscriptions[0])) == {
                first
            }
            assert every_charge_once(tenant) == await costs(bench)


@pytest.mark.parametrize(
    ("before", "after"), [(("first", "account"), ("account",)), (("account",), ("first", "account"))]
)
async def test_settled_usage_that_changes_hands_is_reshaped_and_no_adjustment(
    before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    """Also beside a billing account, which has rows there before and after: the purchases are its own."""
    tenant = a_tenant()
    own, *others = tenant.subscription_scopes
    paths = {"first": own, "account": tenant.billing_account}
    lists = [[*others, *(paths[name] for name in names)] for names in (before, after)]
    async with laptop(tenant, COST_SCOPES=",".join(lists[0])) as bench:
        await bench.run()
        async with settings_of(bench, *lists[1]):
            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert every_charge_once(tenant) == await costs(bench)
            assert await usage_of(bench, tenant.subscriptions[0]) == handed_over(
                paths[before[0]], paths[after[0]]
            )


async def test_subscription_that_left_keeps_its_usage_where_a_profile_bought_something_for_it() -> None:
    """A charge of another kind is no report of what the subscription used."""
    tenant = a_tenant()
    first, other = tenant.subscriptions[:2]
    order = bought(tenant, other, 5, named=first)
    for day in tenant.days:
        tenant.put(day, NO_SUBSCRIPTION, [*tenant.charges(day, NO_SUBSCRIPTION), order])
    _, profile = tenant.billing_profiles
    async with laptop(tenant, COST_SCOPES=f"{tenant.subscription_scopes[0]},{profile}") as bench:
        await bench.run()
        published = await bench.totals()
        assert {source.count("/billingprofiles/") for source in await sources(bench, of(first))} == {0, 1}

        async with settings_of(bench, profile):
            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert await bench.totals() == published


async def test_profile_does_not_replace_the_purchases_of_another_in_an_account_that_left() -> None:
    tenant = a_tenant()
    profile, _ = tenant.billing_profiles
    async with laptop(tenant, COST_SCOPES=f"{profile},{tenant.billing_account}") as bench:
        await bench.run()
        assert every_charge_once(tenant) == await costs(bench)

        async with settings_of(bench, profile):
            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert every_charge_once(tenant) == await costs(bench)


async def test_cost_that_is_withdrawn_does_not_come_back_from_a_scope_that_left() -> None:
    """GIVEN a subscription whose usage a billing account has taken over THEN its old reading counts no more."""
    tenant = a_tenant()
    first, account = tenant.subscription_scopes[0], tenant.billing_account
    async with laptop(tenant, COST_SCOPES=f"{first},{account}") as bench:
        await bench.run()
        async with settings_of(bench, account):
            await bench.run()
            assert await sources(bench, of(tenant.subscriptions[0])) == {account.lower()}
            for day in tenant.days:
                tenant.put(day, tenant.subscriptions[0], ())

            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert every_charge_once(tenant) == await costs(bench)


async def test_usage_of_a_resource_group_that_comes_to_the_settings_is_reshaped_alone() -> None:
    """The rest of the subscription's usage stays with the account as it is."""
    tenant = a_tenant()
    own, account = tenant.subscriptions[0], tenant.billing_account
    said = [charge.line.dimensions for charge in tenant.charges(tenant.days[0], own)]
    group = min(str(one["ResourceGroupName"]) for one in said if one["ChargeType"] == "Usage")
    narrow = f"{tenant.subscription_scopes[0]}/resourceGroups/{group}"
    async with laptop(tenant, COST_SCOPES=account) as bench:
        await bench.run()
        async with settings_of(bench, narrow, account):
            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert every_charge_once(tenant) == await costs(bench)
            stays = {(account.lower(), "new", None, False)}
            assert await usage_of(bench, own) == handed_over(account, narrow) | stays


async def test_scopes_that_disagree_are_told_with_both_figures_until_they_agree() -> None:
    """The owner counts; the run says that something is left to look at."""
    tenant = a_tenant()
    narrow, account = tenant.subscription_scopes[0], tenant.billing_account
    async with laptop(tenant, COST_SCOPES=f"{narrow},{account}") as bench:
        await bench.run()
        restate(tenant, 8, [tenant.days[0]], tenant.subscriptions[0])

        run = await bench.run(narrow)

        assert (run.status, failures(run)) == (RunStatus.PARTIAL, [(account, "disagrees")])
        told = (await entries(bench))[account]
        assert told["state"] == "disagrees"
        assert f"usage of {tenant.subscriptions[0]}: it says " in told["cause"]
        assert (await bench.manifest("ActualCost", tenant.days[0]))["status"] == "reconciled"

        run = await bench.run()

        assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
        assert every_charge_once(tenant) == await costs(bench)
        assert (await entries(bench))[account]["cause"] is None


async def test_what_a_billing_scope_sees_of_others_is_known_when_its_pages_are_gone() -> None:
    """GIVEN an account beside its subscriptions, purged, WHEN a subscription is published anew by itself
    THEN it stands as before of which subscriptions the account saw the usage that counts.
    """
    tenant = Tenant(6, subscriptions=2, days=1, rows_per_day=20)
    (day,) = tenant.days
    account = tenant.billing_account
    async with laptop(tenant, COST_SCOPES=",".join([*tenant.subscription_scopes, account])) as bench:
        await bench.run()
        seen = {account.lower(): tuple(sorted(tenant.subscriptions))}
        assert await alike(bench, day) == seen
        bench.clock.ahead += timedelta(days=8)
        await purge(bench.engine)
        assert await bench.engine.storage.blobs.list("cost-staging", "pages/") == []
        bench.restart()

        restate(tenant, 3, subscription=tenant.subscriptions[0])
        await bench.run(tenant.subscription_scopes[0])

        assert await alike(bench, day) == seen


async def alike(bench: Laptop, day: date) -> dict[str, tuple[str, ...]]:
    publication = await bench.engine.days.publication("ActualCost", day)
    assert publication is not None
    return dict(publication.alike)


@pytest.mark.parametrize("stays", [True, False], ids=["listed, but not read", "out of the settings"])
async def test_resource_group_counts_nothing_twice_beside_a_reading_without_groups(*, stays: bool) -> None:
    """The settings refuse the two side by side; a reading from before, made without groups, cannot be parted."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=60)
    (wide,) = tenant.subscription_scopes
    lines = [charge.line.dimensions for charge in tenant.charges(tenant.days[0], tenant.subscriptions[0])]
    group = min(str(said["ResourceGroupName"]) for said in lines if said["ChargeType"] == "Usage")
    narrow = f"{wide}/resourceGroups/{group}"
    ungrouped = json.dumps([{"scope": wide, "grouping": "ServiceName,ChargeType,Meter"}])
    async with laptop(tenant, COST_SCOPES=ungrouped) as bench:
        await bench.run()
        before = await bench.totals()
        async with settings_of(bench, *((wide, narrow) if stays else (narrow,))):
            run = await bench.run(narrow)

            assert (run.status, failures(run)) == (RunStatus.PARTIAL, [(narrow, "disagrees")])
            assert await bench.totals() == before
        async with settings_of(bench, wide, narrow):
            run = await bench.run()

            assert (run.status, failures(run)) == (RunStatus.COMPLETE, [])
            assert every_charge_once(tenant, purchases=False) == await costs(bench)
            assert await sources(bench, pl.col("x_ResourceGroup") == group.lower()) == {narrow.lower()}
