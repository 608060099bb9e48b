"""What a manifest says of a scope."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from shared.days import Attempt, Pointer, Reading, ScopeState
from shared.ledger.cells import ChargeClass
from shared.ledger.manifest import disagreements, told
from shared.ledger.overlaps import Overlap
from shared.ledger.ownership import Assignment

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SCOPE = "/subscriptions/A"
ONE = {"USD": Decimal(1)}
READING = Reading("run", "s", "g", "0", "shape", 1, ONE, ONE, ONE, "query", agreed=True, read_at=NOW)
POINTER = Pointer("ActualCost", date(2026, 5, 1), SCOPE, "key", READING)
REFUSED = Attempt("run", ScopeState.FAILED, "RBACAccessDenied: no role", NOW)
SAYS_OTHERWISE = {SCOPE.lower(): "Disagrees: usage of a: it says 1 USD, the owner 2"}


@pytest.mark.parametrize(
    ("pointer", "disagrees", "said"),
    [
        pytest.param(POINTER, {}, (ScopeState.RECONCILED, None), id="all_well"),
        pytest.param(
            POINTER, SAYS_OTHERWISE, (ScopeState.DISAGREES, SAYS_OTHERWISE[SCOPE.lower()]), id="disagrees"
        ),
        pytest.param(
            replace(POINTER, attempt=REFUSED), {}, (ScopeState.STALE, REFUSED.cause), id="failed_since"
        ),
        pytest.param(
            replace(POINTER, attempt=REFUSED),
            SAYS_OTHERWISE,
            (ScopeState.STALE, f"{REFUSED.cause}; {SAYS_OTHERWISE[SCOPE.lower()]}"),
            id="both",
        ),
    ],
)
def test_scope_tells_why_it_failed_and_that_it_disagrees(
    pointer: Pointer, disagrees: dict[str, str], said: tuple[ScopeState, str | None]
) -> None:
    assert told(pointer, disagrees) == said


def test_scope_that_disagrees_about_many_names_the_largest_differences_and_counts_the_rest() -> None:
    overlaps = tuple(
        Overlap(SCOPE, f"s{more:02}", ChargeClass.USAGE, "USD", Decimal(1), Decimal(1 + more), Decimal(99))
        for more in range(23)
    )
    owned = Assignment(pl.Series([], dtype=pl.Boolean), {}, overlaps)

    said = disagreements(owned, Decimal("1e-9"))[SCOPE.lower()]

    assert said.startswith("Disagrees: usage of s22: it says 23 USD, the owner 1; usage of s21: it says 22")
    assert said.endswith("usage of s03: it says 4 USD, the owner 1; and 2 more")
