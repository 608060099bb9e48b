"""What a generation says of a day, and whether the provider's own total, or another reading, confirms it.

A source whose rows are not unique leaves two variants of a day: with the rows that came on several pages counted
each time, and without. Nothing here asks or stores anything.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal

from shared.normalise.exact import minus, near
from shared.normalise.hashing import add_digests
from shared.registry.generations import Generation
from shared.registry.pages import DayVerdict, Sums


def compare(generation: Generation, day: date, control: Mapping[str, Sums], tolerance: Decimal) -> DayVerdict:
    """Say which of a generation's variants of a day the control confirms, if any.

    Where it confirms neither, every record counts: each should be considered unique. Where both are within the
    tolerance, because what came twice is small beside the rest, the nearer one is right.
    """
    without, with_repeated = variants(generation, day)
    agreed = [told for told in (without, with_repeated) if agrees(told.sums, control, tolerance)]
    if not agreed:
        return replace(with_repeated, control=control)
    nearest = agreed[-1] if len(agreed) == 1 or _is_nearer(with_repeated, without, control) else without
    return replace(nearest, agreed=True, control=control)


def _is_nearer(one: DayVerdict, other: DayVerdict, control: Mapping[str, Sums]) -> bool:
    """Tell whether one variant is nearer to the control than the other: by its cost, else by its quantity.

    Each currency is judged by itself; where they say different things, none is nearer.
    """
    currencies = one.sums.keys() | other.sums.keys()
    away = [(_away(one, control, currency), _away(other, control, currency)) for currency in currencies]
    for amount in (0, 1):
        nearer = {mine[amount] < its[amount] for mine, its in away if mine[amount] != its[amount]}
        if nearer:
            return nearer == {True}
    return False


def _away(told: DayVerdict, control: Mapping[str, Sums], currency: str) -> tuple[Decimal, Decimal]:
    """Give how far a variant's cost and quantity are from the control's."""
    ours, theirs = told.sums.get(currency, Sums()), control.get(currency, Sums())
    return minus(ours.cost, theirs.cost).copy_abs(), minus(ours.quantity, theirs.quantity).copy_abs()


def variants(generation: Generation, day: date) -> tuple[DayVerdict, DayVerdict]:
    """Give what a generation says of a day without the rows that came on an earlier page too, and with them.

    Where none did, both are the same.
    """
    pages_of_day = [generation.pages[number] for number in sorted(generation.pages)]
    fresh = _added(page.sums.get(day, {}) for page in pages_of_day)
    digest = add_digests(*(page.digests.get(day, 0) for page in pages_of_day))
    without = DayVerdict(day, agreed=False, digest=digest, sums=fresh)
    repeated = [page.repeated for page in pages_of_day if day in page.repeated.digests]
    if not repeated:
        return without, without
    return without, DayVerdict(
        day,
        agreed=False,
        digest=add_digests(digest, *(part.digests[day] for part in repeated)),
        sums=_added([fresh, *(part.sums[day] for part in repeated)]),
        with_repeated=True,
    )


def left_out(generation: Generation, days: Iterable[DayVerdict]) -> int:
    """Count the rows that came twice on the days that take them once."""
    once = {day.day for day in days if not day.with_repeated}
    return sum(
        line.records
        for page in generation.pages.values()
        for day, currencies in page.repeated.sums.items()
        if day in once
        for line in currencies.values()
    )


def repeat(before: Generation, now: Generation, day: date) -> DayVerdict:
    """Say which variant of a day two complete readings agree in, if any; the earlier one stands as the control.

    One of the two must have had no row twice on that day, so that there is no doubt about what it says. Two that
    both had some may be wrong in the same way: an overlap that comes again, or a twin that both leave out.
    """
    (old, old_with), (new, new_with) = variants(before, day), variants(now, day)
    if not new_with.with_repeated:
        agreed = [(was, new) for was in (old_with, old) if was.digest == new.digest]
    elif not old_with.with_repeated:
        agreed = [(old, told) for told in (new_with, new) if told.digest == old.digest]
    else:
        agreed = []
    for was, told in agreed:
        return replace(told, agreed=True, control=was.sums)
    return replace(new_with, control=old_with.sums)


def agrees(said: Mapping[str, Sums], control: Mapping[str, Sums], tolerance: Decimal) -> bool:
    """Tell whether a day's sums are the provider's totals in every currency, cost and quantity both.

    The quantity finds what the cost cannot: a row without cost that was lost.
    """
    for currency in said.keys() | control.keys():
        ours, theirs = said.get(currency, Sums()), control.get(currency, Sums())
        if not near(ours.cost, theirs.cost, ours.cost_absolute, tolerance):
            return False
        if not near(ours.quantity, theirs.quantity, ours.quantity_absolute, tolerance):
            return False
    return True


def _added(parts: Iterable[Mapping[str, Sums]]) -> dict[str, Sums]:
    total: dict[str, Sums] = {}
    for part in parts:
        for currency, sums in part.items():
            total[currency] = total.get(currency, Sums()) + sums
    return total
