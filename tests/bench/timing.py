"""Times of work that is done again and again, side by side with other work, in one process."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Spent:
    """The median of what one piece of work took, in seconds: by the clock, and of all cores together."""

    wall: float
    cpu: float


def side_by_side(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Spent]:
    """Time each work once a round, in turn, so that whatever slows the machine down slows all of them.

    A first round, in which all is loaded and compiled that ever will be, does not count.
    """
    found: dict[str, list[Spent]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = timed(work)
            if number:
                found[name].append(spent)
    return {
        name: Spent(median(one.wall for one in spent), median(one.cpu for one in spent))
        for name, spent in found.items()
    }


def timed(work: Callable[[], object]) -> Spent:
    """Time a work once."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)
