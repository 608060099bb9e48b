"""Published files that are not what their manifest says: how the commands name them."""

from dataclasses import asdict
from datetime import date
from typing import Any

from shared.ledger.published_day import Finding


def described(metric: str, day: date, finding: Finding) -> dict[str, Any]:
    """Give a difference as JSON has it."""
    return {"metric": metric, "day": day.isoformat(), **asdict(finding)}


def line(finding: Finding) -> str:
    """Write a difference on one line."""
    return f"differs: {finding.path}: {finding.difference}"
