"""Timer triggers: NCRONTAB with six fields, UTC, one run at a time, a failure is not tried again."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from azure.functions.timer import TimerRequest
from cronsim import CronSim, CronSimError

from infra.local.host.draining import finish
from infra.local.host.errors import HostError

# The part of the syntax that NCRONTAB and cronsim have in common: cronsim also takes five fields, L, W and #.
_ATOM = r"(?:\*|\d{1,2}|[A-Za-z]{3})"
_FIELD = re.compile(rf"{_ATOM}(?:-{_ATOM})?(?:/\d+)?(?:,{_ATOM}(?:-{_ATOM})?(?:/\d+)?)*")
_FIELDS = 6


def check_schedule(schedule: str, function: str) -> None:
    """Refuse what is no schedule, and what cronsim would read in another way than the host.

    Raises:
        HostError: with the function, the schedule and what a schedule looks like.
    """
    fields = schedule.split()
    if len(fields) != _FIELDS or not all(_FIELD.fullmatch(field) for field in fields):
        raise HostError(
            f"function `{function}`: `{schedule}` is no schedule of six fields, like `0 0 */4 * * *`"
        )
    if not fields[3].startswith("*") and not fields[5].startswith("*"):
        # NCRONTAB wants both to match, cron either of the two.
        raise HostError(f"function `{function}`: `{schedule}` names days and weekdays; take one of them")
    try:
        CronSim(schedule, datetime.now(UTC))
    except CronSimError as error:
        raise HostError(f"function `{function}`: `{schedule}`: {error}") from error


def next_occurrence(schedule: str, after: datetime) -> datetime:
    """Give the schedule's first time after `after`, which is UTC."""
    return next(CronSim(schedule, after))


class Timer:
    """Fires one function by its schedule, by the rules of the host's TimerListener.

    The next time is counted from the begin of the run before: of the times that pass while a run is under way
    one is made up for, at once.
    """

    def __init__(self, schedule: str, run: Callable[[TimerRequest], Awaitable[bool]]) -> None:
        self._schedule = schedule
        self._run = run
        self._one_at_a_time = asyncio.Lock()
        self._running: asyncio.Future[bool] | None = None
        self._last = datetime.min.replace(tzinfo=UTC)  # the host's own word for never
        self._next = next_occurrence(schedule, datetime.now(UTC))

    async def serve(self) -> None:
        """Fire at each occurrence until cancelled."""
        while True:
            await asyncio.sleep((self._next - datetime.now(UTC)).total_seconds())
            begun = datetime.now(UTC)
            await self.fire()
            # The sleep goes by another clock and may end early: one occurrence must not come twice.
            self._last = max(begun, self._next)
            self._next = next_occurrence(self._schedule, self._last)

    async def fire(self, *, past_due: bool = False) -> bool:
        """Run the function now, or after the run that is under way; tell whether it succeeded.

        The schedule goes on as if nothing had been fired.
        """
        async with self._one_at_a_time:
            self._running = asyncio.ensure_future(self._run(self._request(past_due=past_due)))
            # The end of the host cancels the wait; the run itself is given time by drain.
            return await asyncio.shield(self._running)

    async def drain(self, seconds: float) -> None:
        """Let the run that is under way end; it is cut off after `seconds`."""
        if self._running is not None:
            await finish([self._running], seconds)

    def _request(self, *, past_due: bool) -> TimerRequest:
        last, due = self._last.isoformat(), self._next.isoformat()
        status = {"Last": last, "LastUpdated": last, "Next": due}
        return TimerRequest(past_due=past_due, schedule_status=status, schedule={"AdjustForDST": True})
