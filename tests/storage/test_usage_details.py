"""usageDetails through the engine: every record counts, twins too, whatever happens between the pages."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import polars as pl
import pytest

from infra.local.simulator import Metric, Shape, Tenant
from infra.local.simulator.details import DetailsQuery
from infra.local.simulator.details import records as simulated
from shared.cli.logs import Events
from shared.days import Reading
from shared.engine import open_engine
from shared.events import ENTITY_REFUSED, SCHEMA_NEW_COLUMN
from shared.history.changes import changes
from shared.messages import PAGES
from shared.read.fetch_page import fetch_page
from shared.read.new_columns import NewColumn, column_row
from shared.registry import pages
from shared.registry.pages import Page, count_records
from shared.runs import RunStatus, Slice, SliceState
from shared.scope_list import Source
from shared.scopes import ScopeKind
from tests.faults import Answer, dies
from tests.laptop import Laptop, laptop
from tests.truth import details_truth_of

DETAILS = {"COST_SOURCE": "usage_details"}
CLOSING = 3


def small_tenant() -> Tenant:
    return Tenant(4, subscriptions=1, days=2, rows_per_day=30)


def records_of(tenant: Tenant) -> int:
    return sum(rows for _, rows in details_truth_of(tenant).values())


def in_pages(tenant: Tenant, count: int, *, shared: int = 0) -> dict[str, str]:
    """A page size under which the tenant's only subscription comes in so many pages, which share some rows."""
    return {**DETAILS, "COST_PAGE_SIZE": str(records_of(tenant) // count + 1 + shared)}


def between_twins(tenant: Tenant) -> int:
    """Give a page size whose first border lies between two equal records."""
    asked = DetailsQuery(
        tenant.scope(tenant.subscription_scopes[0]),
        Metric.ACTUAL,
        Shape.LEGACY,
        tenant.days[0],
        tenant.days[-1],
    )
    rows = simulated(tenant, asked)
    return next(size for size in range(len(rows) // 2, len(rows)) if rows[size - 1] == rows[size])


async def entries(bench: Laptop, piece: Slice) -> list[Page]:
    found = await pages.entries(bench.engine.storage.tables, piece.partition)
    return [entry for entry in found if isinstance(entry, Page)]


async def readings(bench: Laptop, piece: Slice) -> list[Reading]:
    known = await bench.engine.days.of_scope(piece.metric, piece.scope_key, piece.first, piece.last)
    return [pointer.reading for pointer in known.values() if pointer.reading is not None]


async def told(bench: Laptop, piece: Slice) -> list[object]:
    """Say what a generation's registry comes to, without the names that differ from one worker to the next."""
    found: list[object] = []
    for entry in await pages.entries(bench.engine.storage.tables, piece.partition):
        if isinstance(entry, Page):
            aside = (entry.repeated.sums, entry.repeated.digests)
            found.append((entry.number, entry.raw_rows, entry.sums, entry.digests, entry.packed, aside))
        else:
            found.append((entry.number, entry.control_kind, entry.days, entry.duplicates))
    return found


@pytest.mark.parametrize("page_size", ["5000", "7"], ids=["one page", "many pages"])
@pytest.mark.parametrize("shape", list(Shape))
async def test_published_sums_are_those_of_all_records_in_every_shape(shape: Shape, page_size: str) -> None:
    tenant = small_tenant()
    period = "dates" if shape is Shape.MODERN else "filter"
    scopes = [{"scope": tenant.subscription_scopes[0], "source": "usage_details", "period": period}]
    settings = {"COST_SCOPES": msgspec.json.encode(scopes).decode(), "COST_PAGE_SIZE": page_size}
    async with laptop(tenant, **settings) as bench:
        bench.running.simulator.shape = shape

        run = await bench.run()

        assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
        assert await bench.totals() == details_truth_of(tenant)


async def test_billing_period_is_read_whole_and_only_the_days_asked_for_count() -> None:
    tenant = small_tenant()
    scopes = [{"scope": tenant.subscription_scopes[0], "source": "usage_details", "period": "billing_period"}]
    async with laptop(tenant, COST_SCOPES=msgspec.json.encode(scopes).decode(), COST_PAGE_SIZE="20") as bench:
        run = await bench.seed(days=1)
        await bench.drain()

        truth = details_truth_of(tenant)
        assert (await bench.closed(run)).status is RunStatus.COMPLETE
        assert await bench.totals() == {key: said for key, said in truth.items() if key[0] == tenant.days[0]}
        (first, *_) = [entry for entry in bench.running.simulator.journal.entries if not entry.control]
        assert "/billingPeriods/202605/" in first.path


def by_billing_period(tenant: Tenant, page_size: int) -> dict[str, str]:
    scopes = [{"scope": tenant.subscription_scopes[0], "source": "usage_details", "period": "billing_period"}]
    return {"COST_SCOPES": msgspec.json.encode(scopes).decode(), "COST_PAGE_SIZE": str(page_size)}


def ending_on(day: date) -> Callable[[Answer], Answer]:
    """Let a billing period have no records after a day."""

    def cut(answer: Answer) -> Answer:
        status, headers, body = answer
        if not body.startswith(b'{"value":'):
            return answer
        said = msgspec.json.Decoder(float_hook=Decimal).decode(body)
        said["value"] = [one for one in said["value"] if one["properties"]["date"][:10] <= f"{day}"]
        return status, headers, msgspec.json.Encoder(decimal_format="number").encode(said)

    return cut


async def test_answer_of_one_page_does_not_prove_the_days_that_its_billing_period_may_not_have() -> None:
    """The service was not asked for these days, so only the control knows that they cost something."""
    tenant = small_tenant()
    held, lost = tenant.days
    async with laptop(tenant, **by_billing_period(tenant, 1000)) as bench:
        bench.edge.spoil = ending_on(held)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (run.status, piece.state) == (RunStatus.PARTIAL, SliceState.UNRECONCILED)
        assert str(piece.cause).startswith(f"ControlMismatch: {lost.isoformat()} rows add up to nothing")
        truth = details_truth_of(tenant)
        assert await bench.totals() == {key: said for key, said in truth.items() if key[0] == held}


async def test_billing_period_that_does_not_hold_the_window_is_refused_by_name() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **by_billing_period(tenant, 1000)) as bench:
        bench.edge.spoil = rewritten(
            '"billingPeriodEndDate": "[^"]*"', '"billingPeriodEndDate": "2026-05-01"'
        )

        run = await bench.run()

        piece = await bench.slice(run)
        first, last = tenant.days
        asked = f"billing period 202605 was asked for the days {first} to {last}"
        assert (run.status, piece.state) == (RunStatus.PARTIAL, SliceState.FAILED)
        assert piece.cause == f"BillingPeriod: {asked}, the records are of 2026-05-01 to 2026-05-01"
        assert "`filter` or `dates`" in str(piece.cure)
        assert await bench.totals() == {}


@pytest.mark.parametrize("told", [True, False], ids=["the records tell their days", "no record does"])
async def test_equal_readings_prove_a_billing_period_only_if_its_records_tell_its_days(*, told: bool) -> None:
    """What the period does not have is missing in both of them."""
    tenant = small_tenant()
    async with laptop(tenant, **by_billing_period(tenant, 20)) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})
        if not told:
            bench.edge.spoil = rewritten('"billingPeriod(Start|End)Date": "[^"]*", ', "")

        run = await bench.run()

        piece = await bench.slice(run)
        if told:
            assert (piece.state, await kinds(bench, piece)) == (SliceState.RECONCILED, {"repeated"})
        else:
            assert piece.state is SliceState.FAILED
            assert "which days billing period 202605 has is told by no record" in str(piece.cause)
        assert await bench.totals() == (details_truth_of(tenant) if told else {})


async def test_billing_period_without_a_record_says_so_where_query_gives_no_control() -> None:
    tenant = small_tenant()
    for day in tenant.days:
        tenant.put(day, tenant.subscriptions[0], [])
    async with laptop(tenant, **by_billing_period(tenant, 20)) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})

        run = await bench.run()

        piece = await bench.slice(run)
        assert "billing period 202605 has no record" in str(piece.cause)
        assert "run again when it has a record" in str(piece.cure)


