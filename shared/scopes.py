"""Scopes: the ARM paths whose cost is read, and how they lie to one another.

The kinds are those that Cost Management's Query operation takes (its reference, "scope" parameter). Paths are
compared without regard to case, as ARM does, and kept as they were written, as Azure shows them.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256

_BILLING = ("providers", "microsoft.billing", "billingaccounts")
_ID = re.compile(r"[\w.():-]+")
"""An identifier: MCA accounts bring `:`, `_` and `-`, resource groups parentheses, dots and any letter."""

ALLOWED = (
    "/subscriptions/{id}, /subscriptions/{id}/resourceGroups/{name}, "
    "/providers/Microsoft.Management/managementGroups/{id}, "
    "/providers/Microsoft.Billing/billingAccounts/{id} and below it /departments/{id}, "
    "/enrollmentAccounts/{id}, /customers/{id}, /billingProfiles/{id}, "
    "/billingProfiles/{id}/invoiceSections/{id}"
)
"""The shapes a scope may have, as a message names them."""


class ScopeError(ValueError):
    """The text names no scope whose cost can be read; the message says why and what is allowed."""


class ScopeKind(StrEnum):
    """What a scope is."""

    RESOURCE_GROUP = "resource_group"
    SUBSCRIPTION = "subscription"
    INVOICE_SECTION = "invoice_section"
    ENROLLMENT_ACCOUNT = "enrollment_account"
    CUSTOMER = "customer"
    DEPARTMENT = "department"
    BILLING_PROFILE = "billing_profile"
    BILLING_ACCOUNT = "billing_account"
    MANAGEMENT_GROUP = "management_group"


_WIDTHS = {
    ScopeKind.RESOURCE_GROUP: 0,
    ScopeKind.SUBSCRIPTION: 1,
    ScopeKind.INVOICE_SECTION: 2,
    ScopeKind.ENROLLMENT_ACCOUNT: 2,
    ScopeKind.CUSTOMER: 2,
    ScopeKind.DEPARTMENT: 3,
    ScopeKind.BILLING_PROFILE: 3,
    ScopeKind.BILLING_ACCOUNT: 4,
    ScopeKind.MANAGEMENT_GROUP: 5,
}

_SIDE_BY_SIDE = (
    frozenset({ScopeKind.DEPARTMENT, ScopeKind.ENROLLMENT_ACCOUNT}),
    frozenset({ScopeKind.BILLING_PROFILE, ScopeKind.CUSTOMER}),
    frozenset({ScopeKind.INVOICE_SECTION, ScopeKind.CUSTOMER}),
)
"""Kinds of one billing account of which one may hold the other, though neither path shows it."""

_SHAPES: dict[tuple[str, ...], ScopeKind] = {
    ("subscriptions", "*"): ScopeKind.SUBSCRIPTION,
    ("subscriptions", "*", "resourcegroups", "*"): ScopeKind.RESOURCE_GROUP,
    ("providers", "microsoft.management", "managementgroups", "*"): ScopeKind.MANAGEMENT_GROUP,
    (*_BILLING, "*"): ScopeKind.BILLING_ACCOUNT,
    (*_BILLING, "*", "departments", "*"): ScopeKind.DEPARTMENT,
    (*_BILLING, "*", "enrollmentaccounts", "*"): ScopeKind.ENROLLMENT_ACCOUNT,
    (*_BILLING, "*", "customers", "*"): ScopeKind.CUSTOMER,
    (*_BILLING, "*", "billingprofiles", "*"): ScopeKind.BILLING_PROFILE,
    (*_BILLING, "*", "billingprofiles", "*", "invoicesections", "*"): ScopeKind.INVOICE_SECTION,
}
"""Lower-case segments of each kind's path; `*` stands for an identifier."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope; made by `Scope.parse`. Equality and hash go by the lower-case path alone."""

    path: str = field(compare=False)
    """As given, but with a leading and no trailing slash: fits `f"{endpoint}{path}/providers/..."`."""
    kind: ScopeKind = field(compare=False)
    lower_path: str = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "Scope":
        """Read a scope from its path; a leading slash may be missing, one trailing slash may be there.

        Raises:
            ScopeError: the text is no path of a known kind, names a host, carries a query or is escaped.
        """
        _refuse_other_than_a_path(text)
        path = "/" + text.removeprefix("/").removesuffix("/")
        lower_path = path.lower()
        return cls(path, _kind_of(text, tuple(lower_path[1:].split("/"))), lower_path)

    @property
    def key(self) -> str:
        """The scope in table keys: 32 hex characters, the same for every casing of the path."""
        return sha256(self.lower_path.encode()).hexdigest()[:32]

    @property
    def subscription_id(self) -> str | None:
        """The subscription's id in lower case, for a subscription or a resource group."""
        return None if self.is_wide else self.lower_path.split("/")[2]

    @property
    def resource_group(self) -> str | None:
        """The resource group's name in lower case, for a resource group."""
        return self.lower_path.split("/")[4] if self.kind is ScopeKind.RESOURCE_GROUP else None

    @property
    def width(self) -> int:
        """How wide the kind is, from resource group (0) over billing scopes to management group (5).

        Kinds of one width never hold each other. The management group comes last although a billing account
        may hold more: it sees neither reservation nor marketplace purchases.
        """
        return _WIDTHS[self.kind]

    @property
    def is_wide(self) -> bool:
        """Whether the scope is wider than a subscription."""
        return self.width > _WIDTHS[ScopeKind.SUBSCRIPTION]

    @property
    def is_billing(self) -> bool:
        """Whether the scope is a billing account or lies below one; only these see purchases."""
        return self.is_wide and self.kind is not ScopeKind.MANAGEMENT_GROUP

    def contains(self, other: "Scope") -> bool:
        """Whether the paths alone show that `other` lies inside this scope; no scope contains itself.

        A subscription contains its resource groups, a billing account what is written below it. False is no
        proof: which subscriptions a billing scope or a management group holds stands in no path.
        """
        return other.lower_path.startswith(f"{self.lower_path}/")

    def may_contain(self, other: "Scope") -> bool:
        """Whether `other` lies inside this scope or, for a subscription or resource group, might.

        Any billing scope or management group might hold any subscription; between two wide scopes only the
        paths decide.
        """
        return self.contains(other) or (self.is_wide and not other.is_wide)

    def may_share(self, other: "Scope") -> bool:
        """Whether both lie side by side below one billing account and may be billed the same costs.

        A department holds enrollment accounts and a customer is billed through a profile and its sections, but no
        path tells which. Two of one kind never share a cost.
        """
        kinds = frozenset({self.kind, other.kind})
        return kinds in _SIDE_BY_SIDE and self.account == other.account

    @property
    def account(self) -> str:
        """The lower-case path of the billing account, for a billing scope."""
        return "/".join(self.lower_path.split("/")[:5])

    def __str__(self) -> str:
        return self.path


def _refuse_other_than_a_path(text: str) -> None:
    if "://" in text or text.startswith("//"):
        raise ScopeError(f"{text!r} names a host: give the path alone, the host is `ARM_ENDPOINT`")
    if "%" in text:
        raise ScopeError(f"{text!r} is percent-encoded: write the path as the portal shows it")


def _kind_of(text: str, segments: tuple[str, ...]) -> ScopeKind:
    for shape, kind in _SHAPES.items():
        if len(shape) == len(segments) and all(
            want in ("*", got) for want, got in zip(shape, segments, strict=True)
        ):
            _refuse_bad_ids(text, shape, segments)
            return kind
    raise ScopeError(f"{text!r} is no scope; allowed are {ALLOWED}")


def _refuse_bad_ids(text: str, shape: tuple[str, ...], segments: tuple[str, ...]) -> None:
    for want, got in zip(shape, segments, strict=True):
        if want == "*" and (not _ID.fullmatch(got) or got.strip(".") == ""):
            raise ScopeError(
                f"{text!r} has {got!r} where an identifier belongs: "
                "letters, digits and . _ - : ( ) are allowed, dots alone are not"
            )
