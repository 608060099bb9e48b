"""Messages whose names no table key can hold: they are poison, and nothing else is harmed."""

import pytest

from infra.local.simulator import Tenant
from shared.messages import DAYS, PAGES, POISON, QUEUES, RUNS, BadMessage, DayItem, PageItem, RunItem
from shared.sweep import drain
from tests.laptop import laptop

BAD = {
    PAGES: b'{"version":1,"run":"a/b","slice":"x","generation":"g","page":1}',
    RUNS: b'{"version":1,"run":"a#b"}',
    DAYS: b'{"version":1,"run":"a?b","metric":"ActualCost","day":"2026-05-01"}',
}


@pytest.mark.parametrize(("item", "queue"), [(PageItem, PAGES), (RunItem, RUNS), (DayItem, DAYS)])
def test_name_that_no_key_can_hold_is_a_bad_message(
    item: type[PageItem] | type[RunItem] | type[DayItem], queue: str
) -> None:
    with pytest.raises(BadMessage):
        item.decode(BAD[queue])


@pytest.mark.parametrize(
    "body",
    [
        b'{"version":1,"run":"r","metric":"Actual/Cost","day":"2026-05-01"}',
        b'{"version":1,"run":"r","metric":"ActualCost","day":"2026-13-01"}',
    ],
)
def test_day_of_no_metric_or_no_calendar_is_a_bad_message(body: bytes) -> None:
    with pytest.raises(BadMessage):
        DayItem.decode(body)


async def test_poison_with_such_names_is_recorded_and_taken_off_all_queues() -> None:
    """GIVEN one such message on each poison queue WHEN they are drained THEN each is a record, and none is left."""
    async with laptop(Tenant(4, subscriptions=1, days=1, rows_per_day=10)) as bench:
        queues = bench.engine.storage.queues
        for queue, body in BAD.items():
            await queues.send(queue + POISON, body)

        assert await drain(bench.engine) == len(BAD)

        assert [await queues.length(queue + POISON) for queue in QUEUES] == [0, 0, 0]
        assert len(await bench.engine.runs.poison()) == len(BAD)
