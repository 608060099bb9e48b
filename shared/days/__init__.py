"""Pointers and publications: the rows of the table CostDays.

    METRIC|DAY              scope|KEY       which reading of a scope counts for the day, and its last attempt
    METRIC|DAY              publication     what was last published of the day, and from which readings
    announced|METRIC|DAY    publication     the same, from before the manifest of a publication is written

A pointer only ever moves to a later reading, whoever moves it and in whatever order; its `changed_at` never
goes back. A publication is written last, under its ETag.
"""

from shared.days.book import DayBook
from shared.days.model import (
    LAPSE,
    Announced,
    Attempt,
    Day,
    Owned,
    Pointer,
    Publication,
    PublishedFile,
    Reading,
    ScopeState,
    Written,
    moved,
    noted,
)
from shared.days.rows import TABLE

__all__ = [
    "LAPSE",
    "TABLE",
    "Announced",
    "Attempt",
    "Day",
    "DayBook",
    "Owned",
    "Pointer",
    "Publication",
    "PublishedFile",
    "Reading",
    "ScopeState",
    "Written",
    "moved",
    "noted",
]
