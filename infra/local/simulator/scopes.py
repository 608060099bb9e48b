"""The scopes of the synthetic tenant: what each path names and which charges it sees."""

import re
from dataclasses import dataclass
from enum import StrEnum

from infra.local.simulator.charges import NO_SUBSCRIPTION, Line

ACCOUNT_ID = "8611537"
"""The account as an enrollment: its number."""
MODERN_ACCOUNT_ID = "5f1c2d3e-0000-4a6b-8c7d-112233445566:6a2d3e4f-0000-4b7c-9d8e-223344556677_2019-05-31"
"""The same account under a Microsoft Customer Agreement."""
MANAGEMENT_GROUP = "mg-root"
NESTED_GROUP = "mg-platform"
"""A management group inside the other, which holds a part of its subscriptions."""

_SUBSCRIPTION = re.compile(r"/subscriptions/([^/]+)", re.IGNORECASE)
_GROUP = re.compile(r"/subscriptions/([^/]+)/resourcegroups/([^/]+)", re.IGNORECASE)
_MANAGEMENT = re.compile(r"/providers/microsoft\.management/managementgroups/([^/]+)", re.IGNORECASE)
_ACCOUNT = re.compile(r"/providers/microsoft\.billing/billingaccounts/([^/]+)", re.IGNORECASE)
_PROFILE = re.compile(
    r"/providers/microsoft\.billing/billingaccounts/([^/]+)/billingprofiles/([^/]+)", re.IGNORECASE
)

_NARROW = ("ResourceId",)
_WIDE = ("SubscriptionId", "ResourceGroupName")
_COMMON = (
    "ResourceGuid",
    "ServiceName",
    "MeterCategory",
    "Meter",
    "ChargeType",
    "PricingModel",
    "ResourceLocation",
)


class ScopeKind(StrEnum):
    """The kinds of scope that the tenant answers for."""

    SUBSCRIPTION = "subscription"
    RESOURCE_GROUP = "resource group"
    MANAGEMENT_GROUP = "management group"
    BILLING_PROFILE = "billing profile"
    BILLING_ACCOUNT = "billing account"


class UnknownScopeError(LookupError):
    """The path names nothing this tenant has."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope of the tenant, all in lower case.

    `key` is its path; `name` the subscription's id, or the profile's, account's or management group's name.
    """

    key: str
    kind: ScopeKind
    name: str
    group: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether the scope may see more than one subscription."""
        return self.kind not in {ScopeKind.SUBSCRIPTION, ScopeKind.RESOURCE_GROUP}

    @property
    def default_grouping(self) -> tuple[str, ...]:
        """The grouping a reader of this kind of scope uses unless told otherwise."""
        return (*(_WIDE if self.is_wide else _NARROW), *_COMMON)

    def sees(self, line: Line) -> bool:
        """Tell whether the scope's cost includes the line."""
        match self.kind:
            case ScopeKind.SUBSCRIPTION:
                return line.subscription == self.name
            case ScopeKind.RESOURCE_GROUP:
                group = line.dimensions["ResourceGroupName"] or ""
                return line.subscription == self.name and group.lower() == self.group
            case (
                ScopeKind.MANAGEMENT_GROUP
            ):  # no reservation or marketplace purchases, so less than the account
                return line.subscription != NO_SUBSCRIPTION and line.dimensions["ChargeType"] != "Purchase"
            case ScopeKind.BILLING_PROFILE:
                return line.profile.lower() == self.name
            case ScopeKind.BILLING_ACCOUNT:
                return True


def scope_key(path: str) -> str:
    """Give the form under which a scope path is the same in any casing: lower case, no closing slash."""
    return "/" + path.strip("/").lower()


def parse_scope(path: str) -> Scope:
    """Read a scope path, in any casing.

    Raises:
        UnknownScopeError: The path has none of the known forms.
    """
    key = scope_key(path)
    if found := _GROUP.fullmatch(key):
        return Scope(key, ScopeKind.RESOURCE_GROUP, found[1], found[2])
    for pattern, kind, part in (
        (_SUBSCRIPTION, ScopeKind.SUBSCRIPTION, 1),
        (_MANAGEMENT, ScopeKind.MANAGEMENT_GROUP, 1),
        (_PROFILE, ScopeKind.BILLING_PROFILE, 2),
        (_ACCOUNT, ScopeKind.BILLING_ACCOUNT, 1),
    ):
        if found := pattern.fullmatch(key):
            return Scope(key, kind, found[part])
    raise UnknownScopeError(path)