async def test_twins_that_a_page_border_parts_are_both_published() -> None:
    """The second comes where an overlap would: the control says that it is none."""
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS, COST_PAGE_SIZE=str(between_twins(tenant))) as bench:
        run = await bench.run()

        piece = await bench.slice(run)
        assert sum(count_records(page.repeated.sums) for page in await entries(bench, piece)) > 0
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 1)
        assert True in {reading.with_repeated for reading in await readings(bench, piece)}
        assert run.summary is not None
        assert run.summary["duplicates_dropped"] == 0
        assert await bench.totals() == details_truth_of(tenant)


async def test_overlap_of_two_pages_is_dropped_and_the_twins_stay() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2, shared=4)) as bench:
        bench.fault(overlap=7)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 1)
        assert run.summary is not None
        assert run.summary["duplicates_dropped"] == 7
        assert {reading.with_repeated for reading in await readings(bench, piece)} == {False}
        assert await bench.totals() == details_truth_of(tenant)


async def test_overlap_that_is_smaller_than_the_tolerance_is_left_out_all_the_same() -> None:
    """The control agrees with both variants there; what it is nearer to is published, to the last digit."""
    base = Tenant(4, subscriptions=1, days=1, rows_per_day=30)
    (day,), (owner,) = base.days, base.subscriptions
    charges = [charge for charge in base.charges(day, owner) if charge.line.currency == "USD"][:13]
    cents: dict[str, Any] = {
        "actual": Decimal("0.00001"),
        "amortized": Decimal("0.00001"),
        "quantity": Decimal("0.0001"),
    }
    fortune: dict[str, Any] = {
        "actual": Decimal(50000),
        "amortized": Decimal(50000),
        "quantity": Decimal(1000000),
    }
    tenant = Tenant.of(
        [
            (day, charge._replace(**(fortune if number == 0 else cents)))
            for number, charge in enumerate(charges)
        ]
    )
    async with laptop(tenant, **DETAILS, COST_PAGE_SIZE="5") as bench:
        bench.fault(overlap=1)

        await bench.run()

        assert await bench.totals() == details_truth_of(tenant)


