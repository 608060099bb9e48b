"""Days of which something was damaged or taken away are published anew where they can be, or fail by name."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from infra.local.simulator import Tenant, add, restate
from shared.days.rows import SCOPE, partition
from shared.ledger.files import ledger_path
from shared.messages import DAYS, PAGES, RUNS, DayItem
from shared.orchestrate import orchestrate
from shared.runs import RunStatus
from shared.staging import encode
from shared.storage import Row
from tests.laptop import Laptop, laptop
from tests.truth import truth_of

LEDGER = "ledger/metric=ActualCost/usage_date={}"
DAILY = "daily/metric=ActualCost/usage_date={}"
MANIFESTS = "manifests/metric=ActualCost/{}"


def small_tenant() -> Tenant:
    return Tenant(6, subscriptions=2, days=2, rows_per_day=20)


@pytest.mark.parametrize("kind", [LEDGER, DAILY, MANIFESTS])
@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "overwritten"])
async def test_day_whose_files_are_not_those_that_were_published_is_published_anew(
    kind: str, *, deleted: bool
) -> None:
    """No reading changed; the staged pages are still there to make the files of."""
    tenant = small_tenant()
    async with laptop(tenant, COST_SETTLE_HOURS="8760") as bench:
        await bench.run()
        before = await bench.totals()
        blobs, day = bench.engine.storage.blobs, tenant.days[1]
        damaged = (await blobs.list("costs", kind.format(day)))[0].name
        blob = await blobs.get("costs", damaged)
        assert blob is not None
        if deleted:
            await blobs.delete("costs", damaged)
        else:
            await blobs.put("costs", damaged, blob.data)

        run = await bench.run()

        assert run.summary is not None
        assert [said["state"] for said in run.summary["days"]] == ["unchanged", "published"]
        assert run.status is RunStatus.COMPLETE
        assert await bench.totals() == before
        again = await blobs.get("costs", damaged)
        assert again is not None
        assert kind != DAILY or again.data == blob.data


async def test_ledger_file_of_a_settled_day_that_is_gone_fails_its_day_by_name() -> None:
    """Its history stands nowhere else; without the publication it may be published as if for the first time."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        storage, day = bench.engine.storage, tenant.days[1]
        gone = (await storage.blobs.list("costs", LEDGER.format(day)))[0].name
        await storage.blobs.delete("costs", gone)

        run = await bench.run()

        assert run.summary is not None
        assert [said["state"] for said in run.summary["days"]] == ["unchanged", "incomplete"]
        (failure,) = run.summary["failures"]
        assert f"costs/{gone} is gone" in failure["cause"]
        await storage.tables.delete("CostDays", f"ActualCost|{day}", "publication")
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert (
            not (await bench.ledger("ActualCost", day))
            .filter(subscription=tenant.subscriptions[0])["x_IsAdjustment"]
            .all()
        )


async def test_stray_file_below_a_day_is_nobodys_business_and_stays() -> None:
    """What another program left there is no change of the day: it would be published anew by every run."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        blobs, day = bench.engine.storage.blobs, tenant.days[1]
        for stray in (
            f"{LEDGER.format(day)}/notes.txt",
            f"{LEDGER.format(day)}/subscription_id=x/old/data.parquet",
            f"{LEDGER.format(day)}/subscription_id={tenant.subscriptions[0]}-backup/data.parquet",
            f"{LEDGER.format(day)}/subscription_id={tenant.subscriptions[0].upper()}/data.parquet",
            f"{LEDGER.format(day)}/subscription_id=none copy/data.parquet",
            f"{LEDGER.format(day)}/subscription_id=/data.parquet",
            f"{DAILY.format(day)}/data.parquet.bak",
            f"{MANIFESTS.format(day)}.json.bak",
        ):
            await blobs.put("costs", stray, b"stray")
        before = await bench.etags()

        run = await bench.run()

        assert run.summary is not None
        assert run.status is RunStatus.COMPLETE
        assert [said["state"] for said in run.summary["days"]] == ["unchanged", "unchanged"]
        assert await bench.etags() == before


@pytest.mark.parametrize(
    ("from_day", "from_partition", "to", "wrong"),
    [
        pytest.param(0, 0, 0, "holds {} rows of another day", id="another day's"),
        pytest.param(1, 1, 0, "holds {} rows of another subscription", id="another subscription's"),
        pytest.param(1, 0, None, "holds {} rows of another subscription", id="beside the others"),
    ],
)
async def test_ledger_file_in_the_place_of_another_fails_its_day_by_name(
    from_day: int, from_partition: int, to: int | None, wrong: str
) -> None:
    """It is whole and of this release; believed, it would end the records of its place, and count its own."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        await bench.run()
        before, day = await bench.totals(), tenant.days[1]
        blobs, own = (
            bench.engine.storage.blobs,
            (*tenant.subscriptions, "0b5e0f3c-3f52-4a8e-9d1c-2f6f0b1c7a11"),
        )
        other = ledger_path("ActualCost", tenant.days[from_day], own[from_partition])
        path = ledger_path("ActualCost", day, own[2 if to is None else to])
        was, put = await blobs.get("costs", path), await blobs.get("costs", other)
        assert put is not None
        rows = pl.read_parquet(io.BytesIO(put.data)).height
        await blobs.put("costs", path, put.data)

        run = await bench.run()

        assert run.summary is not None
        (failure,) = run.summary["failures"]
        assert f"costs/{path} {wrong.format(rows)}; restore the blob" in failure["cause"]
        if was is None:
            await blobs.delete("costs", path)
        else:
            await blobs.put("costs", path, was.data)
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == before


