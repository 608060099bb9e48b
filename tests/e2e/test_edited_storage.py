"""What somebody edited in storage, or another version wrote, is named and harms nothing beside it.

Each test edits one thing, in the middle of a run or between two, and then asks three questions: is it named,
with a cure; is nothing made of it; are the other days and scopes published in the same run?
"""

import asyncio
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.local.simulator import Tenant, restate
from shared.days.rows import partition
from shared.ledger.files import daily_path, ledger_path, manifest_path
from shared.ledger.verify import verify
from shared.messages import DAYS, PAGES, RUNS, BadMessage, PageItem
from shared.plan.seed import seed_timer
from shared.read.fetch_page import fetch_page
from shared.registry.pages import staged_pages
from shared.runs import Run, RunStatus
from shared.scopes import Scope
from shared.staging import encode
from shared.storage.packing import pack
from shared.storage.rows import Row, Value
from shared.summary import DAY_CURE
from shared.sweep import sweep
from shared.worker import Worker
from tests.laptop import Laptop, laptop
from tests.truth import Totals, truth_of

METRIC = "ActualCost"
ROOT = Path(__file__).parents[2]
A_DAY_EACH = {"COST_WINDOW_DAYS": "1"}
"""One slice for each scope and day."""


def two_scopes() -> Tenant:
    """Two subscriptions over two days; the first scope and the first day will be the ones that are edited."""
    return Tenant(6, subscriptions=2, days=2, rows_per_day=24)


def without(totals: Totals, day: date, subscription: str | None = None) -> Totals:
    """Leave out a day, or what one subscription cost on it."""
    return {
        key: total for key, total in totals.items() if key[0] != day or subscription not in (None, key[2])
    }


async def edit(bench: Laptop, table: str, pk: str, rk: str, **changes: Value | None) -> Row:
    """Change properties of an entity as somebody with a storage explorer would, and give it as it was."""
    row = await bench.engine.storage.tables.get(table, pk, rk)
    assert row is not None
    values = {name: value for name, value in {**row.values, **changes}.items() if value is not None}
    await bench.engine.storage.tables.upsert(table, replace(row, values=values))
    return row


def fail_of(run: Run, **told: Any) -> Mapping[str, Any]:  # noqa: ANN401 - the summary's values
    """Find the one failure of a run that tells this."""
    assert run.summary is not None
    assert run.status is RunStatus.PARTIAL
    failures: list[dict[str, Any]] = run.summary["failures"]
    (failure,) = [one for one in failures if all(one[name] == value for name, value in told.items())]
    return failure


async def staged_and_waiting(bench: Laptop) -> Run:
    """Seed a run and work it until its days are asked for."""
    run = await bench.seed()
    await bench.drain(PAGES, RUNS)
    return run