async def test_unchanged_records_publish_nothing_and_the_twins_keep_one_record_id() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        await bench.run()
        published = await bench.etags()

        await bench.run()

        assert await bench.etags() == published
        ledger = await bench.ledger("ActualCost", tenant.days[0])
        assert set(ledger.group_by("x_RecordId").len()["len"]) >= {1, 2, 4}


async def test_twin_that_is_withdrawn_is_retracted_and_the_others_are_not_restated() -> None:
    tenant = small_tenant()
    day, owner = tenant.days[0], tenant.subscriptions[0]
    several = Tenant.of([(day, charge) for charge in tenant.charges(day, owner) for _ in range(4)])
    async with laptop(several, **DETAILS, COST_SETTLE_HOURS="0") as bench:
        await bench.run()
        charges = several.charges(day, owner)
        several.put(day, owner, charges[1:])

        await bench.run()

        ledger = await bench.ledger("ActualCost", day)
        gone = ledger.filter(pl.col("x_ValidTo").is_not_null())
        assert gone["x_Ended"].to_list() == ["retracted"]
        assert set(ledger["x_Change"]) == {"new"}
        assert ledger.filter(pl.col("x_RecordId") == pl.lit(gone["x_RecordId"][0])).height >= 4
        assert await bench.totals() == details_truth_of(several)


@pytest.mark.parametrize("page", [1, 2, CLOSING])
async def test_killed_at_any_outside_call_the_redelivery_ends_with_the_same_registry(page: int) -> None:
    """Its pages share rows, so that there are two blobs to lose."""
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2, shared=4)) as bench:
        bench.fault(overlap=7)
        undisturbed = await bench.seed()
        await bench.drain(PAGES)
        wanted = await told(bench, await bench.slice(undisturbed))
        place, killed = 0, True
        while killed:
            run, body = await bench.work_up_to(page)
            bench.edge.kill_at(place, after=True)
            killed = await dies(fetch_page(bench.engine, body))
            bench.restart()

            await fetch_page(bench.engine, body)

            await bench.drain(PAGES)
            piece = await bench.slice(run)
            assert piece.state is SliceState.RECONCILED
            assert await told(bench, piece) == wanted, place
            place += 1
        assert place > 9


@pytest.mark.parametrize("kind", ["move", "lose", "loop"])
async def test_spoiled_reading_is_found_and_read_again(kind: str) -> None:
    """Rows are not unique, so what moved shows in the control and not in the rows."""
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 3)) as bench:
        bench.fault(**{f"{kind}_rate": 1.0, "spoiled_readings": 1})

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 2)
        assert await bench.totals() == details_truth_of(tenant)


