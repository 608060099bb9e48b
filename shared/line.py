"""The line of days: all that wait to be published, of all open runs, stand in one queue.

A run's days are planned all at once. One that waits makes no progress of its own; that a day before it ends is its
progress.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.runs import DayTask, Run


@dataclass(frozen=True, slots=True)
class Planned:
    """A run with all the days that it had to publish, ended or not."""

    run: Run
    tasks: Sequence[DayTask]

    @property
    def waiting(self) -> list[DayTask]:
        """The days that are still open."""
        return [task for task in self.tasks if task.state == "open"]

    @property
    def last_end(self) -> datetime | None:
        """When the latest day ended, by the service's clock; None where none has."""
        ends = [task.touched_at for task in self.tasks if task.state != "open"]
        return max((end for end in ends if end is not None), default=None)


def moved(line: Sequence[Planned], task: DayTask) -> datetime | None:
    """Tell when a day last ended that may have stood before this one; None where none has.

    What a run plans that began after this day was last sent stands behind it, and is no reason to wait.
    """
    ends = [
        planned.last_end
        for planned in line
        if planned.run.id == task.run or task.touched_at is None or planned.run.created_at <= task.touched_at
    ]
    return max((end for end in ends if end is not None), default=None)
