"""Whose reading counts, where several scopes report one subscription.

For each metric, day, subscription and class of charge one reading counts; the others are shadowed: not
published, but counted and compared. Usage belongs to the most specific scope that brings rows of it, and a
resource group's usage to that group's own scope. Other charges, and rows without a subscription, belong to
the widest billing scope that brings them, since only it sees reservation and marketplace purchases; where
none does, to whom usage would belong. Two billing scopes neither of which contains the other see different
costs, so both count. "Brings rows" is the measure, because an empty reading is no proof of zero.

Who left the settings counts after all the others, for what those who are there don't report: usage, or a type of
other charges; so does a billing scope that failed for too long, for purchases and the like.

Where a reading that counts was made without resource groups, a group's own scope is shadowed: the
settings refuse the two side by side, but a reading from before, or of a scope that left, may still be there.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from shared.ledger.cells import CELL, ChargeClass, with_cells
from shared.ledger.overlaps import (
    Claim,
    Overlap,
    Ruling,
    Voice,
    Where,
    absolute_of,
    distinct,
    overlaps,
    sees_more,
    shadows,
)
from shared.normalise.decimals import money_sum
from shared.normalise.exact import near

__all__ = ["Assignment", "Claim", "Overlap", "assign"]

_VOICE = (*CELL, "currency", "scope")


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who owns what of a day.

    `owned` says of each row, in the rows' order, whether it counts. `shadowed` has the totals of those that
    do not, by scope and currency. `overlaps` are in a fixed order.
    """

    owned: pl.Series
    shadowed: dict[str, dict[str, Decimal]]
    overlaps: tuple[Overlap, ...]


def assign(rows: pl.DataFrame, claims: Sequence[Claim], *, cost: str, tolerance: Decimal) -> Assignment:
    """Decide for one metric and day which rows count.

    Args:
        rows: the columns of `STAGED` and x_SourceScope, from the one current reading of each scope.
        claims: every scope with a reading of this day, those with an empty one included.
        cost: the column of the metric's cost.
        tolerance: by how much two sums of the same charges may differ, relative to their absolute amounts.

    Raises:
        ValueError: a row comes from a scope without a claim.
        polars.exceptions.InvalidOperationError: a total has more than 20 digits before the point.
    """
    by_path = {claim.scope.lower_path: claim for claim in claims}
    keyed = with_cells(rows, (claim.scope for claim in claims)).with_columns(currency="BillingCurrency")
    unknown = keyed.filter(~pl.col("scope").is_in(list(by_path)))
    if not unknown.is_empty():
        raise ValueError(f"rows of {unknown['scope'][0]} came without its claim to the day")
    contests = _contests(_sum_up(keyed, cost), by_path)
    rulings = {subscription: list(_rule(voices, tolerance)) for subscription, voices in contests.items()}
    owned = _mask(keyed, rulings)
    found = (
        overlap
        for subscription, voices in contests.items()
        for overlap in overlaps(subscription, voices, rulings[subscription], claims)
    )
    return Assignment(owned, _shadowed(keyed, owned, cost, by_path), tuple(found))


def _sum_up(keyed: pl.DataFrame, cost: str) -> pl.DataFrame:
    absolute = keyed.select(*_VOICE, total=pl.col(cost), absolute=pl.col(cost).abs())
    return absolute.group_by(_VOICE).agg(money_sum("total"), money_sum("absolute")).sort(_VOICE)


def _contests(voices: pl.DataFrame, by_path: dict[str, Claim]) -> dict[str, list[Voice]]:
    """Give the voices of each subscription on which more than one scope has a reading: most have one only."""
    narrow = [
        (claim.scope.subscription_id, path) for path, claim in by_path.items() if not claim.scope.is_wide
    ]
    silent = pl.DataFrame(narrow, schema={"subscription_id": pl.String, "scope": pl.String}, orient="row")
    present = pl.concat([voices.select("subscription_id", "scope"), silent]).unique()
    contested = present.group_by("subscription_id").len().filter(pl.col("len") > 1)
    result: dict[str, list[Voice]] = defaultdict(list)
    for subscription, kind, group, charge, currency, path, total, absolute in voices.join(
        contested, on="subscription_id", how="semi", maintain_order="left"
    ).iter_rows():
        voice = Voice(ChargeClass(kind), group, charge, by_path[path], currency, total, absolute)
        result[subscription].append(voice)
    return dict(result)


def _rule(voices: Sequence[Voice], tolerance: Decimal) -> Iterator[Ruling]:
    """Find the owners of each cell of a subscription."""
    cells: dict[tuple[ChargeClass, str | None], dict[Where, None]] = defaultdict(dict)
    for voice in voices:
        cells[voice.charge_class, voice.group][voice.where] = None
    for (kind, group), places in cells.items():
        # A scope as wide as the subscription speaks for all its groups, also for one it brings no rows of.
        here = [
            voice
            for voice in voices
            if voice.charge_class is kind and voice.claim.scope.resource_group in (None, group)
        ]
        listed = distinct(voice.claim for voice in here if voice.claim.listed)
        owners = _owners(listed, kind)
        is_held = group is not None and _holds_all(voices, tolerance)
        for where in places:
            kept = _with_those_not_replaced(owners, here, where, tolerance)
            candidates = distinct([*listed, *kept])
            if is_held:
                kept = [claim for claim in kept if claim.scope.resource_group is None]
            yield Ruling(where, tuple(candidates), tuple(kept))


