"""Publishing a day of very many rows of one management group: new, restated and unchanged, beside the plain way."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.local.azurite import start
from tests.bench.big_day import SUBSCRIPTIONS
from tests.bench.figures import Figure, at_least, at_most
from tests.bench.growth import slope

PART = "publish"
ROOT = Path(__file__).parents[2]
SIZES = tuple(map(int, os.environ.get("BENCH_ROWS", "100000,1000000").split(",")))
"""Rows of the day; `BENCH_ROWS=100000,1000000,5000000,20000000` measures all (an hour, and as much memory)."""

GIGABYTE = 10**9
LARGEST, WIDE = 20_000_000, 5_000_000


def figures() -> Iterator[Figure]:
    """Publish days of each size, each step in a process of its own."""
    cpus = {}
    for rows in SIZES:
        with start() as azurite:
            environ = {**os.environ, "COST_STORAGE": azurite.connection_string}
            _child(environ, "stage", rows, 0)
            new = _child(environ, "publish", rows, 0)
            _child(environ, "stage", rows, 1)
            restated = _child(environ, "publish", rows, 1)
            plain = _child(environ, "plain", rows, 1)
        cpus[rows] = new["cpu"]
        name = f"{rows:,} rows, {SUBSCRIPTIONS} subscriptions"
        yield Figure(PART, f"{name}, new", rows / new["wall"], "rows/s")
        yield Figure(PART, f"{name}, new: CPU", new["cpu"], "s")
        yield Figure(PART, f"{name}, new: written", new["bytes"] / rows, "bytes/row")
        yield Figure(PART, f"{name}, 1% restated", rows / restated["wall"], "rows/s")
        yield Figure(PART, f"{name}, 1% restated: CPU", restated["cpu"], "s")
        memory = at_most(1) if rows >= LARGEST else None
        peak = max(new["peak"], restated["peak"]) / GIGABYTE
        yield Figure(PART, f"{name}: peak memory", peak, "GB", memory)
        yield Figure(PART, f"{name}, the plain way: CPU", plain["cpu"], "s")
        times = at_least(5) if rows >= WIDE else None
        yield Figure(
            PART, f"{name}: against the plain way", plain["cpu"] / restated["cpu"], "times less CPU", times
        )
    if len(cpus) > 1:
        yield Figure(PART, "by rows of a day, new", slope(cpus), "slope of CPU", at_most(1.05))


def _child(environ: Mapping[str, str], action: str, rows: int, restated: int) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.big_day", action, str(rows), str(restated)]
    done = subprocess.run(command, cwd=ROOT, env=dict(environ), check=True, stdout=subprocess.PIPE)
    found: dict[str, float] = json.loads(done.stdout)
    return found
