"""A day's view: whatever changes what is published changes the view, and nothing else does."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from shared.days import Attempt, Pointer, Publication, Reading, ScopeState
from shared.runs import ListedScope
from shared.view import ScopeList, View, differs, view_of

DAY = date(2026, 5, 9)
NOW = datetime(2026, 5, 10, tzinfo=UTC)
SETTLE = timedelta(hours=48)
ONE, OTHER = (
    ListedScope(f"/subscriptions/{key.upper()}", key, "query", ("Meter",), ("ActualCost",))
    for key in ("a", "b")
)
LISTED = ScopeList((ONE, OTHER), NOW)
READING = Reading(
    run="r",
    slice="s",
    generation="g",
    digest="d",
    shape="query|1|Meter",
    records=1,
    totals={"USD": Decimal(1)},
    absolutes={"USD": Decimal(1)},
    control={},
    control_kind="query",
    agreed=True,
    read_at=NOW,
)


def pointer(scope: ListedScope, reading: Reading | None = READING, *, failed: bool = False) -> Pointer:
    attempt = Attempt("r", ScopeState.FAILED, "cause", NOW) if failed else None
    return Pointer("ActualCost", DAY, scope.path, scope.key, reading, NOW, attempt)


def view(*pointers: Pointer, scopes: ScopeList = LISTED) -> View:
    return view_of(scopes, pointers, SETTLE)


def published(said: View, scopes: ScopeList = LISTED) -> Publication:
    return Publication(
        metric="ActualCost",
        day=DAY,
        view=said,
        listed=scopes.keys,
        scopes_at=NOW,
        as_of=NOW,
        status="reconciled",
        totals={},
        published_at=NOW,
    )


def test_listed_scope_that_nobody_read_is_missing() -> None:
    assert view(pointer(ONE)) == {
        "a": ("/subscriptions/a", "d", "query|1|Meter", "reconciled"),
        "b": ("/subscriptions/b", "", "", "missing"),
    }


def test_scope_that_left_the_list_stays_in_the_view_as_long_as_it_has_a_reading() -> None:
    only_one = ScopeList((ONE,), NOW)

    assert set(view(pointer(ONE), pointer(OTHER), scopes=only_one)) == {"a", "b"}
    assert set(view(pointer(ONE), pointer(OTHER, None, failed=True), scopes=only_one)) == {"a"}


def test_day_that_was_never_published_differs() -> None:
    assert differs(view(pointer(ONE)), LISTED, None)


def test_day_whose_view_stands_does_not_differ() -> None:
    """A later reading of the same content is no reason to publish."""
    later = replace(READING, run="r2", generation="h", read_at=NOW + timedelta(hours=4))

    assert not differs(
        view(pointer(ONE, later), pointer(OTHER)), LISTED, published(view(pointer(ONE), pointer(OTHER)))
    )


@pytest.mark.parametrize(
    "changed",
    [
        pointer(ONE, replace(READING, digest="e")),
        pointer(ONE, replace(READING, shape="query|1|ResourceId")),
        pointer(ONE, replace(READING, agreed=False)),
        pointer(ONE, failed=True),
        pointer(ONE, None),
    ],
    ids=["content", "shape", "proof", "a failed attempt", "no reading"],
)
def test_other_content_shape_or_state_differs(changed: Pointer) -> None:
    assert differs(view(changed, pointer(OTHER)), LISTED, published(view(pointer(ONE), pointer(OTHER))))


def test_other_scope_list_differs() -> None:
    """A scope that joins must be accounted for, one that leaves no longer, though its rows stay."""
    before = published(view(pointer(ONE), pointer(OTHER)))
    only_one = ScopeList((ONE,), NOW)

    assert differs(view(pointer(ONE), pointer(OTHER), scopes=only_one), only_one, before)


def test_publication_that_was_left_half_way_differs() -> None:
    said = view(pointer(ONE), pointer(OTHER))

    assert differs(said, LISTED, replace(published(said), unfinished=True))
