"""How long a window may be: a scope that was seen to be very large is read in shorter ones.

While a reading turns its pages the data moves on, and what moved is read again from its first page: the longer a
reading takes, the more of it is thrown away. A scope gives four pages a minute.
"""

from collections.abc import Collection, Mapping
from datetime import date, timedelta

from shared.engine import Engine
from shared.read.sources import page_size
from shared.scope_list import Period
from shared.settings import ScopeSettings
from shared.versions import tell

PAGES = 50
"""So many pages a window should have at the most."""

LATELY = timedelta(days=7)


async def longest_windows(
    engine: Engine, scopes: Collection[ScopeSettings], today: date
) -> Mapping[tuple[str, str], int]:
    """Give the days that a window may have, by metric and scope key, of those scopes whose size is known.

    By the largest of their days of the last week: today's has only begun. A metric of 1,000 scopes takes
    eight Table calls, however long the range is that is planned.
    """
    largest: dict[tuple[str, str], int] = {}
    for metric in sorted({metric for item in scopes for metric in item.metrics}):
        days = await engine.days.days(metric, today - LATELY, today, refused=lambda _, error: tell(error))
        for pointer in (pointer for known in days.values() for pointer in known.pointers):
            if pointer.reading is not None:
                key = metric, pointer.key
                largest[key] = max(largest.get(key, 0), pointer.reading.records)
    return {
        (metric, item.scope.key): max(1, _rows(engine, item) // rows)
        for item in scopes
        for metric in item.metrics
        # A billing period has the days that it has, whatever part of it is wanted.
        if item.period is not Period.BILLING_PERIOD and (rows := largest.get((metric, item.scope.key)))
    }


def _rows(engine: Engine, item: ScopeSettings) -> int:
    return PAGES * page_size(item.source, engine.settings.page_size)