@pytest.mark.parametrize(
    ("faults", "cause"),
    [
        ({"loop_rate": 1.0, "spoiled_readings": 99}, "CursorLoop: the nextLink of page"),
        ({"endless": "*"}, "CursorLoop: all rows of page 3 were on earlier pages"),
    ],
    ids=["cursor used before", "all rows seen before"],
)
async def test_loop_is_thrown_away_and_after_four_readings_failed(faults: dict[str, Any], cause: str) -> None:
    tenant = small_tenant()
    if "endless" in faults:
        faults = {"endless": tenant.subscription_scopes}
    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        bench.fault(**faults)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.FAILED, 4)
        assert str(piece.cause).startswith(cause)
        assert await bench.totals() == {}


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        ("missing_column", "field `cost` is missing in row"),
        ("cost_text", "field `cost`, row"),
        ("nan", "field `cost`, row"),
        ("huge", "field `cost`, row"),
        ("day", "field `date`, row"),
        ("column_type", "field `quantity`, row"),
        ("ragged", "has no `properties`"),
    ],
)
async def test_drifted_schema_names_field_and_row(schema: str, cause: str) -> None:
    tenant = small_tenant()
    (scope,) = tenant.subscription_scopes
    async with laptop(tenant, **DETAILS) as bench:
        bench.fault(bad_schema={scope: schema})

        run = await bench.run()

        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("SchemaDrift: ")
        assert cause in str(piece.cause)


def rewritten(old: str, new: str) -> Callable[[Answer], Answer]:
    """Let every record come with its text changed."""

    def rewrite(answer: Answer) -> Answer:
        status, headers, body = answer
        if not body.startswith(b'{"value":'):
            return answer
        assert re.search(old.encode(), body)
        return status, headers, re.sub(old.encode(), new.encode(), body)

    return rewrite


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        pytest.param(Shape.LEGACY, "resourceLocation", id="of the identity"),
        pytest.param(Shape.LEGACY, "subscriptionName", id="of the content"),
        pytest.param(Shape.MODERN, "meterCategory", id="of the content of a modern record"),
    ],
)
async def test_field_that_is_gone_from_all_records_stops_the_slice_and_moves_nothing(
    shape: Shape, name: str
) -> None:
    """Every record would be another one, or restated: each an adjustment of a settled day."""
    tenant = small_tenant()
    period = "dates" if shape is Shape.MODERN else "filter"
    scopes = [{"scope": tenant.subscription_scopes[0], "source": "usage_details", "period": period}]
    async with laptop(tenant, COST_SCOPES=msgspec.json.encode(scopes).decode()) as bench:
        bench.running.simulator.shape = shape
        await bench.run()
        published = await bench.etags("ledger/")
        bench.edge.spoil = rewritten(rf'"{name}": "[^"]*", ', "")

        run = await bench.run()

        piece = await bench.slice(run)
        assert (run.status, piece.state) == (RunStatus.PARTIAL, SliceState.FAILED)
        assert str(piece.cause).startswith(f"SchemaDrift: field `{name}` is missing in ")
        assert await bench.etags("ledger/") == published
        assert await bench.totals() == details_truth_of(tenant)


async def test_new_field_is_told_once_and_changes_nothing() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS, COST_PAGE_SIZE="20") as bench:
        with Events() as happened:
            await bench.run()
            assert happened.named(SCHEMA_NEW_COLUMN) == [], "all that is known is known"
            published = await bench.etags("ledger/")
            bench.edge.spoil = rewritten('"properties": {', '"properties": {"brandNew": "x", ')

            for _ in range(2):
                assert (await bench.run()).status is RunStatus.COMPLETE

            assert [event["column"] for event in happened.named(SCHEMA_NEW_COLUMN)] == ["brandNew"]
        assert await bench.etags("ledger/") == published


NEW_FIELD = ('"properties": {', '"properties": {"brandNew": "x", ')


async def test_new_field_is_told_once_whichever_process_finds_it() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS) as bench:
        with Events() as happened:
            for _ in range(3):
                async with bench.other() as (engine, edge):
                    bench.engine, bench.edge = engine, edge
                    edge.spoil = rewritten(*NEW_FIELD)

                    assert (await bench.run()).status is RunStatus.COMPLETE

            assert [event["column"] for event in happened.named(SCHEMA_NEW_COLUMN)] == ["brandNew"]


