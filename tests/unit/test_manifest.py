"""What a manifest says of a scope."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from shared.days import Attempt, Pointer, Reading, ScopeState
from shared.ledger.manifest import told

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