def _holds_all(voices: Sequence[Voice], tolerance: Decimal) -> bool:
    """Tell whether a scope counts for a subscription's usage whose rows do not tell their resource group.

    What a group's own scope says stands among those rows already, so it would count twice.
    """
    outside = [voice for voice in voices if voice.charge_class is ChargeClass.USAGE and voice.group is None]
    if all(voice.claim.names_groups for voice in outside):
        return False
    owners = (owner for ruling in _rule(outside, tolerance) for owner in ruling.owners)
    return any(not owner.names_groups for owner in owners)


def _owners(candidates: Iterable[Claim], kind: ChargeClass) -> list[Claim]:
    owners: list[Claim] = []
    for claim in sorted(candidates, key=lambda claim: _rank(claim, kind)):
        # Only an owner shadows: who is shadowed itself must not take away what then nobody counts.
        if not any(shadows(owner.scope, claim.scope) for owner in owners):
            owners.append(claim)
    return owners


def _with_those_not_replaced(
    owners: list[Claim], here: Sequence[Voice], where: Where, tolerance: Decimal
) -> list[Claim]:
    """Add to the owners who lost the cell and is not replaced there: it left the settings, or failed for too long.

    It is replaced by who reports that class of charge, and that type where it is no usage. But of what only it
    saw all of, a smaller part is no replacement: then it counts still, in their place, if it was proven.
    """
    said = [voice for voice in here if voice.charge_type == where[2]]
    bring = {voice.claim for voice in said}
    lost = [claim for claim in bring if _has_lost(claim, owners, where[0])]
    for claim in sorted(lost, key=lambda claim: _rank(claim, where[0])):
        rivals = [owner for owner in owners if owner in bring and shadows(owner.scope, claim.scope)]
        if not rivals:
            owners = [*owners, claim]
        elif where[0] is ChargeClass.OTHER and claim.proven and _sees_more(claim, rivals):
            cell = [voice for voice in said if voice.where == where]
            own, theirs = (
                absolute_of(voice for voice in cell if voice.claim in claims) for claims in ([claim], rivals)
            )
            if own > theirs and not near(own, theirs, own, tolerance):
                owners = [*(owner for owner in owners if owner not in rivals), claim]
    return owners


def _has_lost(claim: Claim, owners: Sequence[Claim], kind: ChargeClass) -> bool:
    """Whether a scope would count, had it not left the settings or failed.

    Of those that are asked still, only whoever sees more than those that took over: the others see what is there.
    """
    if not claim.listed:
        return True
    if claim.reconciled or kind is not ChargeClass.OTHER or claim in owners:
        return False
    return _sees_more(claim, [owner for owner in owners if shadows(owner.scope, claim.scope)])


def _sees_more(claim: Claim, rivals: Sequence[Claim]) -> bool:
    return all(sees_more(claim.scope, rival.scope) for rival in rivals)


def _rank(claim: Claim, kind: ChargeClass) -> tuple[bool, bool, int, str]:
    """Who comes first: proven readings, then by the rule of the class, then the lower id."""
    scope = claim.scope
    if kind is ChargeClass.OTHER and scope.is_billing:
        return (not claim.reconciled, False, -scope.width, scope.lower_path)
    return (not claim.reconciled, True, scope.width, scope.lower_path)


def _mask(keyed: pl.DataFrame, rulings: dict[str, list[Ruling]]) -> pl.Series:
    """Say of each row whether its scope owns its cell; what nobody contests is owned."""
    owners = [
        (subscription, *ruling.where, claim.scope.lower_path, True)
        for subscription, cells in rulings.items()
        for ruling in cells
        for claim in ruling.owners
    ]
    schema = {column: pl.String() for column in _VOICE} | {"owned": pl.Boolean()}
    found = keyed.select(_VOICE).join(
        pl.DataFrame(owners, schema=schema, orient="row"),
        on=_VOICE,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    contested = pl.col("subscription_id").is_in(list(rulings))
    return found.select((~contested | pl.col("owned").fill_null(value=False)).alias("owned")).to_series()


def _shadowed(
    keyed: pl.DataFrame, owned: pl.Series, cost: str, by_path: dict[str, Claim]
) -> dict[str, dict[str, Decimal]]:
    totals = keyed.filter(~owned).group_by("scope", "currency").agg(money_sum(cost)).sort("scope", "currency")
    result: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for path, currency, total in totals.iter_rows():
        result[by_path[path].scope.path][currency] = total
    return dict(result)
