"""An explicit-state search: every state that a model can come to is looked at, breadth first.

Two kinds of promise are checked. A rule must hold in every state; the first state that breaks one is told with a
shortest way to it. And every run must be able to end: from each state a good end must be within reach by moves
that are no faults, so that no recovery is owed to a second disaster. A model that loops for ever without being
able to leave the loop is found out by this; one that could leave it and never happens to is taken to be fair.
"""

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)

ENDS = "from everywhere everything can still come to its good end"
MOST_STATES = 2_000_000


class TooManyStatesError(Exception):
    """The model is larger than anyone wants to wait for: its bounds are wrong."""


class Move(NamedTuple, Generic[S]):
    """One step of somebody, and where it leads. `fault` says that nobody may count on it."""

    label: str
    state: S
    fault: bool = False


@dataclass(frozen=True, slots=True)
class Model(Generic[S]):
    """What can happen from a state, what must hold in each, and what a good end is."""

    start: S
    moves: Callable[[S], Iterable[Move[S]]]
    rules: Mapping[str, Callable[[S], bool]]
    is_good_end: Callable[[S], bool]


@dataclass(frozen=True, slots=True)
class Broken(Generic[S]):
    """A promise that does not hold, with a shortest way from the start to the state that shows it."""

    rule: str
    trace: tuple[str, ...]
    state: S

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:3} {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.rule} is broken after\n{steps}\n  {self.state}"


@dataclass(frozen=True, slots=True)
class Explored(Generic[S]):
    """What a search has seen: all of it, or as far as the first state that breaks a rule."""

    states: int
    transitions: int
    broken: Broken[S] | None


class _Graph(Generic[S]):
    """The states found so far, in the order they were found, and how each was come to."""

    def __init__(self, start: S) -> None:
        self.states = [start]
        self.number = {start: 0}
        self.came_from = array("l", [-1])
        self.came_by = [""]
        self.sources = array("l")
        self.targets = array("l")
        self.transitions = 0

    def add(self, source: int, move: Move[S]) -> None:
        self.transitions += 1
        found = len(self.states)
        target = self.number.setdefault(move.state, found)
        if not move.fault:
            self.sources.append(source)
            self.targets.append(target)
        if target == found:
            self.states.append(move.state)
            self.came_from.append(source)
            self.came_by.append(move.label)

    def trace(self, number: int) -> tuple[str, ...]:
        labels = []
        while number > 0:
            labels.append(self.came_by[number])
            number = self.came_from[number]
        return tuple(reversed(labels))

    def broken(self, rule: str, number: int) -> Explored[S]:
        found = Broken(rule, self.trace(number), self.states[number])
        return Explored(len(self.states), self.transitions, found)


def search(model: Model[S], most: int = MOST_STATES) -> Explored[S]:
    """Look at every state of a model, or stop at the first that breaks a rule.

    Raises:
        TooManyStatesError: there are more than `most` states.
    """
    graph = _Graph(model.start)
    number = 0
    while number < len(graph.states):
        state = graph.states[number]
        for rule, holds in model.rules.items():
            if not holds(state):
                return graph.broken(rule, number)
        for move in model.moves(state):
            graph.add(number, move)
        if len(graph.states) > most:
            raise TooManyStatesError(f"more than {most} states")
        number += 1
    stuck = _first_without_good_end(model, graph)
    if stuck is not None:
        return graph.broken(ENDS, stuck)
    return Explored(len(graph.states), graph.transitions, None)


def _first_without_good_end(model: Model[S], graph: _Graph[S]) -> int | None:
    """Go back from the good ends over moves that are no faults; give the first state that this never meets."""
    before: list[list[int]] = [[] for _ in graph.states]
    for source, target in zip(graph.sources, graph.targets, strict=True):
        before[target].append(source)
    ahead = deque(number for number, state in enumerate(graph.states) if model.is_good_end(state))
    can_end = set(ahead)
    while ahead:
        for source in before[ahead.popleft()]:
            if source not in can_end:
                can_end.add(source)
                ahead.append(source)
    return next((number for number in range(len(graph.states)) if number not in can_end), None)
