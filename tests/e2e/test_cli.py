"""The command line as a user starts it: a process of its own, the real emulator, the simulator over HTTP."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import sleep
from typing import Any

import polars as pl
import pytest
from azure.data.tables.aio import TableServiceClient

from infra.local.azurite import Azurite
from infra.local.simulator import (
    BillingFaults,
    Faults,
    Metric,
    Running,
    Tenant,
    restate,
    scope_truth,
    serve,
)
from shared.ledger.columns import LEDGER
from shared.ledger.files import daily_path, ledger_path, manifest_path
from shared.normalise.exact import add_by_currency, text
from shared.reconcile.periods import last_closed
from shared.staging import decode, encode
from shared.storage import Storage, storage_connection

ROOT = Path(__file__).parents[2]
RANGE = ("--from", "2026-05-01", "--to", "2026-05-03")
SECONDS = 90


@dataclass(frozen=True, slots=True)
class Laptop:
    """An emulator, a simulator and the settings that name both."""

    running: Running
    environ: Mapping[str, str]

    @property
    def tenant(self) -> Tenant:
        return self.running.simulator.tenant

    def cli(self, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "shared", *argv],
            cwd=ROOT,
            env={**self.environ, **settings},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def change(self, path: str, edit: Callable[[bytes], bytes | None]) -> None:
        """Put other bytes in the place of a published file's, or take it away."""

        async def edited() -> None:
            async with Storage(storage_connection(self.environ)) as storage:
                blob = await storage.blobs.get("costs", path)
                data = edit(b"" if blob is None else blob.data)
                if data is None:
                    await storage.blobs.delete("costs", path)
                else:
                    await storage.blobs.put("costs", path, data)

        asyncio.run(edited())


@pytest.fixture
def laptop(fresh_azurite: Azurite) -> Iterator[Laptop]:
    with serve(Tenant(3, subscriptions=3, days=3, rows_per_day=100)) as running:
        yield Laptop(running, environ_of(running, fresh_azurite))


