"""Sums, pages and verdicts of a generation, frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from shared.normalise.exact import plus


@dataclass(frozen=True, slots=True)
class Sums:
    """What the rows of one day and currency add up to: cost, quantity, and both in absolute amounts."""

    cost: Decimal = Decimal(0)
    cost_absolute: Decimal = Decimal(0)
    quantity: Decimal = Decimal(0)
    quantity_absolute: Decimal = Decimal(0)
    records: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            plus(self.cost, other.cost),
            plus(self.cost_absolute, other.cost_absolute),
            plus(self.quantity, other.quantity),
            plus(self.quantity_absolute, other.quantity_absolute),
            self.records + other.records,
        )


DaySums = Mapping[date, Mapping[str, Sums]]
"""By day, by currency."""


DayKinds = Mapping[date, tuple[str, ...]]
"""By day, the kinds of records that a page has of it, sorted."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """Rows of a page that earlier pages of the generation had too, in a source where both may be right.

    They lie in a blob of their own; `sums` and `digests` are theirs alone.
    """

    staged: str | None = None
    sums: DaySums = field(default_factory=dict)
    digests: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page:
    """One committed page: what was asked, what came, where it lies. `digests` maps a day to a sum mod 2^256.

    `duplicates` were dropped; `repeated` were kept aside, and `sums`, `digests` and `packed` are without them.
    `tells_period` is whether its records tell the days of their billing period; `kinds` names their kinds, day by
    day, in a source that has several.
    """

    number: int
    cursor_in: str | None
    cursor_out: str | None
    read_at: datetime
    raw_rows: int
    duplicates: int
    outside: int
    staged: str | None
    sums: DaySums
    digests: Mapping[date, int]
    packed: bytes
    requests: int
    throttled: int
    single: bool
    sent: bool = False
    repeated: Repeated = field(default_factory=Repeated)
    tells_period: bool = False
    kinds: DayKinds = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StagedPage:
    """A staged blob that a committed page names, and the days that it holds rows of."""

    name: str
    days: frozenset[date]
    repeated: bool


@dataclass(frozen=True, slots=True)
class DayVerdict:
    """What a generation says of one day, and whether the control agrees.

    `with_repeated` tells whether rows that came on several pages count each time, digest and sums included.
    """

    day: date
    agreed: bool
    digest: int
    sums: Mapping[str, Sums]
    control: Mapping[str, Sums] = field(default_factory=dict)
    with_repeated: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The closing of a generation. `read_at` is the Date header of the answer that proved it.

    `duplicates` are the repeated rows that it leaves out.
    """

    number: int
    read_at: datetime
    control_kind: str
    days: tuple[DayVerdict, ...]
    requests: int
    throttled: int
    decided_at: datetime
    duplicates: int = 0


Entry = Page | Verdict


@dataclass(frozen=True, slots=True)
class Counts:
    """What a run's committed pages and verdicts cost and brought, over all its generations."""

    pages: int = 0
    rows: int = 0
    duplicates: int = 0
    requests: int = 0
    throttled: int = 0