async def cli(bench: Laptop, *argv: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "shared", *argv],
        cwd=ROOT,
        env={**bench.environ, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def between(tenant: Tenant) -> tuple[str, ...]:
    return ("--from", tenant.days[0].isoformat(), "--to", tenant.days[-1].isoformat())


# What is read while a run reads


async def test_slice_of_another_version_is_named_and_the_other_slices_are_published() -> None:
    """It cannot be ended, so nobody waits for it; no sweep is needed for the run to close."""
    tenant = two_scopes()
    async with laptop(tenant, **A_DAY_EACH) as bench:
        run = await bench.seed()
        bad = (await bench.slices(run))[0]
        await edit(bench, "CostRuns", run.id, f"slice|{bad.name}", version=2)
        named = f"CostRuns entity ({run.id}, slice|{bad.name}) is of version 2, this release reads 1"

        for body in await bench.take(PAGES):
            if PageItem.decode(body).slice == bad.name:
                with pytest.raises(BadMessage, match=re.escape(named)):
                    await fetch_page(bench.engine, body)
            else:
                await fetch_page(bench.engine, body)
        await bench.drain()

        failure = fail_of(await bench.closed(run), scope=None)
        assert failure["cause"] == f"Unreadable: {named}"
        assert "the next run over its days reads them again" in failure["cure"]
        subscription = Scope.parse(bad.scope).subscription_id
        assert await bench.totals() == without(truth_of(tenant), bad.first, subscription)


@pytest.mark.parametrize("edited", ["bytes cut", "other version"])
async def test_page_that_was_edited_ends_its_slice_by_name_and_the_next_run_heals_it(edited: str) -> None:
    """Cut digests would let rows through that were seen before."""
    tenant = two_scopes()
    async with laptop(tenant, COST_PAGE_SIZE="10", **A_DAY_EACH) as bench:
        run = await bench.seed()
        for body in await bench.take(PAGES):
            await fetch_page(bench.engine, body)
        bad = (await bench.slices(run))[0]
        page = await bench.engine.storage.tables.get("CostHashes", bad.partition, "000001")
        assert page is not None
        packed = page.values["hashes_0"]
        assert isinstance(packed, bytes)
        changes = pack("hashes", packed[:-24]) if edited == "bytes cut" else {"version": 2}
        await edit(bench, "CostHashes", bad.partition, "000001", **changes)
        bench.restart()

        await bench.drain()

        failure = fail_of(await bench.closed(run), scope=bad.scope)
        assert failure["cause"].startswith(f"Unreadable: CostHashes entity ({bad.partition}, 000001) ")
        assert failure["cure"].endswith("leave it: the next run over these days reads them again")
        subscription = Scope.parse(bad.scope).subscription_id
        assert await bench.totals() == without(truth_of(tenant), bad.first, subscription)

        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_gate_that_was_edited_ends_its_scope_by_name_and_removing_it_heals() -> None:
    tenant = two_scopes()
    scope = Scope.parse(tenant.subscription_scopes[0])
    async with laptop(tenant) as bench:
        await bench.run()
        restate(tenant, 4)
        await edit(bench, "CostQuota", "gates", f"scope|{scope.key}", shift="0")

        run = await bench.run()

        failure = fail_of(run, scope=scope.path)
        named = (
            f"Unreadable: CostQuota entity (gates, scope|{scope.key}) has '0' as \"shift\": Expected `int`"
        )
        assert failure["cause"].startswith(named)
        assert failure["cure"].endswith("remove it: the next request writes it anew")
        other = {key: value for key, value in truth_of(tenant).items() if key[2] != scope.subscription_id}
        assert other.items() <= (await bench.totals()).items()

        await bench.engine.storage.tables.delete("CostQuota", "gates", f"scope|{scope.key}")
        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_pointer_that_was_edited_fails_slice_and_day_by_name_and_the_others_are_published() -> None:
    """Nobody can tell which reading counted for that day, so none is put in its place."""
    tenant = two_scopes()
    scope, bad = Scope.parse(tenant.subscription_scopes[0]), tenant.days[0]
    async with laptop(tenant, **A_DAY_EACH) as bench:
        await bench.run()
        before = await bench.etags()
        restate(tenant, 8)
        keys = partition(METRIC, bad), f"scope|{scope.key}"
        whole = await edit(bench, "CostDays", *keys, reading_0=b"not packed")

        run = await bench.run()

        named = f'CostDays entity ({keys[0]}, {keys[1]}) has "reading_0" that cannot be unpacked'
        of_slice = fail_of(run, scope=scope.path)
        assert of_slice["cause"].startswith(f"Unreadable: {named}")
        assert of_slice["from"] == of_slice["to"] == bad.isoformat()
        of_day = fail_of(run, scope=None)
        assert of_day["cause"].startswith(f"Unreadable: {named}")
        assert of_day["from"] == bad.isoformat()
        after = await bench.etags()
        assert {name for name in after if before[name] == after[name]} == {
            name for name in after if bad.isoformat() in name
        }
        other = without(truth_of(tenant), bad)
        assert other.items() <= (await bench.totals()).items()
        held = await bench.engine.storage.tables.get("CostDays", *keys)
        assert held is not None
        assert held.values["reading_0"] == b"not packed"

        await bench.engine.storage.tables.upsert("CostDays", whole)
        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_pointer_that_was_removed_as_its_cure_says_is_written_anew() -> None:
    tenant = two_scopes()
    scope, bad = Scope.parse(tenant.subscription_scopes[0]), tenant.days[0]
    async with laptop(tenant) as bench:
        await bench.run()
        restate(tenant, 8)
        await bench.engine.storage.tables.delete("CostDays", partition(METRIC, bad), f"scope|{scope.key}")

        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_run_that_was_edited_is_left_out_and_stops_nobody_else() -> None:
    tenant = two_scopes()
    async with laptop(tenant) as bench:
        bad = await bench.seed()
        whole = await edit(bench, "CostRuns", "runs", bad.id, planned="two")
        named = f"CostRuns entity (runs, {bad.id}) has 'two' as \"planned\": Expected `int`, got `str`"

        asked = await cli(bench, "status")
        good = await bench.seed()
        closed = await Worker(bench.engine).work(good.id)
        bench.clock.ahead = timedelta(hours=2)
        await sweep(bench.engine)
        ticked = await seed_timer(bench.engine)

        assert (asked.returncode, asked.stdout, asked.stderr.count("\n")) == (1, "", 1)
        assert asked.stderr.startswith(f"error: {named}")
        assert (closed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))
        assert {record.rk.split("|")[0] for record in await bench.engine.runs.poison()} == {RUNS}
        assert ticked.seeded

        await bench.engine.storage.tables.upsert("CostRuns", whole)
        await sweep(bench.engine)
        await bench.drain()

        assert (await bench.closed(bad)).status is RunStatus.COMPLETE


