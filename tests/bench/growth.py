"""Growth: with which power of its size a cost grows, as the slope of a straight line in a log-log plot."""

from collections.abc import Mapping
from math import log
from statistics import linear_regression


def slope(costs: Mapping[int, float]) -> float:
    """Give the slope of the costs (above zero) by size: 1 grows in proportion, 2 with the square."""
    return linear_regression([log(size) for size in costs], [log(cost) for cost in costs.values()]).slope
