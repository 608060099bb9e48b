"""How long a slice and a run may take at the most: what bounds all that may be put off again and again.

Pages, readings and tries are counted and bounded by the settings, and what makes no progress has stalled. But to
wait for the quota is progress, and a service that throttles for ever would be waited for for ever.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.plan.schedule import REQUESTS_OF_A_SLICE
from shared.quota.limits import Limit, slowest
from shared.runs import Run

PATIENCE = timedelta(hours=24)
"""How long a reading may go without a page, the time aside in which the quota serves the slices of all open runs."""

RUN_DEADLINE = timedelta(days=7)
"""What is still open of a run then is failed; its days are read again by the next."""

GRACE = timedelta(days=1)
"""A run that could not be closed in order even then is closed as it is."""


def patience(planned: int, limits: Sequence[Limit]) -> timedelta:
    """Tell how long a slice may go without a page while so many slices share these limits."""
    return PATIENCE + planned * REQUESTS_OF_A_SLICE * slowest(limits)


def is_overdue(run: Run, now: datetime) -> bool:
    """Tell whether all that is open of a run must end."""
    return now - run.created_at > RUN_DEADLINE


def is_lost(run: Run, now: datetime) -> bool:
    """Tell whether a run must be closed, whatever keeps it open."""
    return now - run.created_at > RUN_DEADLINE + GRACE
