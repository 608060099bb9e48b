"""The shape of a reading: what makes its rows comparable with those of another."""

from collections.abc import Sequence

NORMALISATION = 1
"""Raised when the same answer would make other records: rows of another shape are reshaped, not restated."""


def shape_of(source: str, grouping: Sequence[str]) -> str:
    """Name the shape of a reading: its source, its grouping whatever the order, and how records are made."""
    return f"{source}|{NORMALISATION}|{','.join(sorted(grouping))}"
