"""What may go wrong on purpose, how often, and within which bounds.

Every decision depends on the seed and on the request's place (query, page, how-manieth try), not on the order
in which concurrent requests arrive. The bounds let a reader through that reads a slice four times and tries a
page eight times.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, Protocol

from infra.local.simulator import dice
from infra.local.simulator.scopes import Scope, scope_key
from infra.local.simulator.throttle import Limit

ErrorKind = Literal["500", "503", "504", "404", "truncated", "cut"]
Family = Literal[
    "rotate",
    "qpu",
    "entity",
    "tenant",
    "clienttype",
    "client",
    "retry-after",
    "retry-after-date",
    "mixed",
    "none",
]
Refusal = Literal["RBACAccessDenied", "AuthorizationFailed", "SubscriptionNotFound", "UnsupportedOffer"]
Schema = Literal["missing_column", "column_type", "ragged", "cost_text", "nan", "huge", "day"]

ALL_ERRORS: tuple[ErrorKind, ...] = ("500", "503", "504", "404", "truncated", "cut")


SHORTEST_MONTH = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class BillingFaults:
    """What is odd about a tenant's invoices and balances; nothing by default. Scopes by name, amounts as text.

    `anniversary` is the day of the month on which the periods of subscriptions start, 28 at the most. `unissued`
    scopes have no invoice yet of periods from the day `unissued_from` on, `forbidden` ones answer 403. `off_by`
    is added to the pre-tax total; `billed_in` is another currency than that of the costs. `credited` invoices
    are too high by so much, and a credit note takes it back. Of `voided` ones there is a first, wrong invoice
    with its void note and its credit note. `supported` ones have an invoice for support beside the other. Of
    what is `bought`, on a day by scope, 60 stand in an invoice of that day alone and not in the period's. A
    subscription that is `billed_to` a profile lists that profile's invoices. Nothing dated after the day `today`
    is there yet; without one everything is. `page_size` documents stand on a page, 0 for all.
    """

    anniversary: int = 1
    unissued: tuple[str, ...] = ()
    unissued_from: str = ""
    forbidden: tuple[str, ...] = ()
    off_by: Mapping[str, str] = field(default_factory=dict)
    billed_in: Mapping[str, str] = field(default_factory=dict)
    credited: Mapping[str, str] = field(default_factory=dict)
    voided: tuple[str, ...] = ()
    supported: tuple[str, ...] = ()
    bought: Mapping[str, str] = field(default_factory=dict)
    billed_to: Mapping[str, str] = field(default_factory=dict)
    today: str = ""
    page_size: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.anniversary <= SHORTEST_MONTH:
            raise ValueError(f"anniversary is a day from 1 to {SHORTEST_MONTH}, not {self.anniversary}")
        if self.page_size < 0:
            raise ValueError(f"page_size is not negative, as {self.page_size} is")


class Asked(Protocol):
    """A question of either API, hashable: equal ones are one question."""

    @property
    def scope(self) -> Scope:
        """Whose cost is asked for."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults of a simulator; none by default. Rates are shares of requests or readings, from 0 to 1.

    Throttling: `tenant_limits` and `scope_limits` are real limits of Query, `details_limits` those of each scope
    for usageDetails, each (requests, seconds); `throttle_rate` adds 429s at random, at most `throttles_in_a_row`
    for one page, whose hint is `hint_seconds` in the header family `hint_family` (usageDetails has its own).

    Paging, of readings of several pages: each page repeats the last `overlap` rows of the page before;
    a reading is spoiled by a row that changes and comes again (`move_rate`), by a row that is skipped
    (`lose_rate`) or by a nextLink to an earlier page (`loop_rate`), at most `spoiled_readings` of a scope.
    `out_of_window` rows of the day before and after come too; `empty_tail` puts a page without rows after a
    last page that is full.

    Errors: `error_rate` of requests fail, in one of `error_kinds`, at most `errors_in_a_row` for one page.

    Scopes by name, for as long as they stand here: `endless` paging, `oversize` bodies (`oversize_bytes`),
    `refuse` (an unsupported offer is refused by Query alone), `bad_schema` (on the first page),
    `foreign_next_link` and `redirect` (to `foreign_base`).

    Invoices: `billing`.

    Others: `empty_status` (200 or 204) answers a query without rows; `expired_tokens` are refused as expired;
    `latency` is added to each answer (seconds).
    """

    tenant_limits: tuple[Limit, ...] = ()
    scope_limits: tuple[Limit, ...] = ()
    details_limits: tuple[Limit, ...] = ()
    throttle_rate: float = 0.0
    throttles_in_a_row: int = 3
    hint_family: Family = "rotate"
    hint_seconds: float = 1.0

    overlap: int = 0
    move_rate: float = 0.0
    lose_rate: float = 0.0
    loop_rate: float = 0.0
    spoiled_readings: int = 2
    out_of_window: int = 0
    empty_tail: bool = False

    error_rate: float = 0.0
    error_kinds: tuple[ErrorKind, ...] = ALL_ERRORS
    errors_in_a_row: int = 3

    endless: tuple[str, ...] = ()
    oversize: tuple[str, ...] = ()
    oversize_bytes: int = 80_000_000
    refuse: Mapping[str, Refusal] = field(default_factory=dict)
    bad_schema: Mapping[str, Schema] = field(default_factory=dict)
    foreign_next_link: tuple[str, ...] = ()
    redirect: tuple[str, ...] = ()
    foreign_base: str = "https://collector.invalid"

    billing: BillingFaults = field(default_factory=BillingFaults)

    empty_status: Literal[200, 204] = 200
    expired_tokens: tuple[str, ...] = ()
    latency: float = 0.0

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name.endswith("_rate") and not 0 <= value <= 1:
                raise ValueError(f"{one.name} is a share from 0 to 1, not {value}")
            if isinstance(value, int | float) and value < 0:
                raise ValueError(f"{one.name} is not negative, as {value} is")


@dataclass(frozen=True, slots=True)
class Spoil:
    """How one reading goes wrong: its kind (move, lose, loop) and a number that gives its places."""

    kind: str
    chosen: int


@dataclass(frozen=True, slots=True)
class Named:
    """The faults that stand under a scope's name."""

    refusal: Refusal | None
    schema: Schema | None
    endless: bool
    oversize: bool
    foreign_next_link: bool
    redirect: bool


