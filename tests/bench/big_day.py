"""A day of very many rows, as its reading leaves it to be published: staged pages, their entities, pointer and task.

`python -m tests.bench.big_day ACTION ROWS RESTATED` does one step in a process of its own, so that its peak of memory
is its own, and prints what it took as JSON: `stage` a reading (not measured), `publish` it, or do with the same rows
what is `plain`: read what is there, put the reading behind it, keep the last of each record, and write all of it.
"""

import asyncio
import hashlib
import io
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl

from shared.days import Pointer, Reading
from shared.engine import Engine, open_engine
from shared.ledger.columns import MONEY, STAGED
from shared.ledger.publish_day import publish_day
from shared.ledger.staged_rows import owned_of
from shared.messages import DayItem
from shared.normalise.exact import add_by_currency
from shared.normalise.hashing import KEY_BYTES, identity
from shared.plan.grouping import default_grouping
from shared.plan.seed import listed
from shared.read.ending import generation_id
from shared.read.shape import shape_of
from shared.registry import pages
from shared.registry.pages import Page, Sums
from shared.runs import DayTask, Run, registry_partition, slice_name
from shared.scopes import Scope

METRIC, COST, DAY = "ActualCost", "BilledCost", date(2026, 5, 10)
SCOPE = "/providers/Microsoft.Management/managementGroups/bench"
PAGE, SUBSCRIPTIONS, EACH = 5000, 100, 100
"""Rows of a page, subscriptions of the day, and of how many rows one is restated."""

ENVIRON = {"COST_SCOPES": SCOPE, "ARM_ENDPOINT": "http://127.0.0.1:9", "ARM_TOKEN": "none"}


def frames(rows: int, restated: int) -> Iterator[pl.DataFrame]:
    """Make the pages of a reading; after `restated` restatements one row in a hundred costs so much more."""
    for start in range(0, rows, PAGE):
        yield _page(start, min(PAGE, rows - start), restated)


def _page(start: int, count: int, restated: int) -> pl.DataFrame:
    n = pl.int_range(start, start + count, dtype=pl.Int64)
    numbers = pl.select(n=n, sub=n % SUBSCRIPTIONS, group=n % 37, vm=n // 7, meter=n % 7)
    subscription = pl.format("00000000-0000-4000-8000-{}", pl.col("sub").cast(pl.String).str.zfill(12))
    more = pl.when(pl.col("n") % EACH == 0).then(restated).otherwise(0)
    part = (pl.col("n") * 48_271 % 2_147_483_647).cast(pl.String).str.zfill(10)
    cost = pl.format("{}.{}", pl.col("n") % 50 + more, part).cast(MONEY)
    midnight = pl.lit(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC))
    told = numbers.select(
        usage_date=pl.lit(DAY),
        subscription_id=subscription,
        ChargePeriodStart=midnight,
        ChargePeriodEnd=midnight + timedelta(days=1),
        BillingCurrency=pl.lit("USD"),
        BilledCost=cost,
        ConsumedQuantity=cost,
        SubAccountId=subscription,
        ResourceId=pl.format(
            "/subscriptions/{}/resourcegroups/rg-{}/providers/microsoft.compute/virtualmachines/vm-{}",
            subscription,
            "group",
            "vm",
        ),
        ResourceName=pl.format("vm-{}", "vm"),
        ResourceType=pl.lit("microsoft.compute/virtualmachines"),
        RegionId=pl.lit("westeurope"),
        ServiceName=pl.format("Service {}", pl.col("meter")),
        SkuMeter=pl.format("Meter {}", pl.col("meter")),
        ChargeCategory=pl.lit("Usage"),
        PricingCategory=pl.lit("Standard"),
        ProviderName=pl.lit("Microsoft"),
        x_RecordId=identity(numbers, ["n"]).bin.slice(0, 16),
        x_MeterId=pl.format("meter-{}", pl.col("meter")),
        x_ResourceGroup=pl.format("rg-{}", pl.col("group")),
        x_ChargeType=pl.lit("Usage"),
    )
    nothing = [
        pl.lit(None).cast(kind).alias(name) for name, kind in STAGED.items() if name not in told.columns
    ]
    return told.with_columns(nothing).select(pl.col(name).cast(kind) for name, kind in STAGED.items())


