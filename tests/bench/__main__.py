"""`python -m tests.bench [PART ...] [--out FILE]`: runs parts of the benchmark, all of them without a name."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from tests.bench import calls, imports, page_path, publish, quota
from tests.bench.figures import Figure, described, machine, table

PARTS: Mapping[str, Callable[[], Iterator[Figure]]] = {
    "pages": page_path.figures,
    "publish": publish.figures,
    "calls": calls.figures,
    "imports": imports.figures,
    "quota": quota.figures,
}


def main() -> int:
    """Print the figures, and write them where they are wanted; exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--out", type=Path, help="where the figures are written as JSON")
    asked = parser.parse_args()
    if unknown := set(asked.parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    console = Console(width=None if Console().is_terminal else 160)
    console.print(", ".join(machine().values()))
    figures: list[Figure] = []
    for name in asked.parts or PARTS:
        with console.status(name):
            figures += PARTS[name]()
    console.print(table(figures))
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps(described(figures), indent=2) + "\n", encoding="utf-8")
    return int(any(figure.holds is False for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main())
