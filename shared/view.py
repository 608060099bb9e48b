"""A day's view: what its pointers say, in the terms that decide whether it differs from its publication."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from shared.days import Pointer, Publication, ScopeState
from shared.runs import ListedScope, Run

View = dict[str, tuple[str, str, str, str]]
"""By scope key: path, digest, shape and state; digest and shape are empty where nothing was read."""


@dataclass(frozen=True, slots=True)
class ScopeList:
    """The scopes that a day is published for (all of its metric), and when that list came to be."""

    listed: tuple[ListedScope, ...]
    since: datetime

    @property
    def keys(self) -> tuple[str, ...]:
        """The scopes' keys, sorted."""
        return tuple(sorted(scope.key for scope in self.listed))


def scope_list(run: Run, metric: str, publication: Publication | None) -> ScopeList:
    """Take the run's scope list, dated by its change: a list that did not change keeps its time.

    An older run must not bring an older list back over the one a later run has published for.
    """
    listed = tuple(scope for scope in run.scopes if metric in scope.metrics)
    if publication is None:
        return ScopeList(listed, run.created_at)
    if tuple(sorted(scope.key for scope in listed)) == publication.listed:
        return ScopeList(listed, publication.scopes_at)
    if publication.scopes_at > run.created_at:
        view = publication.view
        newer = (ListedScope(view[key][0], key, "", (), (metric,)) for key in publication.listed)
        return ScopeList(tuple(newer), publication.scopes_at)
    return ScopeList(listed, run.created_at)


def settled_at(day: date, settle: timedelta) -> datetime:
    """Give the time from which a day is settled."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1) + settle


def lapsed(pointer: Pointer, settle: timedelta) -> bool:
    """Tell whether a scope has lost the day to the next: read before it settled, and failing for a day since."""
    return lapsed_at(pointer, settle) is not None


def lapsed_at(pointer: Pointer, settle: timedelta) -> datetime | None:
    """Tell when a scope lost the day to the next, None where it has not."""
    reading, attempt = pointer.reading, pointer.attempt
    if reading is None or attempt is None or reading.read_at >= settled_at(pointer.day, settle):
        return None
    return attempt.lapsed_at


def view_of(scopes: ScopeList, pointers: Iterable[Pointer], settle: timedelta) -> View:
    """Give the view of a day: every listed scope, and every other that still has a reading."""
    view: View = {
        scope.key: (scope.path.lower(), "", "", ScopeState.MISSING.value) for scope in scopes.listed
    }
    for pointer in pointers:
        reading = pointer.reading
        if reading is None and pointer.key not in view:
            continue
        digest, shape = ("", "") if reading is None else (reading.digest, reading.shape)
        state = pointer.state.value + (", lapsed" if lapsed(pointer, settle) else "")
        view[pointer.key] = (pointer.scope.lower(), digest, shape, state)
    return view


def differs(
    view: Mapping[str, tuple[str, str, str, str]], scopes: ScopeList, publication: Publication | None
) -> bool:
    """Tell whether a day must be published: never so far, or its view or scope list is another one now."""
    if publication is None or publication.unfinished:
        return True
    return dict(publication.view) != dict(view) or publication.listed != scopes.keys