# What is read while a day is published


def dearer(data: bytes) -> bytes:
    """Edit a page so that all but its amounts is as it was."""
    return encode(pl.read_parquet(data).with_columns(BilledCost=pl.col("BilledCost") + pl.col("BilledCost")))


@pytest.mark.parametrize(
    ("edited", "wrong"),
    [
        pytest.param(lambda _: b"other bytes", "cannot be read as Parquet", id="other bytes"),
        pytest.param(
            lambda _: encode(pl.DataFrame({"cost": [1.5]})),
            "has other columns than this release writes",
            id="other columns",
        ),
        pytest.param(dearer, "holds ", id="other amounts"),
    ],
)
async def test_staged_page_that_was_replaced_fails_its_day_by_name_and_is_read_anew(
    edited: Callable[[bytes], bytes], wrong: str
) -> None:
    tenant = two_scopes()
    bad = tenant.days[0]
    async with laptop(tenant, **A_DAY_EACH) as bench:
        run = await staged_and_waiting(bench)
        piece = next(one for one in await bench.slices(run) if one.first == bad)
        (staged,) = await staged_pages(bench.engine.storage.tables, piece.partition)
        name = staged.name
        blobs = bench.engine.storage.blobs
        page = await blobs.get("cost-staging", name)
        assert page is not None
        await blobs.put("cost-staging", name, edited(page.data))

        await bench.drain()

        failure = fail_of(await bench.closed(run), scope=None)
        assert failure["from"] == bad.isoformat()
        assert f"cost-staging/{name} {wrong}" in failure["cause"]
        assert await bench.totals() == without(truth_of(tenant), bad)

        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


@pytest.mark.parametrize("edited", ["pointer", "publication"])
async def test_day_whose_rows_are_edited_once_it_was_asked_for_fails_by_name_and_nothing_is_written(
    edited: str,
) -> None:
    tenant = two_scopes()
    scope, bad = Scope.parse(tenant.subscription_scopes[0]), tenant.days[0]
    async with laptop(tenant) as bench:
        await bench.run()
        before = await bench.etags()
        restate(tenant, 8)
        run = await staged_and_waiting(bench)
        keys = partition(METRIC, bad), "publication" if edited == "publication" else f"scope|{scope.key}"
        whole = await edit(bench, "CostDays", *keys, version=3)

        await bench.drain(DAYS, RUNS)

        failure = fail_of(await bench.closed(run), cure=DAY_CURE)
        named = f"CostDays entity ({keys[0]}, {keys[1]}) is of version 3, this release reads 1"
        assert failure["cause"].startswith(f"UnreadableError: {named}")
        after = await bench.etags()
        kept = {name for name in after if bad.isoformat() in name}
        assert {name for name in after if before[name] == after[name]} == kept

        await bench.engine.storage.tables.upsert("CostDays", whole)
        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


async def test_publication_that_was_edited_fails_its_day_by_name_and_is_published_anew_without_it() -> None:
    tenant = two_scopes()
    bad = tenant.days[0]
    async with laptop(tenant) as bench:
        await bench.run()
        before = await bench.etags()
        restate(tenant, 8)
        keys = partition(METRIC, bad), "publication"
        await edit(bench, "CostDays", *keys, as_of="yesterday")

        run = await bench.run()

        failure = fail_of(run, scope=None)
        named = f"CostDays entity ({keys[0]}, {keys[1]}) has 'yesterday' as \"as_of\": Expected `datetime`"
        assert failure["cause"].startswith(f"Unreadable: {named}")
        after = await bench.etags()
        kept = {name for name in after if bad.isoformat() in name}
        assert {name for name in after if before[name] == after[name]} == kept
        assert without(truth_of(tenant), bad).items() <= (await bench.totals()).items()

        # As its cure says.
        await bench.engine.storage.tables.delete("CostDays", *keys)
        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))


