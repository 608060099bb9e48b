"""The shape of a reading: what makes its rows comparable with those of another."""

from collections.abc import Mapping, Sequence

from shared.plan.grouping import SHOWS_GROUP
from shared.scope_list import Source

NORMALISATION: Mapping[str, int] = {Source.QUERY: 1, Source.USAGE_DETAILS: 2}
"""Raised when the same answer would make other records: rows of another shape are reshaped, not restated."""


def shape_of(source: str, grouping: Sequence[str], kinds: Sequence[str]) -> str:
    """Name the shape of a day's reading: its source, how records are made, and what they tell.

    That is the grouping, whatever its order, in Query, and the kinds of the day's records in usage_details: under
    another agreement, the same charge is told by other fields.
    """
    return f"{source}|{NORMALISATION[source]}|{','.join(sorted((*grouping, *kinds)))}"


def names_groups(shape: str) -> bool:
    """Tell whether rows of this shape tell their resource group: records do, those of Query if it was asked for."""
    source, _, grouping = shape.split("|")
    return source != Source.QUERY or not SHOWS_GROUP.isdisjoint(grouping.split(","))
