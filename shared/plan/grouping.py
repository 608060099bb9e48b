"""Groupings: the dimensions a reading is split by, and which of them a scope allows and needs.

The service took a dimension away without notice (June 2025), so the grouping is a setting, and the dimensions
known here only catch slips of the pen; what the service refuses today is a clear error of the reading.
"""

from collections.abc import Sequence
from difflib import get_close_matches

from shared.scopes import Scope

DIMENSIONS = (
    "SubscriptionId",
    "ResourceId",
    "ResourceGroupName",
    "ResourceLocation",
    "ResourceType",
    "ResourceGuid",
    "MeterCategory",
    "MeterSubcategory",
    "Meter",
    "ServiceName",
    "ChargeType",
    "PublisherType",
    "PricingModel",
    "Frequency",
    "ReservationId",
    "BenefitId",
)
"""The dimensions that Cost Management's Query takes. `ResourceGuid` is the meter's id."""

TAG = "tag:"
"""What a grouping by a tag's key starts with."""

_COMMON = (
    "ResourceGuid",
    "ServiceName",
    "MeterCategory",
    "Meter",
    "ChargeType",
    "PricingModel",
    "ResourceLocation",
)
_NARROW = ("ResourceId", *_COMMON)
_WIDE = ("SubscriptionId", "ResourceGroupName", *_COMMON)

_ALWAYS = ("ServiceName", "ChargeType")
SHOWS_GROUP = frozenset({"ResourceId", "ResourceGroupName"})
"""The dimensions of which one tells a row's resource group."""


def default_grouping(scope: Scope) -> tuple[str, ...]:
    """Give the grouping of a scope whose settings name none: by resource, or wider by resource group."""
    return _WIDE if scope.is_wide else _NARROW


def check_grouping(grouping: Sequence[str]) -> tuple[str, ...]:
    """Give the grouping back if some scope can be read with it.

    Raises:
        ValueError: a dimension is unknown, named twice or missing, or two tags are asked for. The message
            names all that is wrong and goes on from the name of the setting.
    """
    problems = [problem for name in grouping for problem in _name_problems(name)]
    problems += [f"names {name} twice" for name in sorted({n for n in grouping if grouping.count(n) > 1})]
    problems += [f"must name {name}" for name in _ALWAYS if name not in grouping]
    if sum(name.startswith(TAG) for name in grouping) > 1:
        # The answer would carry two columns TagKey and two TagValue, and columns are told apart by name.
        problems.append("names more than one tag, one is allowed")
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(grouping)


def scope_problems(scope: Scope, grouping: Sequence[str]) -> list[str]:
    """List why this scope cannot be read with a grouping that is right in itself."""
    if not scope.is_wide:
        return []
    problems = []
    if "ResourceId" in grouping:
        problems.append("ResourceId is refused by the service above a subscription: use ResourceGroupName")
    if "SubscriptionId" not in grouping:
        problems.append("a scope wider than a subscription must be grouped by SubscriptionId")
    return problems


def overlap_problem(narrow: Scope, wide: Scope, wide_grouping: Sequence[str]) -> str | None:
    """Say why the rows of a resource-group scope could not be told apart within a wider one, or None.

    The narrower scope owns the usage of its group, so the wider reading must show each row's group.
    """
    if narrow.resource_group is None or not wide.may_contain(narrow) or SHOWS_GROUP & set(wide_grouping):
        return None
    return f"{wide} must be grouped by ResourceGroupName or ResourceId, because {narrow} is a scope too"


def _name_problems(name: str) -> list[str]:
    if name.startswith(TAG):
        return [] if name.removeprefix(TAG).strip() else ["names a tag without its key: write tag:NAME"]
    if name == "InvoiceId":
        return ["names InvoiceId, which the provider fills in later: a row would change its identity by it"]
    if name in DIMENSIONS:
        return []
    closest = get_close_matches(name, DIMENSIONS, n=1)
    hint = f"did you mean {closest[0]}?" if closest else f"known are {', '.join(DIMENSIONS)} and tag:NAME"
    return [f"names {name!r}, which is no dimension: {hint}"]