def environ_of(running: Running, azurite: Azurite) -> dict[str, str]:
    """Give the environment of a user who reads a simulator into an emulator, the quota left aside."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COST_", "ARM_"))}
    settings = {
        **running.settings(),
        "COST_STORAGE": azurite.connection_string,
        "COST_QUOTA_TENANT": "1000/1s",
        "COST_QUOTA_SCOPE": "1000/1s",
    }
    return {**own, **settings}


def only_json(done: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - JSON is anything
    """Read the one JSON value that is all of stdout."""
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_a_run_prints_the_object_of_the_contract_and_the_other_commands_tell_of_it(laptop: Laptop) -> None:
    # WHEN a run reads everything
    done = laptop.cli("run", *RANGE, "--json")

    # THEN stdout is the contract's object and its totals are the simulator's own
    summary = only_json(done)
    assert done.returncode == 0
    assert list(summary) == [
        "run_id",
        "status",
        "slices",
        "pages",
        "rows_read",
        "duplicates_dropped",
        "generations_discarded",
        "requests",
        "throttled",
        "days",
        "totals",
        "failures",
    ]
    assert summary["status"] == "complete"
    assert summary["slices"] == {"total": 3, "reconciled": 3, "failed": 0}
    truth = add_by_currency(
        {key.currency: total.amount}
        for scope in laptop.tenant.subscription_scopes
        for key, total in scope_truth(laptop.tenant, scope, Metric.ACTUAL).items()
    )
    assert summary["totals"] == {"ActualCost": {currency: text(amount) for currency, amount in truth.items()}}
    assert summary["days"] == [
        {"metric": "ActualCost", "day": day.isoformat(), "state": "published"} for day in laptop.tenant.days
    ]
    assert summary["failures"] == []

    # AND status, days and verify say the same
    status = laptop.cli("status", "--json")
    (run,) = only_json(status)["runs"]
    assert (run["run_id"], run["status"], run["pages"]) == (summary["run_id"], "complete", summary["pages"])
    one = only_json(laptop.cli("status", summary["run_id"], "--json"))
    assert [piece["state"] for piece in one["slice_list"]] == ["reconciled"] * 3
    days = laptop.cli("days", *RANGE, "--json")
    assert days.returncode == 0
    assert [(day["state"], day["settled"], day["scopes"]) for day in only_json(days)] == [
        ("reconciled", True, [])
    ] * 3
    checked = laptop.cli("verify", *RANGE, "--json")
    assert checked.returncode == 0
    assert only_json(checked)["differences"] == []
    assert only_json(laptop.cli("purge", "--json"))["slices_failed"] == []


def test_a_refused_scope_exits_with_2_and_names_the_role_on_the_scope(laptop: Laptop) -> None:
    # GIVEN a subscription on which the role is missing
    refused = laptop.tenant.subscription_scopes[1]
    laptop.running.simulator.faults = Faults(refuse={refused: "RBACAccessDenied"})

    done = laptop.cli("run", *RANGE, "--json")

    # THEN the run is partial, the failure says what to do, and the bearer token is in no output
    assert done.returncode == 2
    summary = only_json(done)
    (failure,) = summary["failures"]
    assert summary["status"] == "partial"
    assert failure["scope"] == refused
    assert "RBACAccessDenied" in failure["cause"]
    assert failure["cure"].startswith("grant Cost Management Reader")
    assert failure["cure"].endswith(refused)
    assert laptop.environ["ARM_TOKEN"] not in done.stdout

    # AND days says of each day which scope is missing, and exits with 2
    days = laptop.cli("days", *RANGE)
    assert days.returncode == 2
    assert f"{refused}, 3 days from 2026-05-01 to 2026-05-03: failed: RBACAccessDenied" in days.stdout

    # AND the run as people read it ends the same way, and one scope alone may be read
    shown = laptop.cli("run", *RANGE, "--scope", refused.upper())
    assert shown.returncode == 2
    assert "slices  1: 0 reconciled, 1 failed" in shown.stdout
    assert "cure:  grant Cost Management Reader" in shown.stdout


def test_wrong_settings_and_unknown_scopes_are_told_before_anything_is_called(laptop: Laptop) -> None:
    # WHEN several settings are wrong
    done = laptop.cli(
        "run", *RANGE, "--json", COST_PAGE_SIZE="none", COST_METRIC="ActualCost", COST_QUOTA_TENANT="x"
    )

    # THEN one message names them all
    assert (done.returncode, done.stdout) == (1, "")
    for name in ("COST_PAGE_SIZE", "COST_METRIC", "COST_QUOTA_TENANT"):
        assert f"`{name}`" in done.stderr
    assert "Traceback" not in done.stderr

    # AND a scope that the settings don't have is refused with those they have
    done = laptop.cli("backfill", *RANGE, "--scope", "/subscriptions/of-somebody-else")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert all(scope in done.stderr for scope in laptop.tenant.subscription_scopes)

    # AND nobody was called for either
    assert laptop.running.simulator.journal.requests == 0
    assert asyncio.run(tables_of(laptop)) == []


async def tables_of(laptop: Laptop) -> list[str]:
    async with TableServiceClient.from_connection_string(laptop.environ["COST_STORAGE"]) as service:
        return [table.name async for table in service.list_tables()]


def test_a_fault_is_one_line_without_traceback_or_key(laptop: Laptop) -> None:
    # GIVEN a wrong key
    key = "bm90IHRoZSBrZXk="
    done = laptop.cli("status", COST_STORAGE=with_key(laptop.environ["COST_STORAGE"], key))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "Storage Blob, Queue and Table Data Contributor" in done.stderr
    assert done.stderr.count("\n") == 1
    assert key not in done.stderr

    # GIVEN a run that is not there, under a name that no table key can have
    done = laptop.cli("status", "a/b")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: there is no run 'a/b': `status` without an id lists the runs\n"


def with_key(connection: str, key: str) -> str:
    return ";".join(
        f"AccountKey={key}" if part.startswith("AccountKey=") else part for part in connection.split(";")
    )


def test_a_run_that_is_stopped_says_how_to_go_on_and_stays_open(laptop: Laptop) -> None:
    # GIVEN a run that waits for its second place at the quota gate, which is an hour away
    slow = {"COST_QUOTA_TENANT": "1/1h", "COST_LEASE_SECONDS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "shared", "run", *RANGE],
        cwd=ROOT,
        env={**laptop.environ, **slow},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert process.stdout.readline().startswith("slices ")

        # WHEN it is told to end
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=SECONDS)

    # THEN it does, in one line, and the run is open still
    assert process.returncode == 143
    assert errors.startswith("stopped by SIGTERM: the run stays open")
    assert errors.count("\n") == 1
    (run,) = only_json(laptop.cli("status", "--json"))["runs"]
    assert first.startswith(f"run {run['run_id']}: 3 slices")
    assert run["status"] == "open"
    assert run["slices"]["open"] > 0


def test_history_is_told_from_the_command_line_and_what_cannot_be_asked_is_refused(laptop: Laptop) -> None:
    # GIVEN a ledger of which one charge was restated since
    before = "2026-06-01T02:00+02:00"
    assert laptop.cli("run", *RANGE, "--json").returncode == 0
    earlier = datetime.now(UTC).isoformat()
    moved = restate(laptop.tenant, 1, subscription=laptop.tenant.subscriptions[0]).charges[0]
    sleep(1)  # the service dates its answers in whole seconds: the next reading must come in another one
    assert laptop.cli("run", *RANGE, "--json").returncode == 0
    later = datetime.now(UTC).isoformat()

    # WHEN both commands are asked
    then = only_json(laptop.cli("as-of", earlier, *RANGE, "--json"))
    now = only_json(laptop.cli("as-of", later, *RANGE, "--json"))
    changes = only_json(laptop.cli("changes", "--from", earlier, "--to", later, "--json"))
    unread = laptop.cli("as-of", before, *RANGE)

    # THEN they tell of that charge and of nothing else
    differing = [day["day"] for day, other in zip(then["days"], now["days"], strict=True) if day != other]
    assert differing == [str(moved.day)]
    assert [row["service_name"] for row in changes["changes"]] == [moved.line.dimensions["ServiceName"]]
    assert [row["day"] for row in changes["days"]] == differing
    assert unread.returncode == 0
    assert unread.stdout.startswith("as of 2026-06-01T00:00:00Z\n")
    assert unread.stdout.count(" unread ") == 3

    # AND a time that is none, or that has not come, is refused in one line
    for argv, says in (
        (("as-of", "last week"), "write it as YYYY-MM-DD"),
        (("as-of", "2999-01-01"), "is in the future"),
        (("changes", "--from", later, "--to", earlier), "give the earlier time first"),
    ):
        done = laptop.cli(*argv)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert says in done.stderr


def test_verify_finds_what_was_tampered_with_taken_away_and_left_behind(laptop: Laptop) -> None:
    # GIVEN a published ledger
    assert laptop.cli("run", *RANGE, "--json").returncode == 0
    first, second, third = laptop.tenant.days
    subscription = laptop.tenant.subscriptions[0]
    tampered = ledger_path("ActualCost", first, subscription)
    gone = daily_path("ActualCost", second)
    stray = ledger_path("ActualCost", second, "stray")
    wrong = manifest_path("ActualCost", third)

    # WHEN an amount is changed by the last digit, a file goes, one comes, and a manifest's total is another
    laptop.change(tampered, one_digit_more)
    laptop.change(gone, lambda _: None)
    laptop.change(stray, lambda _: b"anything")
    laptop.change(wrong, other_total)
    done = laptop.cli("verify", *RANGE, "--json")

    # THEN each is found under its name, and nothing else
    assert done.returncode == 2
    found = [(item["path"], item["difference"]) for item in only_json(done)["differences"]]
    assert {path for path, _ in found} == {tampered, gone, stray, wrong}
    assert any(path == tampered and said.startswith("sha256: ") for path, said in found)
    assert (gone, "is missing: the manifest names it") in found
    assert (stray, "lies there unnamed by its manifest") in found
    totals = [said for path, said in found if path == wrong]
    assert [said.split(" adds up")[0].rsplit(",", 1)[1] for said in totals] == [
        " the daily file",
        " the ledger",
    ]


def one_digit_more(data: bytes) -> bytes:
    smallest = pl.lit("0.000000000000000001").cast(pl.Decimal(38, 18))
    return encode(decode(data, LEDGER, "it", "").with_columns(BilledCost=pl.col("BilledCost") + smallest))


def other_total(data: bytes) -> bytes:
    manifest = json.loads(data)
    currency = min(manifest["totals"])
    manifest["totals"][currency] = "1.000000000000000000"
    return json.dumps(manifest).encode()


def test_reconcile_compares_a_month_s_bills_and_names_what_explains_a_mismatch(
    fresh_azurite: Azurite,
) -> None:
    month = last_closed(datetime.now(UTC).date())
    tenant = Tenant(3, subscriptions=3, days=len(month.days), rows_per_day=10, first_day=month.first)
    with serve(tenant) as running:
        laptop = Laptop(running, environ_of(running, fresh_azurite))
        north, south = tenant.billing_profiles
        scopes = json.dumps([north, south])

        # GIVEN nothing read yet THEN the days are missing, and what reads them is said
        done = laptop.cli("reconcile", COST_SCOPES=scopes)
        assert done.returncode == 2
        assert f"cure: `backfill --from {month.first} --to {month.last} --scope {north}`" in done.stdout

        # GIVEN a month read and one bill that is too high THEN one is closed and the other mismatched
        days = ("--from", str(month.first), "--to", str(month.last))
        assert laptop.cli("run", *days, "--json", COST_SCOPES=scopes).returncode == 0
        running.simulator.faults = Faults(billing=BillingFaults(off_by={south: "321"}))
        done = laptop.cli("reconcile", "--month", f"{month.first:%Y-%m}", "--json", COST_SCOPES=scopes)
        assert done.returncode == 2
        said = only_json(done)
        assert said["month"] == f"{month.first:%Y-%m}"
        wrong = [bill for bill in said["bills"] if bill["state"] == "mismatched"]
        assert {bill["state"] for bill in said["bills"]} == {"closed", "mismatched"}
        for bill in wrong:
            assert bill["scope"] == south
            assert abs(Decimal(bill["difference"]) - 321) < 1
            assert bill["explained_by"]

        # AND what is shown names the run that reads the days again, which `run` works too
        shown = laptop.cli("reconcile", COST_SCOPES=scopes)
        assert shown.returncode == 2
        again = wrong[0]["read_again_by"]
        assert f"run {again} reads these days again" in shown.stdout
        assert again in laptop.cli("status", COST_SCOPES=scopes).stdout

        # GIVEN that the bills may not be read THEN that is said, and is no failure
        running.simulator.faults = Faults(billing=BillingFaults(forbidden=(north, south)))
        done = laptop.cli("reconcile", COST_SCOPES=scopes)
        assert done.returncode == 0
        assert f"grant Billing Reader fa23ad8b-c56e-40d8-ac0c-ce449e1d2c64 on {north}" in done.stdout

        # AND a month that cannot be asked for is one line
        done = laptop.cli("reconcile", "--month", "2001-01", COST_SCOPES=scopes)
        assert (done.returncode, done.stdout) == (1, "")
        assert "the service keeps 37 months, give a month from" in done.stderr
