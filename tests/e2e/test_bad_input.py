"""What is wrong from outside ends in a named state with its cure, and harms nothing beside it."""

import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from infra.local.simulator import Metric, Tenant, scope_truth
from infra.local.simulator.faults import Refusal, Schema
from shared.engine import open_engine
from shared.messages import DAYS, PAGES, RUNS, DayItem, PageItem, RunItem
from shared.runs import Run, RunStatus, SliceState
from shared.settings import SettingsError
from shared.worker import Worker
from tests.faults import Answer, FaultyEdge
from tests.laptop import Laptop, laptop
from tests.truth import truth_of


def two_scopes() -> Tenant:
    """The first scope will be the bad one, the second one is as it should be."""
    return Tenant(6, subscriptions=2, days=2, rows_per_day=24)


async def test_settings_are_refused_all_at_once_before_anything_is_called() -> None:
    edge = FaultyEdge()
    wrong = {
        "COST_PAGE_SIZE": "0",
        "COST_METRICS": "Cost",
        "COST_SURPRISE": "1",
        "ARM_TOKEN": "secret",
        "COST_STORAGE": "nonsense",
    }

    with pytest.raises(SettingsError) as caught:
        async with open_engine(wrong, edge=edge):
            pass

    for name in (*wrong, "COST_SCOPES"):
        assert any(f"`{name}`" in problem for problem in caught.value.problems), name
    assert "secret" not in str(caught.value)
    assert edge.calls == []


async def ended(bench: Laptop, run: Run) -> tuple[str, str]:
    """Assert that the first scope failed and the second was published; give the failure's cause and cure."""
    bad, good = await bench.slices(run)
    assert (bad.state, good.state) == (SliceState.FAILED, SliceState.RECONCILED)
    assert run.summary is not None
    assert run.status is RunStatus.PARTIAL
    (failure,) = run.summary["failures"]
    assert (failure["scope"], failure["state"]) == (bad.scope, "failed")
    found = scope_truth(bench.tenant, good.scope, Metric.ACTUAL)
    assert await bench.totals() == {
        (key.day, key.currency, key.subscription): (total.amount, total.rows) for key, total in found.items()
    }
    return failure["cause"], failure["cure"]


@pytest.mark.parametrize(
    ("refusal", "cause", "cure"),
    [
        ("RBACAccessDenied", "RBACAccessDenied", "grant Cost Management Reader 72fafb9e-0641-4937-9268-"),
        (
            "AuthorizationFailed",
            "AuthorizationFailed",
            "grant Cost Management Reader 72fafb9e-0641-4937-9268-",
        ),
        (
            "UnsupportedOffer",
            "400 BadRequest: Cost Management does not support the offer",
            "Query does not serve ",
        ),
        ("SubscriptionNotFound", "404 SubscriptionNotFound", "remove /subscriptions/"),
    ],
)
async def test_refused_scope_ends_with_cause_and_cure_and_the_others_are_published(
    refusal: Refusal, cause: str, cure: str
) -> None:
    tenant = two_scopes()
    bad = tenant.subscription_scopes[0]
    async with laptop(tenant) as bench:
        bench.fault(refuse={bad: refusal})

        said, advice = await ended(bench, await bench.run())

        assert said.startswith(cause)
        assert advice.startswith(cure)
        assert bad in advice
        assert sum(entry.scope == bad for entry in bench.running.simulator.journal.entries) == 1


async def test_dimension_that_the_service_refuses_names_the_setting_to_change() -> None:
    """A dimension was removed once without a new version of the API."""
    said = b'{"error":{"code":"BadRequest","message":"Invalid query definition: Invalid dataset grouping: Meter"}}'
    async with laptop(Tenant(6, subscriptions=1, days=1, rows_per_day=12)) as bench:
        bench.edge.spoil = lambda _: (400, {}, said)

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert "Invalid dataset grouping: Meter" in str(piece.cause)
        assert str(piece.cure).startswith("change COST_GROUPING")


@pytest.mark.parametrize(
    ("drift", "named"),
    [
        ("missing_column", ["column `Cost` is missing"]),
        ("column_type", ["column `Cost` is of type 'String', 'Number' was expected"]),
        ("ragged", ["row ", " has 11 values for 12 columns"]),
        ("cost_text", ["column `Cost`, row ", "str"]),
        ("nan", ["column `Cost`, row ", "NaN is no number"]),
        ("huge", ["column `Cost`, row ", "123456789012345678901.5"]),
        ("day", ["column `UsageDate`, row ", "20260599 is no day"]),
    ],
)
async def test_drifted_schema_is_named_and_kept_and_nothing_of_it_is_published(
    drift: Schema, named: list[str]
) -> None:
    tenant = two_scopes()
    bad = tenant.subscription_scopes[0]
    async with laptop(tenant) as bench:
        bench.fault(bad_schema={bad: drift})

        cause, cure = await ended(bench, await bench.run())

        assert cause.startswith("SchemaDrift: ")
        for part in named:
            assert part in cause
        (kept,) = await bench.engine.storage.blobs.list("cost-staging", "quarantine/")
        assert kept.name in cure
        body = await bench.engine.storage.blobs.get("cost-staging", kept.name)
        assert body is not None
        assert body.data.startswith(b"{")


