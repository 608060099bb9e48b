"""How long a slice and a run may take at the most: what bounds all that may be put off again and again.

Pages, readings and tries are counted and bounded by the settings, and what makes no progress has stalled. But to
wait for the quota is progress, and a service that throttles for ever would be waited for for ever.
"""

from datetime import timedelta

from shared.plan.schedule import REQUESTS_OF_A_SLICE
from shared.quota.details import limits_of
from shared.quota.limits import slowest, spare
from shared.runs import Run
from shared.scope_list import Source
from shared.settings import Settings

PATIENCE = timedelta(hours=24)
"""How long a reading may go without a page, the time aside in which the quota serves the slices of all open runs
but those in the background."""

RUN_DEADLINE = timedelta(days=7)
"""How long a run may go without a page or a published day, the time aside in which the quota serves its slices.

The days that it did not read are read by the next."""

LONGEST_RUN = timedelta(days=90)
"""How long a run may take in any case, that same time aside."""

GRACE = timedelta(days=1)
"""A run that could not be closed in order even then is closed as it is."""


def clearing(settings: Settings, slices: int, *, background: bool) -> timedelta:
    """Tell in what time the quota lets through so many slices, the slowest of its limits holding for each."""
    details = [item.scope.kind for item in settings.scopes if item.source is Source.USAGE_DETAILS]
    limits = [*settings.quota_tenant, *settings.quota_scope]
    for kind in details:
        limits += settings.quota_details or limits_of(kind)
    return slices * REQUESTS_OF_A_SLICE * slowest(spare(limits) if background else limits)


def patience(settings: Settings, slices: int) -> timedelta:
    """Tell how long a slice may go without a page while so many slices share the quota, none in the background.

    One in the background waits for as long as others leave it nothing: its patience is the run's deadline.
    """
    return PATIENCE + clearing(settings, slices, background=False)


def deadline(settings: Settings, run: Run) -> timedelta:
    """Tell how long after its beginning, or after its last progress, all that is still open of a run must end."""
    return RUN_DEADLINE + clearing(settings, run.planned, background=run.background)


def longest_run(settings: Settings, run: Run) -> timedelta:
    """Tell how long after its beginning all that is still open of a run must end, whatever progress it makes."""
    return LONGEST_RUN + clearing(settings, run.planned, background=run.background)
