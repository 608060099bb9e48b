"""The days that a command is about."""

from datetime import date

from shared.cli.arguments import Asked
from shared.engine import Engine
from shared.plan.windows import lookback


def range_of(engine: Engine, asked: Asked) -> tuple[date, date]:
    """Give the first and the last day asked for; by default those of the look-back."""
    return asked.days or lookback(engine.clock().date(), engine.settings.lookback_days)