async def test_link_to_another_host_is_refused_before_anything_is_sent() -> None:
    tenant = two_scopes()
    bad = tenant.subscription_scopes[0]
    async with laptop(tenant, COST_PAGE_SIZE="10") as bench, _listener() as foreign:
        bench.fault(foreign_next_link=(bad,), foreign_base=foreign.running.url)

        cause, cure = await ended(bench, await bench.run())

        assert cause.startswith("ForeignNextLink: the link leads to 127.0.0.1")
        assert "a token is never sent to another host" in cure
        assert foreign.running.simulator.journal.requests == 0


async def test_redirect_to_another_host_is_refused_before_anything_is_sent() -> None:
    tenant = two_scopes()
    bad = tenant.subscription_scopes[0]
    async with laptop(tenant) as bench, _listener() as foreign:
        bench.fault(redirect=(bad,), foreign_base=foreign.running.url)

        cause, cure = await ended(bench, await bench.run())

        assert cause.startswith(f"RedirectRefused: 302 to {foreign.running.url}")
        assert "ARM_ENDPOINT" in cure
        assert foreign.running.simulator.journal.requests == 0


def _listener() -> AbstractAsyncContextManager[Laptop]:
    """Another host of the same machine, which notes whoever calls."""
    return laptop(Tenant(7, subscriptions=1, days=1, rows_per_day=5))


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        ({"oversize_bytes": 68_000_000}, "BodyTooLarge: the answer is larger than 67108864 bytes"),
        ({"error_kinds": ("truncated",)}, "TornBody: "),
        ({"error_kinds": ("cut",)}, "ConnectionLost: "),
        ({"error_kinds": ("503",)}, "ServiceUnavailable: 503 ServiceUnavailable"),
        ({"error_kinds": ("404",)}, "NotFound: 404 NotFound: GtmDimensionDataProvider"),
    ],
    ids=["over 64 MiB", "truncated JSON", "connection cut", "unavailable", "transient 404"],
)
async def test_broken_answer_is_tried_again_a_bounded_number_of_times(
    faults: Mapping[str, Any], cause: str
) -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    always = {"error_rate": 1.0, "errors_in_a_row": 99} if "error_kinds" in faults else {}
    oversize = tenant.subscription_scopes if "oversize_bytes" in faults else ()
    async with laptop(tenant, COST_MAX_ATTEMPTS="2") as bench:
        bench.fault(**faults, **always, oversize=oversize)

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith(cause)
        assert (
            piece.cure == "the service failed 2 times in a row; the next run over these days reads them again"
        )
        assert bench.running.simulator.journal.requests == 2


async def test_service_that_recovers_in_time_leaves_no_trace() -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    async with laptop(tenant) as bench:
        bench.fault(error_rate=1.0, error_kinds=("500", "truncated", "cut", "504"), errors_in_a_row=4)

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE


@pytest.mark.parametrize("queue", [PAGES, RUNS, DAYS])
@pytest.mark.parametrize("kind", ["no json", "unknown version", "unknown run", "no base64"])
async def test_message_that_means_nothing_is_poisoned_and_recorded_and_the_run_goes_on(
    queue: str, kind: str
) -> None:
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    unknown = {
        PAGES: PageItem(run="gone", slice="s", generation="g", page=1).encode(),
        RUNS: RunItem(run="gone").encode(),
        DAYS: DayItem(run="gone", metric="ActualCost", day=tenant.days[0]).encode(),
    }[queue]
    bodies = {"no json": b"hello", "unknown version": unknown.replace(b'"version":1', b'"version":9')}
    async with laptop(tenant) as bench:
        if kind == "no base64":
            clients = bench.engine.storage.queues._clients
            await clients.queues().get_queue_client(queue).send_message("not base64 at all!")
        else:
            await bench.engine.storage.queues.send(queue, bodies.get(kind, unknown))
        run = await bench.seed()

        done = await Worker(bench.engine).work(run.id)

        assert done.status is RunStatus.COMPLETE
        (record,) = await bench.engine.runs.poison()
        assert record.rk.startswith(f"{queue}|")
        assert record.values["raw"]


async def test_column_that_nobody_asked_for_is_told_once_and_ignored(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The service adds one without a new version: no reading must end for it, nor go unseen."""
    tenant = two_scopes()
    async with laptop(tenant) as bench:
        bench.edge.spoil = with_a_new_column

        run = await bench.run()

        assert run.status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)
        told = [
            json.loads(record.message) for record in caplog.records if "schema_new_column" in record.message
        ]
        assert [event["column"] for event in told] == ["CarbonWeight"]


def with_a_new_column(answer: Answer) -> Answer:
    """Put a column before all others."""
    status, headers, body = answer
    said = msgspec.json.decode(body)
    said["properties"]["columns"].insert(0, {"name": "CarbonWeight", "type": "Number"})
    for row in said["properties"]["rows"]:
        row.insert(0, 1.5)
    return status, headers, msgspec.json.encode(said)