async def test_new_field_that_its_finder_died_before_telling_of_is_told_by_the_redelivery() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS) as bench:
        run, body = await bench.work_up_to(1)
        bench.edge.spoil = rewritten(*NEW_FIELD)
        bench.edge.kill_on("table insert CostRuns", after=True)
        with Events() as happened:
            assert await dies(fetch_page(bench.engine, body))
            assert happened.named(SCHEMA_NEW_COLUMN) == []
            bench.restart()
            bench.edge.spoil = rewritten(*NEW_FIELD)

            await fetch_page(bench.engine, body)
            await bench.drain()

            assert [event["column"] for event in happened.named(SCHEMA_NEW_COLUMN)] == ["brandNew"]
        assert (await bench.closed(run)).status is RunStatus.COMPLETE


async def test_row_of_a_new_field_that_cannot_be_read_is_named_and_stops_nothing() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS) as bench:
        found = NewColumn(Source.USAGE_DETAILS, "brandNew", "r|s|g|1", bench.clock())
        row = column_row(found)
        await bench.engine.storage.tables.insert(
            "CostRuns", replace(row, values={**row.values, "version": 2})
        )
        bench.edge.spoil = rewritten(*NEW_FIELD)
        with Events() as happened:
            assert (await bench.run()).status is RunStatus.COMPLETE

            assert happened.named(SCHEMA_NEW_COLUMN) == []
            (refused,) = happened.named(ENTITY_REFUSED)
            assert refused["what"] == f"CostRuns entity (columns, {row.rk})"


@pytest.mark.parametrize(
    ("day", "written"),
    [
        pytest.param(
            date(2024, 2, 29), "2024-03-01T00:30:00+01:00", id="the leap day, in the next month's words"
        ),
        pytest.param(date(2024, 3, 1), "2024-02-29T23:30:00-01:00", id="the day after, in the leap day's"),
        pytest.param(date(2023, 12, 31), "2024-01-01T05:29:59.9999999+05:30", id="the year's last day"),
        pytest.param(date(2024, 1, 1), "2023-12-31T19:00:00-05:00", id="the year's first instant"),
    ],
)
async def test_time_with_an_offset_counts_on_its_utc_day_at_the_border_of_a_window(
    day: date, written: str
) -> None:
    """The control says so too; by the day in the text nothing of it would count."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12, first_day=day)
    async with laptop(tenant, **DETAILS, COST_PAGE_SIZE="5") as bench:
        bench.edge.spoil = rewritten(f'"date": "{day}T[^"]*"', f'"date": "{written}"')

        run = await bench.run()

        assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
        assert {reading.control_kind for reading in await readings(bench, await bench.slice(run))} == {
            "query"
        }
        assert await bench.totals() == details_truth_of(tenant)


async def test_time_whose_utc_day_lies_outside_of_the_window_counts_nowhere() -> None:
    """Though its text names the only day that was asked for."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12, first_day=date(2024, 2, 29))
    async with laptop(tenant, **DETAILS) as bench:
        bench.edge.spoil = rewritten('"date": "[^"]*"', '"date": "2024-02-29T23:30:00-01:00"')

        run = await bench.run()

        (page,) = await entries(bench, await bench.slice(run))
        assert page.outside == page.raw_rows == records_of(tenant)
        assert await bench.totals() == {}


async def test_invoice_of_a_modern_record_is_published_and_one_that_is_filled_in_later_restates_it() -> None:
    """It is content: the record stays the same one, and on a settled day its change is an adjustment (0011)."""
    tenant = small_tenant()
    (profile, *_), day = tenant.billing_profiles, tenant.days[0]
    async with laptop(tenant, **DETAILS, COST_SCOPES=profile) as bench:
        bench.running.simulator.shape = Shape.MODERN
        await bench.run()
        before = await bench.ledger("ActualCost", day)
        assert before["InvoiceId"].null_count() == len(before) > 0

        bench.edge.spoil = rewritten('"invoiceId": null', '"invoiceId": "I-1"')
        await bench.run()

        rows = await bench.ledger("ActualCost", day)
        current = rows.filter(pl.col("x_ValidTo").is_null())
        assert set(current["InvoiceId"]) == {"I-1"}
        assert sorted(current["x_RecordId"]) == sorted(before["x_RecordId"])
        assert set(rows.filter(pl.col("x_ValidTo").is_not_null())["x_Ended"]) == {"restated"}


