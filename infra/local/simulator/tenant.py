"""A seeded synthetic tenant: its subscriptions, its days, and every charge of them."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random
from threading import RLock

from infra.local.simulator.charges import NO_SUBSCRIPTION, Charge
from infra.local.simulator.generate import PROFILES, patterns, subscription_ids
from infra.local.simulator.samples import sample_charges
from infra.local.simulator.scopes import (
    ACCOUNT_ID,
    MANAGEMENT_GROUP,
    MODERN_ACCOUNT_ID,
    NESTED_GROUP,
    Scope,
    ScopeKind,
    UnknownScopeError,
    parse_scope,
    scope_key,
)

FIRST_DAY = date(2026, 5, 1)


class Tenant:
    """The charges behind the simulator, the same for the same arguments.

    `rows_per_day` is about what all subscriptions together have on one day. Subscriptions are uneven: the
    first is the largest. The second has charges in both currencies, each third in the other one alone.
    usageDetails tells some charges as several equal records, drawn from `twins_seed` (0: none).
    `data_dir` adds charges made from real billing samples. `version` goes up with each change of the data;
    `lock` is held by whoever reads or changes more than one charge, as tests change what a server reads.

    Raises:
        ValueError: No subscription, day or currency was asked for.
    """

    def __init__(
        self,
        seed: int = 1,
        *,
        subscriptions: int = 12,
        days: int = 31,
        rows_per_day: int = 3000,
        first_day: date = FIRST_DAY,
        currencies: Sequence[str] = ("USD", "EUR"),
        data_dir: Path | None = None,
    ) -> None:
        if subscriptions < 1 or days < 1 or not currencies:
            raise ValueError("a tenant needs a subscription, a day and a currency")
        self.seed = seed
        self.twins_seed = seed
        self.subscriptions = subscription_ids(seed, subscriptions)
        self.days = tuple(first_day + timedelta(days=n) for n in range(days))
        self.version = 0
        self.lock = RLock()
        self._charges: dict[date, dict[str, list[Charge]]] = {
            day: {subscription: [] for subscription in (*self.subscriptions, NO_SUBSCRIPTION)}
            for day in self.days
        }
        self._hidden: set[tuple[str, date]] = set()
        self._generate(rows_per_day, currencies)
        if data_dir is not None:
            for day, charge in sample_charges(data_dir, self.subscriptions):
                self._charges[self.days[(day - 1) % days]][charge.line.subscription].append(charge)

    @classmethod
    def of(cls, charges: Sequence[tuple[date, Charge]]) -> "Tenant":
        """Make a tenant of these charges and no others, each of which is one record of usageDetails.

        Raises:
            ValueError: There is no charge.
        """
        days = sorted({day for day, _ in charges})
        if not days:
            raise ValueError("a tenant needs a charge")
        tenant = cls(days=(days[-1] - days[0]).days + 1, subscriptions=1, first_day=days[0])
        tenant.twins_seed = 0
        owners = {charge.line.subscription for _, charge in charges} - {NO_SUBSCRIPTION}
        tenant.subscriptions = tuple(sorted(owners))
        tenant._charges = {day: {name: [] for name in (*owners, NO_SUBSCRIPTION)} for day in tenant.days}
        for day, charge in charges:
            tenant._charges[day][charge.line.subscription].append(charge)
        return tenant

    @property
    def subscription_scopes(self) -> tuple[str, ...]:
        """The paths of all subscriptions."""
        return tuple(f"/subscriptions/{subscription}" for subscription in self.subscriptions)

    @property
    def billing_account(self) -> str:
        """The path of the billing account, which sees everything."""
        return f"/providers/Microsoft.Billing/billingAccounts/{ACCOUNT_ID}"

    @property
    def modern_account(self) -> str:
        """The path of the same account as a Microsoft Customer Agreement names it."""
        return f"/providers/Microsoft.Billing/billingAccounts/{MODERN_ACCOUNT_ID}"

    @property
    def billing_profiles(self) -> tuple[str, ...]:
        """The paths of the billing profiles; together they see everything, and nothing twice."""
        return tuple(f"{self.billing_account}/billingProfiles/{profile}" for profile in PROFILES)

    @property
    def management_group(self) -> str:
        """The path of the management group: all subscriptions, without purchases."""
        return f"/providers/Microsoft.Management/managementGroups/{MANAGEMENT_GROUP}"

    @property
    def nested_group(self) -> str:
        """The path of the management group below it: the first subscription and each second one after it."""
        return f"/providers/Microsoft.Management/managementGroups/{NESTED_GROUP}"

    def scope(self, path: str) -> Scope:
        """Read a scope path in any casing.

        Raises:
            UnknownScopeError: This tenant has no such scope.
        """
        scope = parse_scope(path)
        known = {
            ScopeKind.SUBSCRIPTION: self.subscriptions,
            ScopeKind.RESOURCE_GROUP: self.subscriptions,
            ScopeKind.MANAGEMENT_GROUP: (MANAGEMENT_GROUP, NESTED_GROUP),
            ScopeKind.BILLING_ACCOUNT: (ACCOUNT_ID, MODERN_ACCOUNT_ID),
            ScopeKind.BILLING_PROFILE: tuple(profile.lower() for profile in PROFILES),
        }
        if scope.name not in known[scope.kind]:
            raise UnknownScopeError(path)
        return scope

    def seen(self, scope: Scope, first: date, last: date) -> Iterator[tuple[date, Charge]]:
        """Give the charges that a scope sees from `first` to `last`, both included, in their order."""
        for day in self.days:
            if first <= day <= last and (scope.key, day) not in self._hidden:
                for name in self._below(scope):
                    yield from (
                        (day, charge) for charge in self._charges[day][name] if scope.sees(charge.line)
                    )

    def _below(self, scope: Scope) -> Sequence[str]:
        if not scope.is_wide:
            return (scope.name,)
        return (
            self.subscriptions[::2] if scope.name == NESTED_GROUP else (*self.subscriptions, NO_SUBSCRIPTION)
        )

    def charges(self, day: date, subscription: str) -> tuple[Charge, ...]:
        """Give the charges of a day and a subscription (or `none`).

        Raises:
            KeyError: The tenant has no such day or subscription.
        """
        return tuple(self._charges[day][subscription])

    def put(self, day: date, subscription: str, charges: Iterable[Charge]) -> None:
        """Replace the charges of a day and a subscription (or `none`).

        Raises:
            KeyError: The tenant has no such day or subscription.
        """
        with self.lock:
            self._charges[day][subscription][:] = charges
            self.version += 1

    def vanish(self, path: str, day: date) -> None:
        """Let a scope answer nothing for a day, though its charges exist and wider scopes still see them."""
        with self.lock:
            self._hidden.add((scope_key(path), day))
            self.version += 1

    def appear(self, path: str, day: date) -> None:
        """Undo `vanish`."""
        with self.lock:
            self._hidden.discard((scope_key(path), day))
            self.version += 1

    def _generate(self, rows_per_day: int, currencies: Sequence[str]) -> None:
        rng = Random(f"{self.seed}/charges")
        made = patterns(self.seed, self.subscriptions, rows_per_day, currencies)
        for index, day in enumerate(self.days):
            of_day = self._charges[day]
            for pattern in made:
                if charge := pattern.charge(index, rng):
                    of_day[pattern.line.subscription].append(charge)
