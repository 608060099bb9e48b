"""The days, times and metrics that a command is about."""

from datetime import date, datetime

from shared.cli.arguments import Asked, UsageError
from shared.cli.instants import instant_text
from shared.engine import Engine
from shared.ledger.files import metrics_lying
from shared.plan.windows import lookback


def range_of(engine: Engine, asked: Asked) -> tuple[date, date]:
    """Give the first and the last day asked for; by default those of the look-back."""
    return asked.days or lookback_at(engine, engine.clock())


def lookback_at(engine: Engine, at: datetime) -> tuple[date, date]:
    """Give the first and the last day of the look-back as it was at a time (UTC)."""
    return lookback(at.date(), engine.settings.lookback_days)


def metrics_of(engine: Engine) -> list[str]:
    """Give the metrics that any of the settings' scopes is read for, in the order of their names."""
    return sorted({metric for item in engine.settings.scopes for metric in item.metrics})


async def metrics_believed(engine: Engine) -> list[str]:
    """Give these metrics and every other that was published once: the past knows no settings."""
    lying = await metrics_lying(engine.storage.blobs, engine.settings.container)
    return sorted({*metrics_of(engine), *lying})


def demand_past(engine: Engine, *times: datetime) -> None:
    """Make sure that times have come already: what will be believed nobody knows.

    Raises:
        UsageError: one of them has not.
    """
    now = engine.clock()
    for time in times:
        if time > now:
            raise UsageError(
                f"{instant_text(time)} is in the future: the last time that can be asked for is now, "
                f"{instant_text(now.replace(microsecond=0))}"
            )
