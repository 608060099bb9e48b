"""What makes the rows of two readings comparable."""

from typing import Any

import pytest

from shared.read.shape import names_groups, shape_of
from shared.scope_list import Source

QUERY, DETAILS = Source.QUERY.value, Source.USAGE_DETAILS.value


def test_order_of_a_grouping_and_of_kinds_means_nothing() -> None:
    assert shape_of(QUERY, ("Meter", "ChargeType"), ()) == shape_of(QUERY, ("ChargeType", "Meter"), ())
    assert shape_of(DETAILS, (), ("modern", "legacy")) == shape_of(DETAILS, (), ("legacy", "modern"))


@pytest.mark.parametrize(
    "other", [(QUERY, ("Meter",), ()), (DETAILS, (), ("modern",)), (DETAILS, (), ("legacy", "modern"))]
)
def test_another_source_grouping_or_kind_of_record_is_another_shape(other: Any) -> None:  # noqa: ANN401
    assert shape_of(*other) != shape_of(DETAILS, (), ("legacy",))
    assert shape_of(*other) != shape_of(QUERY, ("ChargeType",), ())


@pytest.mark.parametrize(
    ("shape", "named"),
    [
        (shape_of(QUERY, ("Meter", "ResourceGroupName"), ()), True),
        (shape_of(QUERY, ("ResourceId",), ()), True),
        (shape_of(QUERY, ("Meter",), ()), False),
        (shape_of(DETAILS, (), ()), True),
        (shape_of(DETAILS, (), ("before_2019",)), True),
    ],
)
def test_records_tell_their_group_and_rows_of_a_query_if_it_was_asked_for(shape: str, *, named: bool) -> None:
    assert names_groups(shape) is named
