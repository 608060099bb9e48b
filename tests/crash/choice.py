"""How much of what could be tried is tried: a seeded sample by default, all of it on demand.

COST_TEST_SEED      what the samples are drawn with (default 1)
COST_TEST_POINTS    crash points of each kind: a number, or `all`
COST_TEST_STORMS    storms: a number
"""

import os
from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

SEED = int(os.environ.get("COST_TEST_SEED", "1"))
POINTS = os.environ.get("COST_TEST_POINTS", "10")
STORMS = int(os.environ.get("COST_TEST_STORMS", "12"))


def sample(of: Sequence[T], salt: str) -> Sequence[T]:
    """Choose as many as asked for, the same for the same seed."""
    if POINTS == "all":
        return of
    return Random(f"{SEED}/{salt}").sample(of, min(int(POINTS), len(of)))
