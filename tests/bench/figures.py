"""Figures: what the benchmark found, as a table for people and as JSON for whatever compares two runs."""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from operator import ge, le
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

_HOLDS = {">=": ge, "<=": le}
_PACKAGES = ("polars", "polars-hash", "msgspec", "azure-data-tables", "azure-storage-blob")


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure has to be."""

    sign: Literal[">=", "<="]
    value: float

    def __str__(self) -> str:
        return f"{'≥' if self.sign == '>=' else '≤'} {_number(self.value)}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: of which part, its name, value and unit, and its target where it has one."""

    part: str
    name: str
    value: float
    unit: str
    target: Target | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it reaches its target; None without one."""
        return None if self.target is None else bool(_HOLDS[self.target.sign](self.value, self.target.value))


def at_least(value: float) -> Target:
    """Make a target that is reached from below."""
    return Target(">=", value)


def at_most(value: float) -> Target:
    """Make a target that is not to be exceeded."""
    return Target("<=", value)


def table(figures: Iterable[Figure]) -> Table:
    """Lay figures out for people."""
    found = Table("part", "figure", "value", "unit", "target", "", box=None, pad_edge=False)
    for column in (2, 4):
        found.columns[column].justify = "right"
    for figure in figures:
        said = {None: "", True: "holds", False: "MISSED"}[figure.holds]
        target = "" if figure.target is None else str(figure.target)
        found.add_row(figure.part, figure.name, _number(figure.value), figure.unit, target, said)
    return found


def described(figures: Iterable[Figure]) -> dict[str, Any]:
    """Give figures with the machine and the versions that they were measured on."""
    return {
        "machine": machine(),
        "figures": [{**asdict(figure), "holds": figure.holds} for figure in figures],
    }


def machine() -> Mapping[str, str]:
    """Say what the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    """Name the processor as Linux does; elsewhere its architecture has to do."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _number(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