async def test_renamed_subscription_makes_adjustments_of_settled_rows_and_no_change_of_any_amount() -> None:
    """The record changed, its amounts did not: the one is told by x_IsAdjustment, the other by `changes`."""
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS) as bench:
        await bench.run()
        earlier = bench.clock()
        bench.edge.spoil = rewritten('"subscriptionName": "', '"subscriptionName": "new ')

        await bench.run()

        for day in tenant.days:
            rows = await bench.ledger("ActualCost", day)
            current = rows.filter(pl.col("x_ValidTo").is_null())
            assert all(name.startswith("new ") for name in current["SubAccountName"])
            assert set(current["x_Change"]) == {"restated"}
            assert current["x_IsAdjustment"].all()
        assert await bench.totals() == details_truth_of(tenant)
        bench.clock.ahead += timedelta(seconds=2)
        place, settle = (bench.engine.storage.blobs, "costs"), bench.engine.settings.settle
        found = await changes(place, ["ActualCost"], (earlier, bench.clock()), settle)
        assert (found.charges, found.days, found.states["settled"]) == ([], [], len(tenant.days))


async def test_change_of_the_agreement_reshapes_its_rows_and_makes_no_adjustment_of_them() -> None:
    """The same charges in records of another kind: nobody's cost changed, all that is known of it did."""
    tenant = Tenant(4, subscriptions=1, days=1, rows_per_day=30)
    (day,), scope = tenant.days, tenant.subscription_scopes[0]
    legacy, modern = (
        msgspec.json.encode([{"scope": scope, "source": "usage_details", "period": period}]).decode()
        for period in ("filter", "dates")
    )
    async with laptop(tenant, COST_SCOPES=legacy, COST_PAGE_SIZE="20") as bench:
        await bench.run()
        before = await bench.ledger("ActualCost", day)
        bench.running.simulator.shape = Shape.MODERN
        environ = {**bench.environ, "COST_SCOPES": modern}
        async with open_engine(environ, edge=bench.edge, clock=bench.clock, jitter=Random(0)) as engine:
            bench.engine = engine

            assert (await bench.run()).status is RunStatus.COMPLETE

            rows = await bench.ledger("ActualCost", day)
            came = rows.filter(pl.col("x_ValidFrom") > before["x_ValidFrom"].max())
            gone = rows.filter(pl.col("x_ValidTo").is_not_null())
            assert len(came) == len(gone) == len(before) > 0
            assert set(came["x_Change"]) == set(gone["x_Ended"]) == {"reshaped"}
            usage = came.filter(pl.col("x_ChargeType") == "Usage")
            assert (len(usage) > 0, usage["x_IsAdjustment"].any()) == (True, False)
            assert await bench.totals() == details_truth_of(tenant)


async def test_throttle_moves_the_gates_of_usage_details_and_leaves_those_of_query() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS) as bench:
        bench.fault(throttle_rate=1.0, throttles_in_a_row=1, hint_seconds=40)
        run, body = await bench.work_up_to(1)

        await fetch_page(bench.engine, body)

        piece = await bench.slice(run)
        assert piece.state is SliceState.OPEN
        assert await bench.engine.gate.waits_until(piece.scope_key) is None
        gate = bench.engine.details_gates[ScopeKind.SUBSCRIPTION]
        until = await gate.waits_until(piece.scope_key)
        assert until is not None
        assert 35 < (until - bench.clock()).total_seconds() < 45, "the longer of the two hints counts"


async def test_page_takes_a_place_of_usage_details_and_the_control_one_of_query() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        await bench.run()

        rows = await bench.engine.storage.tables.query("CostQuota", "PartitionKey eq 'gates'")
        keys = sorted(row.rk.split("|")[-2] if "|" in row.rk else row.rk for row in rows)
        assert keys == ["scope", "scope", "tenant", "usage_details"]


async def kinds(bench: Laptop, piece: Slice) -> set[str]:
    return {reading.control_kind for reading in await readings(bench, piece)}


async def test_where_query_refuses_the_scope_two_equal_readings_prove_each_other() -> None:
    """The second asks for smaller pages, so that twins at a border are not at one again."""
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 2)
        assert await kinds(bench, piece) == {"repeated"}
        assert sum(entry.control for entry in bench.running.simulator.journal.entries) == 1
        assert run.summary is not None
        assert run.summary["generations_discarded"] == 0
        assert await bench.totals() == details_truth_of(tenant)
        manifest = await bench.manifest("ActualCost", tenant.days[0])
        assert manifest["scopes"][0]["control_kind"] == "repeated"


