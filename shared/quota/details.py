"""The quota of usageDetails: so many requests a minute for each scope, by its kind, and none for the tenant.

Source: learn.microsoft.com, Consumption API "rate limits" (10 a minute for a subscription, 6 for a billing account,
2 for a management group). Its 429 still moves the places of all scopes: it may speak for the whole tenant.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from shared.quota.gate import QuotaGate
from shared.quota.limits import Limit
from shared.scopes import ScopeKind
from shared.storage.tables import Tables

API = "usage_details"

_MINUTE = timedelta(minutes=1)
_NARROW = frozenset({ScopeKind.SUBSCRIPTION, ScopeKind.RESOURCE_GROUP})


def limits_of(kind: ScopeKind) -> tuple[Limit, ...]:
    """Give the published limits of a kind of scope."""
    if kind in _NARROW:
        return (Limit(10, _MINUTE),)
    return (Limit(2 if kind is ScopeKind.MANAGEMENT_GROUP else 6, _MINUTE),)


def details_gates(tables: Tables, limits: Sequence[Limit] | None) -> Mapping[ScopeKind, QuotaGate]:
    """Make the gates of usageDetails by kind of scope; `limits` are those of the settings, if they name any."""
    return {
        kind: QuotaGate(tables, (), limits_of(kind) if limits is None else limits, api=API)
        for kind in ScopeKind
    }