async def stage(engine: Engine, rows: int, restated: int) -> None:
    """Leave a reading of the day as closing leaves it, and a run that has the day to publish."""
    now, scope, run = datetime.now(UTC), Scope.parse(SCOPE), f"bench-{restated}"
    generation, name = generation_id(now), slice_name("bench", 0)
    partition = registry_partition(run, name, generation)
    totals = []
    for number, frame in enumerate(frames(rows, restated), 1):
        owned = owned_of(frame, COST)
        totals.append(owned.totals)
        cost = owned.totals["USD"]
        page = Page(
            number=number,
            cursor_in=None,
            cursor_out=None,
            read_at=now,
            raw_rows=len(frame),
            duplicates=0,
            outside=0,
            staged=await engine.staging.write(partition, number, frame),
            sums={DAY: {"USD": Sums(cost, cost, cost, cost, len(frame))}},
            digests={DAY: 1},
            packed=bytes(KEY_BYTES * len(frame)),
            requests=1,
            throttled=0,
            single=False,
        )
        await pages.commit(engine.storage.tables, partition, page)
    total = add_by_currency(totals)
    reading = Reading(
        run=run,
        slice=name,
        generation=generation,
        digest=hashlib.sha256(f"{rows} {restated}".encode()).hexdigest(),
        shape=shape_of("query", default_grouping(scope), ()),
        records=rows,
        totals=total,
        absolutes=total,
        control=total,
        control_kind="query",
        agreed=True,
        read_at=now,
    )
    known = await engine.days.of_scope(METRIC, scope.key, DAY, DAY)
    pointer = known.get(DAY) or Pointer(METRIC, DAY, scope.path, scope.key)
    await engine.days.move(pointer, reading, lambda _: True)
    await engine.runs.open(
        Run(
            id=run,
            kind="run",
            first=DAY,
            last=DAY,
            full=True,
            seeding="bench",
            planned=1,
            scopes=listed(engine.settings.scopes),
            created_at=now,
            seeded=True,
            publishing=True,
        )
    )
    await engine.runs.plan_days([DayTask(run, "bench", METRIC, DAY)])


async def publish(engine: Engine, restated: int) -> None:
    """Publish the day as the queue function does."""
    await publish_day(engine, DayItem(run=f"bench-{restated}", metric=METRIC, day=DAY).encode())
    task = await engine.runs.days(await _run(engine, restated))
    if task[0].state != "published":
        raise AssertionError(task[0].cause)


async def _run(engine: Engine, restated: int) -> Run:
    run = await engine.runs.run(f"bench-{restated}")
    if run is None:
        raise AssertionError("nothing was staged")
    return run


def plain(there: bytes, reading: pl.DataFrame) -> bytes:
    """Do what such tools do: read all that is there, put the reading behind it, keep the last, write all of it."""
    both = pl.concat([pl.read_parquet(there), reading])
    latest = both.unique(subset=["x_RecordId"], keep="last", maintain_order=True)
    buffer = io.BytesIO()
    latest.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


async def _do(action: str, rows: int, restated: int) -> dict[str, float]:
    if action == "plain":
        there = io.BytesIO()
        pl.concat(frames(rows, restated - 1)).write_parquet(there, compression="zstd")
        reading = pl.concat(frames(rows, restated))
        begun = time.perf_counter(), time.process_time()
        plain(there.getvalue(), reading)
        return _took(*begun)
    async with open_engine({**os.environ, **ENVIRON}) as engine:
        await engine.ensure()
        begun = time.perf_counter(), time.process_time()
        await (stage(engine, rows, restated) if action == "stage" else publish(engine, restated))
        took = _took(*begun)
        found = await engine.storage.blobs.list(engine.settings.container, "ledger/")
        return {**took, "bytes": sum([await _size(engine, item.name) for item in found])}


async def _size(engine: Engine, name: str) -> int:
    blob = await engine.storage.blobs.get(engine.settings.container, name)
    return 0 if blob is None else len(blob.data)


def _took(wall: float, cpu: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_do(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))  # noqa: T201