class Desk:
    """Decides on each request, and keeps the count of what the bounds bound."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self._seed = seed
        self._tries: Counter[tuple[object, ...]] = Counter()
        self._in_a_row: Counter[tuple[object, ...]] = Counter()
        self._spoiled: Counter[str] = Counter()
        self._readings: dict[Asked, Spoil | None] = {}

    def named(self, key: str) -> Named:
        """Give the faults of the scope with this key."""
        faults = self.faults
        return Named(
            {scope_key(path): refusal for path, refusal in faults.refuse.items()}.get(key),
            {scope_key(path): schema for path, schema in faults.bad_schema.items()}.get(key),
            *(
                key in map(scope_key, paths)
                for paths in (faults.endless, faults.oversize, faults.foreign_next_link, faults.redirect)
            ),
        )

    def throttled(self, key: str, page: str) -> bool:
        """Tell whether this try of a page of a scope is throttled at random."""
        return self._strikes(
            ("throttle", key, page), self.faults.throttle_rate, self.faults.throttles_in_a_row
        )

    def family(self, own: str) -> str:
        """Give the header family of the next 429; `own` is that of the limit that refused, if one did."""
        if self.faults.hint_family != "rotate":
            return self.faults.hint_family
        if own:
            return own
        self._tries["family",] += 1
        rotation = (
            "qpu",
            "retry-after",
            "mixed",
            "entity",
            "none",
            "tenant",
            "retry-after-date",
            "clienttype",
            "client",
        )
        return rotation[self._tries["family",] % len(rotation)]

    def error(self, query: Asked, number: int) -> ErrorKind | None:
        """Give the error with which this try of a page fails, or None."""
        place = ("error", query, number)
        if not self._strikes(place, self.faults.error_rate, self.faults.errors_in_a_row):
            return None
        kinds = self.faults.error_kinds
        return kinds[dice.number(self._seed, "kind", *place, self._tries[place]) % len(kinds)]

    def spoil(self, query: Asked, number: int, pages: int) -> Spoil | None:
        """Give what spoils the reading that this page belongs to; its first page starts a reading."""
        if number == 0:
            self._readings[query] = self._new_spoil(query) if pages > 1 else None
        return self._readings.get(query)

    def _new_spoil(self, query: Asked) -> Spoil | None:
        faults, key = self.faults, query.scope.key
        self._tries["reading", query] += 1
        place = (self._seed, "spoil", query, self._tries["reading", query])
        drawn = dice.fraction(*place)
        for kind, rate in (
            ("move", faults.move_rate),
            ("lose", faults.lose_rate),
            ("loop", faults.loop_rate),
        ):
            if drawn < rate:
                if self._spoiled[key] >= faults.spoiled_readings:
                    return None
                self._spoiled[key] += 1
                return Spoil(kind, dice.number(*place, "where"))
            drawn -= rate
        return None

    def _strikes(self, place: tuple[object, ...], rate: float, most: int) -> bool:
        self._tries[place] += 1
        struck = self._in_a_row[place] < most and dice.fraction(self._seed, *place, self._tries[place]) < rate
        self._in_a_row[place] = self._in_a_row[place] + 1 if struck else 0
        return struck
