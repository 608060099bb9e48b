"""Places: the instants at which requests may go out, handed out so that no limit is ever exceeded.

A gate keeps the places it gave, past and to come, and answers one question: the earliest instant at which one
more request leaves every sliding window of every limit within its count. In a gate's sorted places a limit of
n per p holds exactly when each place is at least p after the one that stands n places before it.

Why not one theoretical arrival time per limit (GCRA)? With emission interval T and a burst of b it lets up to
p/T + b - 1 requests into a window, so safety in sliding windows costs either the burst (b = 1: a scope of 4/m
waits 15 seconds between its first two requests) or the rate (T = p/(n - b + 1)). And an arrival time only
moves forward: a scope that books its own 4/m far ahead would drag the tenant's along, and every other scope
would wait behind it. Kept places give the whole burst and the whole rate, and the gaps to whoever fits.

A request goes out somewhat after its place, and not always equally late: each window is stretched a little.
"""

import struct
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from shared.quota.limits import Limit, Used

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

_BURST = 1000
"""The most places a window keeps; a larger limit is held as several shorter windows, which is stricter."""

_STRETCH_PERCENT = 3
_LONGEST_STRETCH = timedelta(seconds=2)
"""What one request may be later than another without a window overflowing at the provider."""

_FEW = 5
"""A fifth of a limit."""

_CLOCK_SKEW = timedelta(minutes=1)
"""Places are kept this much longer than they count, for workers whose clocks are behind."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What one tenant or scope has given away; a new gate is empty. All times are aware."""

    places: tuple[datetime, ...] = ()
    """In ascending order: those that still count, and those to come."""
    resume_at: datetime | None = None
    """No request before this time: the end of the last pause."""
    shift: timedelta = timedelta(0)
    """The sum of all pauses so far; a place's holder compares it with the sum at the time of taking."""

    def pack_places(self) -> bytes:
        """Give the places as bytes, eight each (microseconds since 1970, little-endian)."""
        return struct.pack(
            f"<{len(self.places)}q", *((place - _EPOCH) // _MICROSECOND for place in self.places)
        )


def unpack_places(data: bytes) -> tuple[datetime, ...]:
    """Give the places that `Gate.pack_places` packed."""
    return tuple(_EPOCH + number * _MICROSECOND for (number,) in struct.iter_unpack("<q", data))


@dataclass(frozen=True, slots=True)
class Taken:
    """A place, and the gates as they stand with it, in the order they were given."""

    place: datetime
    gates: tuple[Gate, ...]

    @property
    def shifts(self) -> tuple[timedelta, ...]:
        """What the holder keeps beside the place, for `due`."""
        return tuple(gate.shift for gate in self.gates)


def take(now: datetime, gates: Sequence[tuple[Gate, Sequence[Limit]]]) -> Taken:
    """Take the earliest place, from `now` on, that all gates have free, and book it in each of them.

    Deterministic. Gates with room give `now`. As long as `now` does not go back, neither do the places taken
    from the same gates; other gates may still find an earlier one in between.
    """
    held = [([_hold(limit) for limit in limits], gate) for gate, limits in gates]
    place = max([now, *(gate.resume_at for gate, _ in gates if gate.resume_at)])
    while (later := _free(place, held)) > place:
        place = later
    return Taken(place, tuple(_book(gate, limits, place, now) for limits, gate in held))


def pause(gate: Gate, now: datetime, wait: timedelta) -> Gate:
    """Move everything of this gate that is still to come, after an answer that said to wait.

    Places keep their distances, so the end of a pause is no stampede. Of several answers to one overload only
    what goes beyond the pause already under way is added.
    """
    under_way_until = max(now, gate.resume_at or now)
    until = max(under_way_until, now + wait)
    more = until - under_way_until
    start = bisect_left(gate.places, now)
    moved = tuple(place + more for place in gate.places[start:])
    return replace(gate, places=gate.places[:start] + moved, resume_at=until, shift=gate.shift + more)


def learn(gate: Gate, limits: Sequence[Limit], now: datetime, used: Used) -> Gate:
    """Keep places for requests that this gate did not give away, and the service has counted.

    These are the units of a request beyond the first, and what others took: nobody knows when, so it is spread over
    the whole span. Less than a fifth of a limit is left to chance: the service counts a request when it comes, the
    gate when it may go.
    """
    places = [*gate.places, *[now] * min(used.units - 1, _BURST)]
    for limit in sorted(limits, key=lambda limit: limit.per, reverse=True):
        left = used.left.get(limit.per)
        if left is None:
            continue
        known = sum(now - limit.per < place <= now for place in places)
        others = min(limit.count - left - known, _BURST)
        if others * _FEW > limit.count:
            places += [now - limit.per * (2 * number + 1) / (2 * others) for number in range(others)]
    return gate if len(places) == len(gate.places) else replace(gate, places=tuple(sorted(places)))


def due(place: datetime, shifts: Sequence[timedelta], gates: Sequence[Gate]) -> datetime:
    """Tell when the holder of a place may go: at its place, unless a pause moved one of its gates since.

    `shifts` are those of `Taken`, `gates` the same gates as they stand now. The holder takes no new place.
    """
    moved = max((gate.shift - shift for gate, shift in zip(gates, shifts, strict=True)), default=timedelta(0))
    return max([place + moved, *(gate.resume_at for gate in gates if gate.resume_at)])


def _hold(limit: Limit) -> Limit:
    parts = -(-limit.count // _BURST)
    per = limit.per / parts
    return Limit(limit.count // parts, per + min(per * _STRETCH_PERCENT / 100, _LONGEST_STRETCH))


def _free(place: datetime, held: Sequence[tuple[Sequence[Limit], Gate]]) -> datetime:
    for limits, gate in held:
        for limit in limits:
            place = _conforming(place, gate.places, limit)
    return place


def _conforming(place: datetime, places: Sequence[datetime], limit: Limit) -> datetime:
    """Give the earliest time from `place` on at which one more place keeps the limit."""
    while (later := _bound(place, places, limit)) > place:
        place = later
    return place


def _bound(place: datetime, places: Sequence[datetime], limit: Limit) -> datetime:
    """Give a time before which no more place is free, or `place` itself if it is free."""
    count, per = limit.count, limit.per
    at = bisect_right(places, place)
    # Runs of `count` neighbours that the new place would join, the latest first: it moves the place furthest.
    for first in range(min(at - 1, len(places) - count), max(0, at - count) - 1, -1):
        last = max(place, places[first + count - 1])
        if last - places[first] < per:
            return places[first] + per
    # The run that the new place would open. Past its first neighbour it is one of those above.
    if at + count <= len(places) and places[at + count - 1] - place < per:
        return places[at]
    return place


def _book(gate: Gate, limits: Sequence[Limit], place: datetime, now: datetime) -> Gate:
    longest = max((limit.per for limit in limits), default=timedelta(0))
    kept = list(gate.places[bisect_left(gate.places, now - longest - _CLOCK_SKEW) :])
    insort(kept, place)
    return replace(gate, places=tuple(kept))
