"""Rows as large as the service takes: they are kept and read back, and what is larger has a named end."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from infra.local.simulator import Tenant
from shared.days import DayBook, Publication, PublishedFile, Written
from shared.ledger.files import ledger_path
from shared.normalise.hashing import KEY_BYTES, unpack
from shared.plan.grouping import default_grouping
from shared.read.cursors import CURSOR_LIMIT
from shared.registry import pages
from shared.registry.generations import Generations
from shared.registry.pages import Page, Sums
from shared.runs import ListedScope, Run, RunBook, RunStatus, SliceState
from shared.scopes import Scope
from shared.settings import SettingsError, load
from shared.storage import Storage, TooLarge, storage_connection
from shared.storage.packing import PACKED_BYTES
from shared.summary import abandoned
from shared.worker import Worker
from tests.faults import Answer
from tests.hostile import HostileStorage, Hostility, hostile
from tests.laptop import fresh_storage, laptop

MOST_ROWS = PACKED_BYTES // KEY_BYTES
"""What one registry entity holds the keys of."""
LARGEST_PAGE = 5000
NOW = datetime(2026, 5, 20, 1, 2, 3, tzinfo=UTC)


@asynccontextmanager
async def cut_account() -> AsyncIterator[tuple[Storage, HostileStorage]]:
    """An account whose queries come one row at a time, with empty pages in between."""
    async with (
        hostile(fresh_storage(), 1, Hostility(pages=(1,), empty=0.5)) as proxy,
        Storage(storage_connection({"COST_STORAGE": proxy.connection_string})) as storage,
    ):
        await storage.ensure(tables=["CostHashes", "CostDays", "CostRuns"])
        yield storage, proxy


def page(number: int, rows: int, cursor: str | None = None) -> Page:
    return Page(
        number=number,
        cursor_in=cursor,
        cursor_out=cursor,
        read_at=NOW,
        raw_rows=rows,
        duplicates=0,
        outside=0,
        staged="pages/r/s/g/000001-0.parquet",
        sums={NOW.date(): {"USD": Sums(records=rows)}},
        digests={NOW.date(): 1},
        packed=os.urandom(KEY_BYTES * rows),
        requests=1,
        throttled=0,
        single=False,
    )


@pytest.mark.parametrize(
    ("rows", "cursor"),
    [(MOST_ROWS, None), (LARGEST_PAGE, "c" * CURSOR_LIMIT)],
    ids=["most rows", "longest cursors"],
)
async def test_pages_of_the_largest_size_are_committed_and_read_back(rows: int, cursor: str | None) -> None:
    """24 bytes a row: 38,400 rows to an entity. A query of them comes in as many pages as there are entities."""
    async with cut_account() as (storage, proxy):
        written = [page(number, rows, cursor) for number in (1, 2, 3)]
        for one in written:
            await pages.commit(storage.tables, "r|s|g", one)

        read = await Generations(storage.tables).load("r|s|g")

        assert [one.cursor_out for one in read.pages.values()] == [cursor] * 3
        assert read.keys.equals(unpack(b"".join(one.packed for one in written)))
        assert proxy.done["cut Table"] >= 3


async def test_page_that_no_entity_holds_is_refused_before_it_is_sent() -> None:
    async with cut_account() as (storage, proxy):
        proxy.done.clear()
        with pytest.raises(TooLarge) as caught:
            await pages.commit(storage.tables, "r|s|g", page(1, MOST_ROWS + 1))

        assert caught.value.code == "EntityTooLarge"
        assert proxy.done["calls"] == 0


def test_page_size_that_no_entity_could_hold_is_no_setting() -> None:
    scope = f"/subscriptions/{uuid4()}"
    assert load({"COST_SCOPES": scope, "COST_PAGE_SIZE": str(LARGEST_PAGE)}).page_size < MOST_ROWS

    with pytest.raises(SettingsError, match="COST_PAGE_SIZE"):
        load({"COST_SCOPES": scope, "COST_PAGE_SIZE": str(LARGEST_PAGE + 1)})


def swollen(answer: Answer) -> Answer:
    """A service that pays no heed to $top: one row more than an entity holds the keys of."""
    status, headers, body = answer
    told: dict[str, Any] = msgspec.json.decode(body)
    rows = told["properties"]["rows"]
    told["properties"]["rows"] = (rows * (MOST_ROWS // len(rows) + 1))[: MOST_ROWS + 1]
    told["properties"]["nextLink"] = None
    return status, headers, msgspec.json.encode(told)


async def test_page_that_no_entity_holds_fails_its_slice_and_the_run_closes_partial() -> None:
    """It would be as large the next time: it is not asked for without end."""
    async with laptop(Tenant(3, subscriptions=1, days=1, rows_per_day=16)) as bench:
        run = await bench.seed()
        bench.edge.heal()
        bench.edge.spoil = swollen

        closed = await Worker(bench.engine).work(run.id)

        assert closed.status is RunStatus.PARTIAL
        assert len(bench.edge.made("api post")) == 1
        piece = await bench.slice(run)
        assert piece.state is SliceState.FAILED
        assert str(piece.cause).startswith(f"PageTooLarge: page 1 of {MOST_ROWS + 1} rows")
        assert await bench.etags("ledger/") == {}


async def test_day_of_3000_subscriptions_is_remembered_with_all_its_files_and_scopes() -> None:
    """An account and two billing profiles see each of them beside its own scope."""
    scopes = [Scope.parse(f"/subscriptions/{uuid4()}") for _ in range(3000)]
    files = tuple(
        PublishedFile(
            ledger_path("AmortizedCost", NOW.date(), str(scope.subscription_id)),
            rows=1,
            bytes=20_480,
            sha256=os.urandom(32).hex(),
            etag=f'"0x8DE{os.urandom(6).hex().upper()}"',
        )
        for scope in scopes
    )
    publication = Publication(
        metric="AmortizedCost",
        day=NOW.date(),
        view={scope.key: (scope.path, os.urandom(32).hex(), "query/1", "reconciled") for scope in scopes},
        listed=tuple(scope.key for scope in scopes),
        scopes_at=NOW,
        as_of=NOW,
        status="reconciled",
        totals={"USD": Decimal("12345678901234567890.123456789012345678")},
        published_at=NOW,
        files=files,
        ended={str(scope.subscription_id): number for number, scope in enumerate(scopes, 1)},
        written={
            str(scope.subscription_id): Written(NOW, settled=True, fingerprint=os.urandom(32).hex())
            for scope in scopes
        },
        alike={
            f"/providers/microsoft.billing/billingaccounts/{name}": tuple(
                sorted(str(scope.subscription_id) for scope in scopes)
            )
            for name in ("8611537", "8611537/billingprofiles/a", "8611537/billingprofiles/b")
        },
    )
    async with cut_account() as (storage, _):
        days = DayBook(storage.tables)
        await days.save_publication(publication)

        read = await days.publication(publication.metric, publication.day)

    assert read is not None
    assert replace(read, etag=None) == publication


async def test_run_of_1000_scopes_that_all_failed_is_remembered_with_every_cause() -> None:
    """400 days, and causes that no compression makes smaller."""
    scopes = tuple(
        ListedScope(scope.path, scope.key, "query", default_grouping(scope), ("ActualCost",))
        for scope in (Scope.parse(f"/subscriptions/{uuid4()}") for _ in range(1000))
    )
    run = Run(
        id="r",
        kind="run",
        first=NOW.date(),
        last=NOW.date() + timedelta(days=399),
        full=True,
        seeding="s",
        planned=1000,
        scopes=scopes,
        created_at=NOW,
        status=RunStatus.PARTIAL,
        closed_at=NOW,
    )
    days = [(run.first + timedelta(days=number)).isoformat() for number in range(400)]
    summary = abandoned(run, "every scope failed")
    (failure,) = summary["failures"]
    summary["failures"] = [
        {**failure, "scope": scope.path, "cause": os.urandom(250).hex()} for scope in scopes
    ]
    summary["days"] = [{"metric": "ActualCost", "day": day, "state": "incomplete"} for day in days]
    run = replace(run, summary=summary)
    async with cut_account() as (storage, _):
        runs = RunBook(storage.tables)
        await runs.open(run)

        read = await runs.run(run.id)

    assert read is not None
    assert replace(read, etag=None) == run
