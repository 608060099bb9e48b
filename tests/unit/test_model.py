"""The protocols, checked whole: every state that their models can come to keeps every promise.

A model proves nothing unless it can fail: each thing that could be done wrongly is done so once, and the search
must find the promise that this breaks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple, Protocol, TypeVar

import pytest

from tests.model import publishing, reading
from tests.model.publishing_state import DAYS, RUNS
from tests.model.publishing_state import Message as DayMessage
from tests.model.publishing_state import Run as PublishingRun
from tests.model.publishing_state import Worker as Publisher
from tests.model.publishing_state import Wrong as WronglyPublished
from tests.model.publishing_steps import STEPS as PUBLISHING_STEPS
from tests.model.reading_state import Key, PageMessage, Worker
from tests.model.reading_state import Wrong as WronglyRead
from tests.model.reading_steps import STEPS as READING_STEPS
from tests.model.search import ENDS, Model, Move, TooManyStatesError, search

DIES = "pages move, a worker dies"
TWICE = "a worker dies, a message is worked twice"
LOST = "pages move, a message is lost"
TWO_SLICES = "two slices, a worker or the seeder dies"
TWO_RUNS = "two runs on one day"
HANDS = "two runs, a cost changes hands"
CROSSING = "two runs that cross"

READ_WRONGLY = {
    WronglyRead.SENT_IS_MARKED_BEFORE_SENDING: (DIES, reading.NEVER_STALLS),
    WronglyRead.HASHES_OUTLIVE_THEIR_WORKER: (TWO_SLICES, reading.NOT_LOST),
    WronglyRead.PAGE_IS_COMMITTED_BEFORE_ITS_BLOB: (DIES, reading.NOT_LOST),
    WronglyRead.LOSER_OF_THE_INSERT_STOPS: (TWICE, reading.NEVER_STALLS),
    WronglyRead.PAGE_IS_OVERWRITTEN: (DIES, reading.NOT_LOST),
    WronglyRead.BLOBS_ARE_LISTED: (DIES, reading.NOT_TWICE),
    WronglyRead.GENERATIONS_SHARE_PAGES: (LOST, reading.NEVER_STALLS),
    WronglyRead.NO_CONTROL: (DIES, reading.NOT_LOST),
    WronglyRead.VERDICT_IS_STORED_LAST: (DIES, reading.COMPLETE),
    WronglyRead.POINTER_WITHOUT_ETAG: (TWO_RUNS, reading.NEVER_BACK),
    WronglyRead.POINTER_WITHOUT_ORDER: (TWO_RUNS, reading.NEVER_BACK),
    WronglyRead.CONTROL_DATES_THE_READING: (HANDS, reading.NEVER_OLDER),
    WronglyRead.CROSSING_READINGS_COUNT: (CROSSING, reading.NEVER_OLDER),
    WronglyRead.SLICE_WITHOUT_ETAG: (DIES, reading.ALL_ENDED),
    WronglyRead.ENDED_SLICE_IS_NOT_TOLD_AGAIN: (DIES, reading.NEVER_STALLS),
    WronglyRead.LOST_START_IS_NOT_SENT_AGAIN: (DIES, reading.NEVER_STALLS),
    WronglyRead.OTHERS_ARE_LOOKED_AT_BEFORE_THE_END: (TWO_SLICES, reading.NEVER_STALLS),
    WronglyRead.RUN_LOOKS_AT_NO_SLICE: (TWO_SLICES, reading.ALL_ENDED),
    WronglyRead.NO_SWEEP: (LOST, ENDS),
}

FROM_NOTHING = "one after the other, from nothing"
TOGETHER = "two at once, a worker dies"
FRESH_TOGETHER = "two at once, from nothing, a worker dies"

PUBLISHED_WRONGLY = {
    WronglyPublished.POINTERS_ARE_READ_FIRST: (FRESH_TOGETHER, publishing.NEVER_BACK),
    WronglyPublished.BLOBS_ARE_LISTED_LAST: (FRESH_TOGETHER, publishing.NEVER_BACK),
    WronglyPublished.BLOBS_WITHOUT_ETAG: (TOGETHER, publishing.NEVER_BACK),
    WronglyPublished.PUBLICATION_WITHOUT_ETAG: (TOGETHER, publishing.HISTORY_STANDS),
    WronglyPublished.ROW_IS_RESTORED_WITHOUT_ETAG: (TOGETHER, publishing.HISTORY_STANDS),
    WronglyPublished.NOBODY_IS_SHUT_OUT: (TOGETHER, publishing.HISTORY_STANDS),
    WronglyPublished.ANY_ROW_IS_RESTORED_OVER: (TOGETHER, publishing.HISTORY_STANDS),
    WronglyPublished.NO_SECOND_LOOK_AT_THE_POINTERS: (TOGETHER, publishing.RIGHT_IN_THE_END),
    WronglyPublished.GROWING_PARTITIONS_FIRST: (FROM_NOTHING, publishing.NEVER_TWICE),
    WronglyPublished.FILES_ARE_NOT_LOOKED_AT: (TOGETHER, publishing.RIGHT_IN_THE_END),
    WronglyPublished.LEDGER_IS_BELIEVED_UNSEEN: (TOGETHER, publishing.RIGHT_IN_THE_END),
    WronglyPublished.DAY_IS_ENDED_FIRST: (FROM_NOTHING, publishing.RIGHT_IN_THE_END),
    WronglyPublished.RUN_LOOKS_AT_NO_FILES: (publishing.OVERTAKEN, ENDS),
    WronglyPublished.NO_SWEEP: (FROM_NOTHING, ENDS),
}

Tell = Callable[[str, object], None]
C = TypeVar("C")
S = TypeVar("S")


class Working(Protocol):
    """A worker of either model."""

    @property
    def at(self) -> str: ...


W = TypeVar("W", bound=Working)


@pytest.mark.parametrize("name", reading.SCENARIOS)
def test_reading_keeps_every_promise_in_every_state(name: str, record_property: Tell) -> None:
    found = search(reading.model(reading.SCENARIOS[name]))

    record_property("states", found.states)
    record_property("transitions", found.transitions)
    assert found.broken is None, str(found.broken)


@pytest.mark.parametrize("name", publishing.SCENARIOS)
def test_publishing_keeps_every_promise_in_every_state(name: str, record_property: Tell) -> None:
    found = search(publishing.model(publishing.SCENARIOS[name]))

    record_property("states", found.states)
    record_property("transitions", found.transitions)
    assert found.broken is None, str(found.broken)


@pytest.mark.parametrize("wrong", READ_WRONGLY, ids=lambda wrong: wrong.name.lower())
def test_reading_done_wrongly_breaks_a_promise(wrong: WronglyRead) -> None:
    name, rule = READ_WRONGLY[wrong]

    found = search(reading.wrongly(reading.SCENARIOS[name], wrong))

    assert found.broken is not None
    assert found.broken.rule == rule, str(found.broken)


@pytest.mark.parametrize("wrong", PUBLISHED_WRONGLY, ids=lambda wrong: wrong.name.lower())
def test_publishing_done_wrongly_breaks_a_promise(wrong: WronglyPublished) -> None:
    name, rule = PUBLISHED_WRONGLY[wrong]

    found = search(publishing.wrongly(publishing.SCENARIOS[name], wrong))

    assert found.broken is not None
    assert found.broken.rule == rule, str(found.broken)


@pytest.mark.parametrize(
    "wrong", [WronglyPublished.PUBLICATION_WITHOUT_ETAG, WronglyPublished.ROW_IS_RESTORED_WITHOUT_ETAG]
)
def test_row_that_is_saved_blindly_brings_an_older_one_back_as_well(wrong: WronglyPublished) -> None:
    """Its history is lost a step earlier."""
    model = publishing.wrongly(publishing.SCENARIOS[TOGETHER], wrong)
    rules = {publishing.NEVER_BACK: model.rules[publishing.NEVER_BACK]}

    assert search(replace(model, rules=rules)).broken is not None


def test_each_wrong_way_is_tried() -> None:
    assert set(READ_WRONGLY) == set(WronglyRead)
    assert set(PUBLISHED_WRONGLY) == set(WronglyPublished)


def test_publisher_that_is_overtaken_may_show_a_cost_twice_for_a_moment() -> None:
    """A limit of what is promised to those who read by a glob: one publisher at a time never does.

    It is for a moment only: `RIGHT_IN_THE_END` holds in the same scenario.
    """
    true = publishing.model(publishing.SCENARIOS[FRESH_TOGETHER])

    found = search(replace(true, rules={publishing.NEVER_TWICE: publishing.never_twice}))

    assert found.broken is not None
    assert publishing.RIGHT_IN_THE_END in true.rules


def worked(
    steps: Mapping[str, tuple[str, Callable[[C, S, W], tuple[S, W]]]], scenario: C, state: S, worker: W
) -> tuple[S, tuple[str, ...]]:
    """Let one worker do its work with nobody else there; give the state then, and the outside effects it had."""
    effects = []
    while worker.at != "done":
        effect, step = steps[worker.at]
        effects.append(effect)
        state, worker = step(scenario, state, worker)
    return state, tuple(effects)


def test_model_of_reading_has_the_order_that_the_code_is_held_to() -> None:
    state = reading.start(reading.STILL)
    effects = []
    for page in (1, 2, 3):
        worker = Worker("read slice", PageMessage(Key(0, 1, page)))
        state, had = worked(READING_STEPS, reading.STILL, state, worker)
        effects.append(had)

    assert effects == [reading.PAGE_IN_THE_MIDDLE, reading.PAGE_IN_THE_MIDDLE, reading.CLOSING_WITH_CONTROL]


@pytest.mark.parametrize(
    ("lies", "effects"),
    [(1, publishing.DAY_OF_TWO_PARTITIONS), (2, publishing.HALF_WRITTEN_DAY)],
    ids=["as it was left", "half written"],
)
def test_model_of_publishing_has_the_order_that_the_code_is_held_to(
    lies: int, effects: tuple[str, ...]
) -> None:
    scenario = replace(publishing.THERE_AND_BACK, workers=1)
    state = publishing.start(scenario)
    state = state._replace(runs=(*state.runs, PublishingRun()), tasks=(*state.tasks, None))
    state, _ = worked(PUBLISHING_STEPS, scenario, state, Publisher("read run", DayMessage(RUNS, 1)))
    # The second partition lies there, empty: a publisher reads both, and writes both.
    first, _, *others = state.blobs
    assert first is not None
    assert state.publication is not None
    state = state._replace(
        blobs=(first._replace(etag=lies), first._replace(content=""), *others),
        publication=state.publication._replace(files=(1, 1, *state.publication.files[2:])),
    )

    _, had = worked(PUBLISHING_STEPS, scenario, state, Publisher("read run of day", DayMessage(DAYS, 1)))

    assert had == effects


class Count(NamedTuple):
    """A model of the search's own: a number that goes up to three, and may fall into a hole."""

    number: int = 0
    fallen: bool = False


