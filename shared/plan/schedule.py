"""Schedules: NCRONTAB as the Functions host reads it, six fields with the seconds first, in UTC.

`cronsim` does the arithmetic. It knows more than NCRONTAB does and differs on one point, so `check` refuses
what the host would refuse or read in another way; a schedule must mean one thing in both.
"""

import re
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

REQUESTS_OF_A_SLICE = 2
"""What a slice asks at the least when it is planned: a page and its control totals."""

SEED_SCHEDULE = "0 0 */4 * * *"
SWEEP_SCHEDULE = "0 */10 * * * *"
"""What `COST_SEED_SCHEDULE` and `COST_SWEEP_SCHEDULE` are where they are not set."""

RECONCILE_SCHEDULE = "0 0 6 6 * *"
"""When bills are compared: the first morning on which the provider changes the month before no more. Bills may come
later, so each month is compared again on the next two of these mornings."""

_EARLY = timedelta(seconds=1)
"""Hosts fire a few milliseconds early, and clocks differ: a tick this near counts as now."""

_FIELDS = 6
_MONTHS = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
_DAYS = "sun|mon|tue|wed|thu|fri|sat"
_PART = r"(\*|{value}(-{value})?)(/[0-9]{{1,2}})?"
_ALLOWED = (
    "give six NCRONTAB fields, 'second minute hour day month day-of-week' in UTC, "
    "each of numbers, *, ranges, lists and steps, such as '0 0 */4 * * *'"
)


def check(schedule: str) -> str:
    """Give the schedule back if it is one.

    Raises:
        ValueError: it is not NCRONTAB of six fields, restricts both day and day-of-week, or never comes.
    """
    fields = schedule.split()
    if len(fields) != _FIELDS:
        raise ValueError(f"is {schedule!r}, which has {len(fields)} fields: {_ALLOWED}")
    if not all(_is_field(place, field) for place, field in enumerate(fields)):
        raise ValueError(f"is {schedule!r}, which is no schedule: {_ALLOWED}")
    if not fields[3].startswith("*") and not fields[5].startswith("*"):
        # cron fires when either matches, NCRONTAB when both do: no reading is safe.
        raise ValueError(f"is {schedule!r}: restrict the day or the day-of-week, not both")
    try:
        next(CronSim(schedule, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"is {schedule!r}, which is no schedule ({error}): {_ALLOWED}") from error
    except StopIteration:
        raise ValueError(f"is {schedule!r}, which never comes: {_ALLOWED}") from None
    return schedule


def last_tick(schedule: str, now: datetime) -> datetime:
    """Give the schedule's last time up to now (a time due within the next second included), in UTC.

    Raises:
        ValueError: `now` has no time zone.
    """
    # The search excludes its start, and whole seconds are all a schedule knows.
    start = _due(now) + timedelta(seconds=1)
    return next(CronSim(schedule, start, reverse=True))


def next_tick(schedule: str, now: datetime) -> datetime:
    """Give the schedule's first time after `last_tick(schedule, now)`, in UTC.

    Raises:
        ValueError: `now` has no time zone.
    """
    return next(CronSim(schedule, _due(now)))


def run_id_of(tick: datetime) -> str:
    """Name the run of a tick, such as `20260510T040000Z`: two firings of one tick make one run.

    Raises:
        ValueError: `tick` has no time zone.
    """
    return _in_utc(tick).strftime("%Y%m%dT%H%M%SZ")


def _due(now: datetime) -> datetime:
    return (_in_utc(now) + _EARLY).replace(microsecond=0)


def _in_utc(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("a time without a zone stands for no instant")
    return time.astimezone(UTC)


def _is_field(place: int, field: str) -> bool:
    value = {4: rf"([0-9]{{1,2}}|{_MONTHS})", 5: rf"([0-6]|{_DAYS})"}.get(place, "[0-9]{1,2}")
    part = re.compile(_PART.format(value=value), re.IGNORECASE | re.ASCII)
    return all(part.fullmatch(item) for item in field.split(","))