@pytest.mark.parametrize(
    ("seed", "page_size", "lost"), [(3, 7, "a twin"), (6, 28, "nothing, an overlap came again")]
)
async def test_without_a_control_nothing_is_published_that_an_overlap_may_have_spoiled(
    seed: int, page_size: int, lost: str
) -> None:
    """Pages that share a row: both readings may be wrong in the same way, so such days are not proven."""
    tenant = Tenant(seed, subscriptions=1, days=4, rows_per_day=40)
    truth = details_truth_of(tenant)
    async with laptop(tenant, **{**DETAILS, "COST_PAGE_SIZE": str(page_size)}) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"}, overlap=1)

        run = await bench.run()

        published = await bench.totals()
        assert published.items() <= truth.items(), lost
        assert (run.status is RunStatus.COMPLETE) is (published == truth)


async def test_twins_between_two_pages_are_proven_by_a_reading_whose_borders_lie_elsewhere() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **DETAILS, COST_PAGE_SIZE=str(between_twins(tenant))) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 2)
        assert await bench.totals() == details_truth_of(tenant)


async def test_readings_that_differ_are_read_on_until_two_in_a_row_agree() -> None:
    """Only the days that differ, a bounded number of times."""
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 3)) as bench:
        refuse = {tenant.subscription_scopes[0]: "UnsupportedOffer"}
        bench.fault(refuse=refuse, lose_rate=1.0, spoiled_readings=1)

        run = await bench.run()

        piece = await bench.slice(run)
        assert (piece.state, piece.reading) == (SliceState.RECONCILED, 3)
        assert piece.reading_first == piece.reading_last
        assert await bench.totals() == details_truth_of(tenant)

        bench.fault(refuse=refuse, lose_rate=1.0, spoiled_readings=99)
        piece = await bench.slice(await bench.run())
        assert (piece.state, piece.reading) == (SliceState.UNRECONCILED, 4)
        assert "the reading before says" in str(piece.cause)


async def test_single_reading_cannot_prove_itself() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2), COST_MAX_READINGS="1") as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})

        piece = await bench.slice(await bench.run())

        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith("ControlRefused: 400 BadRequest")
        assert await bench.totals() == {}


async def test_missing_role_for_the_control_is_no_reason_to_do_without_it() -> None:
    tenant = small_tenant()

    def refuse(answer: Answer) -> Answer:
        control = b'"columns"' in answer[2]
        return (403, {}, b'{"error":{"code":"AuthorizationFailed","message":"no"}}') if control else answer

    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        bench.edge.spoil = refuse

        piece = await bench.slice(await bench.run())

        assert (piece.state, piece.cause) == (SliceState.FAILED, "AuthorizationFailed")


async def test_killed_while_a_reading_waits_for_its_repetition_the_redelivery_goes_on() -> None:
    tenant = small_tenant()
    async with laptop(tenant, **in_pages(tenant, 2)) as bench:
        bench.fault(refuse={tenant.subscription_scopes[0]: "UnsupportedOffer"})
        place, killed = 0, True
        while killed:
            run, body = await bench.work_up_to(CLOSING)
            bench.edge.kill_at(place, after=True)
            killed = await dies(fetch_page(bench.engine, body))
            bench.restart()

            await fetch_page(bench.engine, body)

            await bench.drain(PAGES)
            piece = await bench.slice(run)
            assert (piece.state, piece.reading) == (SliceState.RECONCILED, 2), place
            assert await kinds(bench, piece) == {"repeated"}
            place += 1
        assert place > 5


async def test_wide_scopes_publish_every_subscription_and_purchases() -> None:
    tenant = Tenant(6, subscriptions=3, days=2, rows_per_day=60)
    profiles = list(tenant.billing_profiles)
    settings = {**DETAILS, "COST_SCOPES": ",".join(profiles), "COST_PAGE_SIZE": "50"}
    async with laptop(tenant, **settings, COST_METRICS="ActualCost,AmortizedCost") as bench:
        run = await bench.run()

        assert (run.status, run.summary and run.summary["failures"]) == (RunStatus.COMPLETE, [])
        for metric in Metric:
            assert await bench.totals(metric) == details_truth_of(tenant, metric, *profiles)