async def three_versions(bench: Laptop, path: str, happens: Callable[[], object]) -> list[bytes]:
    """Publish three times, something happening after each, and give what a ledger file was each time."""
    files = []
    for _ in range(3):
        await bench.run()
        file = await bench.engine.storage.blobs.get("costs", path)
        assert file is not None
        files.append(file.data)
        bench.clock.ahead += timedelta(hours=1)
        happens()
    return files


@pytest.mark.parametrize("times", [1, 2], ids=["of the first publication", "of the second"])
async def test_older_ledger_file_of_a_settled_day_fails_its_day_by_name(times: int) -> None:
    """A restored snapshot lacks the history since: no reading says what was believed in between."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        blobs, day = bench.engine.storage.blobs, tenant.days[1]
        path = ledger_path("ActualCost", day, tenant.subscriptions[0])
        files = await three_versions(bench, path, lambda: restate(tenant, 6, days=[day]))
        before = await bench.totals()
        await blobs.put("costs", path, files[times - 1])

        run = await bench.run()

        assert run.summary is not None
        (failure,) = run.summary["failures"]
        ended = [pl.read_parquet(io.BytesIO(data))["x_ValidTo"].count() for data in files]
        assert 0 == ended[0] < ended[1] < ended[2]
        said = f"costs/{path} holds {ended[times - 1]} rows of a settled day's history, {ended[2]} were published"
        assert said in failure["cause"]
        await blobs.put("costs", path, files[2])
        assert await bench.totals() == before
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)


async def test_older_ledger_file_of_a_settled_day_to_which_rows_only_came_fails_its_day_by_name() -> None:
    """Nothing has ended, so the older file has as much history; what it lacks was believed since it came."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        blobs, day = bench.engine.storage.blobs, tenant.days[1]
        path = ledger_path("ActualCost", day, tenant.subscriptions[0])
        files = await three_versions(bench, path, lambda: add(tenant, 6, [day]))
        await blobs.put("costs", path, files[0])

        run = await bench.run()

        assert run.summary is not None
        (failure,) = run.summary["failures"]
        rows = [pl.read_parquet(io.BytesIO(data)).height for data in files]
        assert rows[0] < rows[1] < rows[2]
        said = f"costs/{path} holds {rows[0]} of the {rows[2]} rows that were published of a settled day"
        assert said in failure["cause"]
        await blobs.put("costs", path, files[2])
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == truth_of(tenant)