def rewritten(data: bytes) -> bytes:
    """Write the same rows as another program would."""
    buffer = io.BytesIO()
    pl.read_parquet(io.BytesIO(data)).write_parquet(buffer)
    return buffer.getvalue()


async def put(bench: Laptop, path: str, data: bytes | None = None) -> bytes:
    """Put other bytes in a published file's place, the same rows if none are given; give those that were there."""
    blob = await bench.engine.storage.blobs.get("costs", path)
    assert blob is not None
    await bench.engine.storage.blobs.put("costs", path, rewritten(blob.data) if data is None else data)
    return blob.data


async def test_ledger_that_another_program_rewrote_fails_its_day_until_it_is_restored() -> None:
    """The same rows, even: what else it did to the day's history nobody knows."""
    tenant = two_scopes()
    bad, subscription = tenant.days[0], tenant.subscriptions[0]
    path = ledger_path(METRIC, bad, subscription)
    async with laptop(tenant) as bench:
        await bench.run()
        whole = await put(bench, path)
        before = await bench.etags()
        restate(tenant, 8)

        done = await cli(bench, "run", *between(tenant), "--json")

        assert done.returncode == 2, done.stderr
        (failure,) = json.loads(done.stdout)["failures"]
        assert f"costs/{path} has no version, so another program wrote it" in failure["cause"]
        assert "restore the blob that its manifest describes" in failure["cause"]
        after = await bench.etags()
        kept = {name for name in after if bad.isoformat() in name}
        assert {name for name in after if before[name] == after[name]} == kept
        assert without(truth_of(tenant), bad).items() <= (await bench.totals()).items()

        await put(bench, path, whole)
        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))
        assert await differences(bench) == []


async def differences(bench: Laptop) -> list[str]:
    """Verify what is published, and name the files that differ."""
    first, last = bench.tenant.days[0], bench.tenant.days[-1]
    checked = [day async for day in verify(bench.engine.storage.blobs, "costs", first, last)]
    return [finding.path for day in checked for finding in day.findings]


@pytest.mark.parametrize("path_of", [daily_path, manifest_path], ids=["daily", "manifest"])
@pytest.mark.parametrize("data", [None, b"edited"], ids=["rewritten", "other bytes"])
async def test_output_that_was_edited_is_found_by_verify_and_made_anew_from_the_state(
    path_of: Callable[[str, date], str], data: bytes | None
) -> None:
    """Totals and manifest are made from the ledger and the books each time: nothing is ever read from them."""
    tenant = two_scopes()
    bad = tenant.days[0]
    path = path_of(METRIC, bad)
    async with laptop(tenant) as bench:
        await bench.run()
        spoilt = b"{}" if data is None and path_of is manifest_path else data
        await put(bench, path, spoilt)

        found = await cli(bench, "verify", *between(tenant))

        assert found.returncode == 2
        assert f"differs: {path}: " in found.stdout
        assert set(await differences(bench)) == {path}

        healed = await bench.run()

        assert (healed.status, await bench.totals()) == (RunStatus.COMPLETE, truth_of(tenant))
        assert await differences(bench) == []


async def test_command_that_cannot_tell_says_so_in_one_line_that_names_the_entity() -> None:
    tenant = two_scopes()
    async with laptop(tenant) as bench:
        await bench.run()
        key = partition(METRIC, tenant.days[0])
        await edit(bench, "CostDays", key, "publication", version=7)

        done = await cli(bench, "days", *between(tenant))

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        named = f"CostDays entity ({key}, publication) is of version 7, this release reads 1"
        assert done.stderr.startswith(f"error: {named}; run the release that wrote it, or restore it")


async def test_staged_pages_of_a_run_stay_as_long_as_one_of_its_days_cannot_be_read() -> None:
    """Nobody knows whether that day still needs them."""
    tenant = two_scopes()
    async with laptop(tenant) as bench:
        await bench.run()
        key = partition(METRIC, tenant.days[0])
        whole = await edit(bench, "CostDays", key, "publication", status="fine")
        bench.clock.ahead = timedelta(days=8)

        await sweep(bench.engine)
        assert not [run for run in await bench.engine.runs.runs() if run.cleaned]

        await bench.engine.storage.tables.upsert("CostDays", whole)
        await sweep(bench.engine)
        assert [run.cleaned for run in await bench.engine.runs.runs()] == [True]
