"""A day's view: what its pointers say, in the terms that decide whether it differs from its publication."""

from collections.abc import Iterable, Mapping

from shared.days import Pointer, Publication, ScopeState
from shared.runs import ListedScope

View = dict[str, tuple[str, str, str, str]]
"""By scope key: path, digest, shape and state; digest and shape are empty where nothing was read."""


def view_of(metric: str, scopes: Iterable[ListedScope], pointers: Iterable[Pointer]) -> View:
    """Give the view of a day: every listed scope of this metric, and every other that still has a reading."""
    view: View = {
        scope.key: (scope.path, "", "", ScopeState.MISSING.value)
        for scope in scopes
        if metric in scope.metrics
    }
    for pointer in pointers:
        reading = pointer.reading
        if reading is None and pointer.key not in view:
            continue
        digest, shape = ("", "") if reading is None else (reading.digest, reading.shape)
        view[pointer.key] = (pointer.scope.lower(), digest, shape, pointer.state.value)
    return {key: (path.lower(), digest, shape, state) for key, (path, digest, shape, state) in view.items()}


def differs(view: Mapping[str, tuple[str, str, str, str]], publication: Publication | None) -> bool:
    """Tell whether a day must be published: it never was, or its view is another one now."""
    return publication is None or dict(publication.view) != dict(view)
