"""In which order scopes are asked for their bills, so that a tight quota keeps no scope from its turn for ever."""

from collections.abc import Sequence
from datetime import date

from shared.reconcile.periods import number_of
from shared.scopes import Scope, ScopeKind

_TIMES_COMPARED = 3
"""How many timers compare a month (`lately_closed`)."""


def in_turn(scopes: Sequence[Scope], today: date) -> list[Scope]:
    """Put scopes in the order in which they are asked on a day.

    Profiles and accounts come first: one bill of theirs is that of many subscriptions. Within these and within
    the subscriptions another third begins each month, and another scope of it each time round: the three timers
    that compare a month begin at three places, and in time each scope comes first.
    """
    narrow = [scope for scope in scopes if scope.kind is ScopeKind.SUBSCRIPTION]
    wide = [scope for scope in scopes if scope.kind is not ScopeKind.SUBSCRIPTION]
    return [*_turned(wide, today), *_turned(narrow, today)]


def _turned(scopes: Sequence[Scope], today: date) -> list[Scope]:
    if not scopes:
        return []
    month = number_of(today)
    third = -(-len(scopes) // _TIMES_COMPARED)
    first = (month * third + month // _TIMES_COMPARED) % len(scopes)
    return [*scopes[first:], *scopes[:first]]
