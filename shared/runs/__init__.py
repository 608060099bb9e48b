"""Runs, their slices and their days: the rows of the table CostRuns.

    partition `runs`      row RUN                         the run (its existence is the run's existence)
    partition RUN         row slice|SEEDING|0007          one (metric, scope, window) of it
    partition RUN         row day|SEEDING|METRIC|DAY      one day it had to publish
    partition `poison`    row QUEUE|MESSAGE               a message that could not be worked, kept as evidence
    partition `invoices`  row SCOPE|CURRENCY|FROM|TO      a mismatch that was told (shared.reconcile.alerts)

A seeding that died half-way leaves slices that no run row names: every slice carries the name of its seeding,
and only the seeding that the run row names counts.
"""

from shared.runs.book import RunBook
from shared.runs.model import (
    BACKFILL,
    DayTask,
    ListedScope,
    Run,
    RunStatus,
    Slice,
    SliceState,
    registry_partition,
    slice_name,
    started,
)
from shared.runs.rows import TABLE

__all__ = [
    "BACKFILL",
    "TABLE",
    "DayTask",
    "ListedScope",
    "Run",
    "RunBook",
    "RunStatus",
    "Slice",
    "SliceState",
    "registry_partition",
    "slice_name",
    "started",
]