def counting(*, is_fault: bool, way_out: bool | None) -> Model[Count]:
    """Count; a step aside leads into a hole with no way out, or with one that is a fault or none."""

    def moves(state: Count) -> Iterator[Move[Count]]:
        if state.number < 3:
            yield Move(f"to {state.number + 1}", Count(state.number + 1, state.fallen))
        if state.number == 1 and not state.fallen:
            yield Move("fall", Count(1, fallen=True), fault=is_fault)
        if state.fallen and way_out is not None:
            yield Move("climb", Count(state.number), fault=way_out)

    return Model(Count(), moves, {}, lambda state: state == Count(3))


def test_rule_that_breaks_is_told_with_a_shortest_way_to_it() -> None:
    model = replace(counting(is_fault=True, way_out=False), rules={"low": lambda state: state.number < 2})

    found = search(model).broken

    assert found is not None
    assert (found.rule, found.trace, found.state) == ("low", ("to 1", "to 2"), Count(2))


def test_state_from_which_no_good_end_is_in_reach_is_told_with_the_way_into_it() -> None:
    found = search(counting(is_fault=False, way_out=None)).broken

    assert found is not None
    assert (found.rule, found.trace) == (ENDS, ("to 1", "fall"))


@pytest.mark.parametrize(("way_out_is_fault", "holds"), [(True, False), (False, True)])
def test_way_out_counts_only_if_it_is_no_fault(*, way_out_is_fault: bool, holds: bool) -> None:
    """A recovery that waits for a second disaster is none."""
    found = search(counting(is_fault=True, way_out=way_out_is_fault)).broken

    assert (found is None) == holds


def test_model_that_is_too_large_is_given_up_by_name() -> None:
    with pytest.raises(TooManyStatesError, match="more than 3 states"):
        search(counting(is_fault=True, way_out=False), most=3)
