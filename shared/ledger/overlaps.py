"""What scopes say of one subscription beside each other: who counts in each cell, and do the figures agree.

A cell is a subscription's charges of one class, in a resource group that some scope claims or outside all.

A scope that sees less by its nature disagrees with nobody: subscriptions and management groups are not told of
every purchase, and a billing profile's charges without a subscription are a part of its account's. So charges
other than usage are compared type by type, those that the scope brings, and such a part may be smaller than the
whole, never larger.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from shared.ledger.cells import ChargeClass
from shared.ledger.columns import NO_SUBSCRIPTION
from shared.normalise.exact import near, total
from shared.scopes import Scope

_PURCHASE = "purchase"


@dataclass(frozen=True, slots=True)
class Claim:
    """A scope that has a reading of the day, empty or not.

    `listed`: it is in the settings still. `proven`: the reading is complete and agreed with its control.
    `lapsed`: its scope has failed so long since that it loses the day. What is either unproven or lapsed counts
    only where no other does.
    `names_groups`: its rows tell their resource group, so that a group's own scope can stand for its part of them.
    """

    scope: Scope
    listed: bool = True
    proven: bool = True
    lapsed: bool = False
    names_groups: bool = True

    @property
    def reconciled(self) -> bool:
        """Whether it comes before those that are not."""
        return self.proven and not self.lapsed


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a scope that doesn't count says beside what counts, of one subscription, class and currency.

    A narrow scope that brings no usage where a wider one does stands here too, with nothing as its total.
    `absolute` is the larger of both sums of absolute amounts.
    """

    scope: str
    subscription_id: str
    charge_class: ChargeClass
    currency: str
    owner_total: Decimal
    shadowed_total: Decimal
    absolute: Decimal

    def agrees(self, tolerance: Decimal) -> bool:
        """Whether both are equal up to `tolerance`, relative to the absolute amounts, and a small floor."""
        return near(self.owner_total, self.shadowed_total, self.absolute, tolerance)


@dataclass(frozen=True, slots=True)
class Voice:
    """One scope on one cell: a subscription's charges of a class, in a claimed group or outside all.

    `charge_type` tells those apart that are no usage, in lower case; it is null for usage.
    """

    charge_class: ChargeClass
    group: str | None
    charge_type: str | None
    claim: Claim
    currency: str
    total: Decimal
    absolute: Decimal

    @property
    def where(self) -> "Where":
        """What it is said of."""
        return self.charge_class, self.group, self.charge_type, self.currency


_Kind = tuple[str | None, str]
"""A charge type and a currency."""

Where = tuple[ChargeClass, str | None, str | None, str]
"""A cell of a subscription and a currency: class, group, charge type (null for usage) and currency."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """One cell and currency: who could own it, of those who are asked still, and who does."""

    where: Where
    candidates: tuple[Claim, ...]
    owners: tuple[Claim, ...]

    @property
    def charge_class(self) -> ChargeClass:
        """Whether it is about usage or other charges."""
        return self.where[0]

    @property
    def group(self) -> str | None:
        """The claimed resource group that it is about, None for the rest of the subscription."""
        return self.where[1]


def shadows(one: Scope, other: Scope) -> bool:
    """Whether two scopes that report one subscription see the same costs of it."""
    if one.is_billing and other.is_billing:
        return one.contains(other) or other.contains(one) or one.may_share(other)
    return True


def sees_more(one: Scope, other: Scope) -> bool:
    """Whether of two scopes that see the same costs the first, by its nature, sees charges that the second misses.

    Only who is billed sees every purchase, and what belongs to no subscription is split between the profiles.
    """
    return one.is_billing and (not other.is_billing or one.contains(other))


def distinct(claims: Iterable[Claim]) -> list[Claim]:
    """Give each claim once, in the order they come."""
    return list(dict.fromkeys(claims))


def overlaps(
    subscription: str, voices: Sequence[Voice], rulings: Sequence[Ruling], claims: Sequence[Claim]
) -> Iterator[Overlap]:
    """Compare, for one subscription, each scope that does not count with those that do."""
    for claim in distinct(voice.claim for voice in voices):
        for kind in ChargeClass:
            cells = [
                ruling
                for ruling in rulings
                if ruling.charge_class is kind and claim in ruling.candidates and claim not in ruling.owners
            ]
            yield from _compare(subscription, kind, claim, cells, voices)
    for claim in _silent(subscription, voices, claims):
        group = claim.scope.resource_group
        cells = [
            ruling
            for ruling in rulings
            if ruling.charge_class is ChargeClass.USAGE and group in (None, ruling.group)
        ]
        yield from _compare(subscription, ChargeClass.USAGE, claim, cells, voices)


def _silent(subscription: str, voices: Sequence[Voice], claims: Sequence[Claim]) -> list[Claim]:
    """The subscription's own scopes with a proven reading that has no usage at all."""
    heard = {voice.claim for voice in voices if voice.charge_class is ChargeClass.USAGE}
    return [
        claim
        for claim in claims
        if claim.scope.subscription_id == subscription
        and claim.listed
        and claim.reconciled
        and claim not in heard
    ]


def _compare(
    subscription: str, kind: ChargeClass, claim: Claim, cells: Sequence[Ruling], voices: Sequence[Voice]
) -> Iterator[Overlap]:
    """Set what a scope says of the cells beside what their owners say, per currency."""
    says: dict[_Kind, list[Voice]] = defaultdict(list)
    counts: dict[_Kind, list[Voice]] = defaultdict(list)
    for ruling in cells:
        rivals = [
            owner
            for owner in ruling.owners
            if shadows(owner.scope, claim.scope) and (claim in ruling.candidates or _wider(owner, claim))
        ]
        for voice in voices:
            if voice.where != ruling.where:
                continue
            if voice.claim == claim:
                says[voice.charge_type, voice.currency].append(voice)
            elif voice.claim in rivals:
                counts[voice.charge_type, voice.currency].append(voice)
    brought = {charge for charge, _ in says}
    compared = [
        key
        for key in {*says, *counts}
        if kind is ChargeClass.USAGE
        or (key[0] in brought and not _is_part(subscription, key[0], says[key], counts[key]))
    ]
    for currency in sorted({currency for _, currency in compared}):
        own, owners = (
            [voice for key in compared if key[1] == currency for voice in side[key]]
            for side in (says, counts)
        )
        yield Overlap(
            claim.scope.path,
            subscription,
            kind,
            currency,
            owner_total=total(voice.total for voice in owners),
            shadowed_total=total(voice.total for voice in own),
            absolute=max(absolute_of(own), absolute_of(owners)),
        )


def _is_part(subscription: str, charge: str | None, own: Sequence[Voice], owners: Sequence[Voice]) -> bool:
    """Whether a scope says less than a billing scope of what only billing scopes see all of."""
    if subscription != NO_SUBSCRIPTION and charge != _PURCHASE:
        return False
    return any(voice.claim.scope.is_billing for voice in owners) and absolute_of(own) < absolute_of(owners)


def absolute_of(voices: Iterable[Voice]) -> Decimal:
    """Add up the absolute amounts."""
    return total(voice.absolute for voice in voices)


def _wider(owner: Claim, claim: Claim) -> bool:
    """For a silent scope only a wider one's rows say something: a narrower one owns its own in any case."""
    return owner.scope.width > claim.scope.width
