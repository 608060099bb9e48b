"""Import times: what a cold start pays before the first message is looked at."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.bench.figures import Figure, at_most

PART = "imports"
ROOT = Path(__file__).parents[2]
ROUNDS = 7


def figures() -> Iterator[Figure]:
    """Import the function app, and the command, in processes of their own; less what an empty one takes."""
    empty = _seconds("pass")
    for what, code, target in (
        ("import function_app", "import function_app", at_most(0.6)),
        ("import shared.__main__", "import shared.__main__", None),
    ):
        yield Figure(PART, what, _seconds(code) - empty, "s", target)


def _seconds(code: str) -> float:
    found = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
        found.append(time.perf_counter() - begun)
    # The first one reads the files from the disk, and writes their bytecode.
    return median(found[1:])