async def test_ledger_file_of_a_settled_day_whose_history_was_edited_fails_its_day_by_name() -> None:
    """It is whole and has as many rows; the hash that could tell would be replaced by the next publication."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        blobs, day = bench.engine.storage.blobs, tenant.days[1]
        path = ledger_path("ActualCost", day, tenant.subscriptions[0])
        await three_versions(bench, path, lambda: restate(tenant, 6, days=[day]))
        await bench.run()
        there = await blobs.get("costs", path)
        assert there is not None
        frame = pl.read_parquet(io.BytesIO(there.data))
        dearer = pl.when(pl.col("x_ValidTo").is_null()).then("BilledCost").otherwise(pl.lit(Decimal(999)))
        await blobs.put(
            "costs", path, encode(frame.with_columns(BilledCost=dearer.cast(frame.schema["BilledCost"])))
        )

        run = await bench.run()

        assert run.summary is not None
        (failure,) = run.summary["failures"]
        assert f"costs/{path} holds other rows of a settled day than were published" in failure["cause"]
        await blobs.put("costs", path, there.data)
        assert (await bench.run()).status is RunStatus.COMPLETE


async def test_day_of_a_publication_without_a_count_of_its_history_is_published_as_it_lies_there() -> None:
    """An earlier release wrote it: what it does not say is no loss."""
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        day = tenant.days[1]
        for _ in range(2):
            await bench.run()
            restate(tenant, 6, days=[day])
        publication = await bench.engine.days.publication("ActualCost", day)
        assert publication is not None
        assert publication.ended
        await bench.engine.days.save_publication(replace(publication, ended=None))

        assert (await bench.run()).status is RunStatus.COMPLETE

        again = await bench.engine.days.publication("ActualCost", day)
        assert again is not None
        assert again.ended
        assert sum(again.ended.values()) > sum(publication.ended.values())


async def test_lost_pointer_fails_its_day_by_name_and_a_run_that_reads_the_scope_heals_it() -> None:
    """Without it the scope would seem never read, and its cost withdrawn."""
    tenant = small_tenant()
    lost, other = tenant.subscription_scopes
    async with laptop(tenant) as bench:
        run = await bench.run()
        before, day = await bench.totals(), tenant.days[1]
        (key,) = {piece.scope_key for piece in await bench.slices(run) if piece.scope == lost}
        where = partition("ActualCost", day), f"{SCOPE}{key}"
        await bench.engine.storage.tables.delete("CostDays", *where)

        run = await bench.run(other)

        assert run.summary is not None
        assert run.status is RunStatus.PARTIAL
        (failure,) = run.summary["failures"]
        assert f"CostDays entity ({', '.join(where)}) is gone, its reading was published" in failure["cause"]
        assert await bench.totals() == before
        assert (await bench.run()).status is RunStatus.COMPLETE
        assert await bench.totals() == before


async def test_day_that_cannot_be_read_when_the_days_are_planned_fails_by_name_and_the_others_go_on() -> None:
    tenant = small_tenant()
    async with laptop(tenant) as bench:
        run = await bench.seed()
        await bench.drain(PAGES)
        (body,) = await bench.take(RUNS)
        piece = (await bench.slices(run))[0]
        where = partition("ActualCost", tenant.days[0]), f"{SCOPE}{piece.scope_key}"
        await bench.engine.storage.tables.merge("CostDays", Row(*where, {"version": 7}))

        await orchestrate(bench.engine, body)

        asked = await bench.take(DAYS)
        assert [DayItem.decode(item).day for item in asked] == [tenant.days[1]]
        states = {task.day: task.state for task in await bench.engine.runs.days(run)}
        assert states == {tenant.days[0]: "failed", tenant.days[1]: "open"}
        await bench.engine.storage.queues.send(DAYS, asked[0])
        await bench.drain()
        closed = await bench.closed(run)
        assert closed.summary is not None
        assert closed.status is RunStatus.PARTIAL
        assert any(
            f"CostDays entity ({', '.join(where)})" in failed["cause"]
            for failed in closed.summary["failures"]
        )
        assert {found for found, _, _ in await bench.totals()} == {tenant.days[1]}


async def test_day_whose_absolute_amounts_do_not_fit_fails_by_name() -> None:
    """Its net total does; what scopes see is compared by absolute amounts."""
    tenant = Tenant(6, subscriptions=1, days=1, rows_per_day=12)
    (day,), (subscription,) = tenant.days, tenant.subscriptions
    one, other, *rest = tenant.charges(day, subscription)
    large = Decimal("9e19")
    tenant.put(day, subscription, [one._replace(actual=large), other._replace(actual=-large), *rest])
    async with laptop(tenant, COST_PAGE_SIZE="1", COST_CONTROL_TOLERANCE="0.001") as bench:
        run = await bench.run()

        assert run.summary is not None
        (failure,) = run.summary["failures"]
        assert failure["cause"] == f"TotalError: a total of {day} has more than 20 digits before the point"
