"""The demo proves every digit, and would say so if one were wrong."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from infra.local.demo import main
from infra.local.demo.cells import (
    METRIC,
    by_currency,
    changed_days,
    daily_cells,
    differences,
    ledger_cells,
    moved,
)
from infra.local.demo.published import days_of, rewritten
from infra.local.demo.reading import Reading, wrong, wrong_since
from infra.local.demo.remembered import Remembered, misremembered
from infra.local.simulator import Total, TruthKey
from shared.history.changes import Changes, Moved, MovedDay
from shared.ledger.columns import MONEY
from shared.runs import Run, RunStatus

ROOT = Path(__file__).parents[2]
DAY, NEXT = date(2026, 5, 10), date(2026, 5, 11)
ONE = TruthKey(DAY, "USD", "one")
OTHER = TruthKey(NEXT, "EUR", "other")
DIGIT = Decimal("1e-18")
AT = datetime(2026, 5, 13, tzinfo=UTC)
TRUTH = {ONE: Total(Decimal("12.300000000000000001"), 3), OTHER: Total(Decimal("-0.5"), 1)}


def demo(*options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local", "demo", *options],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def reading(**changed: object) -> Reading:
    run = Run(
        id="a-run",
        kind="timer",
        first=DAY,
        last=NEXT,
        full=True,
        seeding="s",
        planned=1,
        scopes=(),
        created_at=datetime(2026, 5, 12, tzinfo=UTC),
        status=RunStatus.COMPLETE,
        summary={"totals": {"ActualCost": {"USD": "12.300000000000000001", "EUR": "-0.5"}}, "days": []},
    )
    proven = Reading(
        run=run,
        seconds=1.0,
        etags={},
        ledger=TRUTH,
        daily=TRUTH,
        kept={},
        truth=TRUTH,
        requests=1,
        faults={},
    )
    return replace(proven, **changed)  # type: ignore[arg-type]


def test_the_demo_reads_a_small_tenant_through_its_faults_and_proves_it(tmp_path: Path) -> None:
    """GIVEN settings of a real account in the environment WHEN the demo runs THEN it proves its own tenant."""
    small = ("--subscriptions", "3", "--days", "4", "--rows-per-day", "60", "--page-size", "70")

    done = demo(*small, "--folder", str(tmp_path), COST_SCOPES="/subscriptions/real", COST_STORAGE="real")

    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "totals per day, currency and subscription are equal",
        "Proven: exactly the days that the provider changed, by as much.",
        "are what the provider held then, and",
        "no day published, no file touched",
        "import polars as pl",
        "Every total is equal to the last digit.",
    ):
        assert line in done.stdout
    assert "\x1b" not in done.stdout  # no bars and colours where there is no terminal
    assert done.stderr == ""
    totals = by_currency(ledger_cells(tmp_path / "costs"))
    assert set(totals) == {"EUR", "USD"}
    assert totals == by_currency(daily_cells(tmp_path / "costs"))
    assert all(f"{amount:.18f}" in done.stdout for amount in totals.values())
    assert list((tmp_path / "costs" / "manifests").rglob("*.json"))


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("--days", "0", "from 1 to 999"),
        ("--days", "1000", "from 1 to 999"),
        ("--subscriptions", "0", "from 1 on"),
        ("--rows-per-day", "-5", "from 1 on"),
        ("--page-size", "5001", "from 1 to 5000"),
        ("--page-size", "many", "from 1 to 5000"),
    ],
)
def test_a_tenant_that_cannot_be_is_a_usage_error(
    option: str, value: str, limits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([f"{option}={value}"])

    assert ended.value.code == 2
    assert f"argument {option}: '{value}': give a whole number {limits}" in capsys.readouterr().err


def test_what_the_provider_says_is_proven() -> None:
    assert wrong(reading()) == []


@pytest.mark.parametrize("part", ["ledger", "daily"])
def test_one_wrong_digit_is_named(part: str) -> None:
    """GIVEN an amount that is off by its last decimal THEN day, currency, subscription and figures are named."""
    (finding,) = wrong(reading(**{part: {**TRUTH, ONE: Total(TRUTH[ONE].amount + DIGIT, 3)}}))

    assert finding == (
        f"{part}, 2026-05-10 USD of one: published 12.300000000000000002 in 3 rows, "
        "the provider says 12.300000000000000001 in 3"
    )


def test_two_errors_that_cancel_out_in_the_total_are_both_named() -> None:
    two = {ONE: Total(Decimal(1), 1), TruthKey(DAY, "USD", "two"): Total(Decimal(2), 1)}
    swapped = {key: Total(3 - total.amount, 1) for key, total in two.items()}

    assert by_currency(two) == by_currency(swapped)
    assert len(differences("ledger", swapped, two)) == 2


def test_a_lost_cell_and_an_invented_one_are_named() -> None:
    found = differences("daily", {ONE: TRUTH[ONE]}, {OTHER: TRUTH[OTHER]})

    assert len(found) == 2


def test_a_row_of_no_cost_that_is_missing_is_named() -> None:
    (found,) = differences("ledger", {ONE: Total(Decimal(0), 1)}, {ONE: Total(Decimal(0), 2)})

    assert "in 1 rows" in found


def test_a_run_whose_own_totals_are_wrong_is_named() -> None:
    run = replace(reading().run, summary={"totals": {"ActualCost": {"USD": "12.3"}}, "days": []})

    (finding,) = wrong(reading(run=run))

    assert finding.startswith("the run's own totals are")


def test_a_partial_run_is_named_with_cause_and_cure() -> None:
    failure = {"scope": "/subscriptions/one", "cause": "RBACAccessDenied", "cure": "grant the role"}
    summary = {**(reading().run.summary or {}), "failures": [failure]}
    run = replace(reading().run, status=RunStatus.PARTIAL, summary=summary)

    assert wrong(reading(run=run)) == [
        "the run a-run is partial: /subscriptions/one: RBACAccessDenied (grant the role)"
    ]


def test_a_day_that_was_rewritten_for_nothing_is_named_and_one_that_was_not() -> None:
    """GIVEN that the provider changed one day WHEN the file of the other was written THEN both are named."""
    ours, others = "daily/usage_date=2026-05-10/data.parquet", "manifests/2026-05-11.json"
    before = reading(etags={ours: "1", others: "1"})
    after = reading(etags={ours: "2", others: "1"}, truth={**TRUTH, OTHER: Total(Decimal(7), 1)})

    assert wrong_since(before, after) == [
        "2026-05-10 was rewritten, though the provider did not change it",
        "2026-05-11 was not rewritten, though the provider changed it",
    ]


def test_what_the_ledger_remembers_wrongly_is_named() -> None:
    """GIVEN that one day was settled WHEN a digit of it, or of what changed since, is off THEN that is named."""
    before, now = reading(), {ONE: Total(Decimal("12.4"), 3), OTHER: Total(Decimal(7), 1)}
    after = reading(truth=now)
    then, amounts = TRUTH[ONE].amount, Moved.between(TRUTH[ONE].amount, now[ONE].amount)
    told = {(DAY, "USD", "one"): then}
    true = Remembered(AT, (DAY,), told, Changes(days=[MovedDay(METRIC, DAY, "USD", amounts)]))
    assert misremembered(true, before, after) == []

    (believed,) = misremembered(replace(true, then={(DAY, "USD", "one"): then + DIGIT}), before, after)
    (forgotten,) = misremembered(replace(true, changes=Changes()), before, after)

    assert "the provider held 12.300000000000000001" in believed
    assert forgotten.startswith("`changes` says {}, the provider changed")


def test_a_blob_that_came_or_went_counts_as_written() -> None:
    assert rewritten({"2026-05-10/a": "1"}, {"2026-05-11/b": "1"}) == {"2026-05-10/a", "2026-05-11/b"}
    assert days_of({"2026-05-10/a", "2026-05-11/b"}) == {DAY, NEXT}


def test_what_moved_is_told_to_the_last_digit_and_with_its_rows() -> None:
    before = {(DAY, "USD"): Total(Decimal("1e20"), 2), (NEXT, "USD"): Total(Decimal(1), 1)}
    after = {
        (DAY, "USD"): Total(Decimal("100000000000000000000.000000000000000001"), 2),
        (NEXT, "USD"): Total(Decimal(1), 1),
    }

    assert moved(before, after) == {(DAY, "USD"): Total(DIGIT, 0)}


def test_a_day_changes_with_any_of_its_cells() -> None:
    assert changed_days(TRUTH, {**TRUTH, OTHER: Total(Decimal("-0.5"), 2)}) == {NEXT}


def test_the_ledger_is_added_up_from_its_current_records_alone(tmp_path: Path) -> None:
    """GIVEN a record that was replaced WHEN the files are added up THEN only what replaced it counts."""
    partition = tmp_path / "ledger/metric=ActualCost/usage_date=2026-05-10/subscription_id=one"
    partition.mkdir(parents=True)
    pl.DataFrame(
        {
            "BillingCurrency": ["USD", "USD", "EUR"],
            "BilledCost": pl.Series([Decimal("1.5"), Decimal("1.7"), DIGIT], dtype=MONEY),
            "x_ValidTo": [datetime(2026, 5, 13, tzinfo=UTC), None, None],
        }
    ).write_parquet(partition / "data.parquet")

    assert ledger_cells(tmp_path) == {
        ONE: Total(Decimal("1.7"), 1),
        TruthKey(DAY, "EUR", "one"): Total(DIGIT, 1),
    }
