"""The onlooker: after each change it looks at what lies there, and at all that the provider ever said."""

import io
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

import polars as pl

from infra.local.simulator import Metric, Tenant, scope_truth
from shared.days import DayBook
from shared.storage import Storage
from tests.crash.published import CONTAINER, place_of

METRIC = "ActualCost"
TOLERANCE = Decimal("1e-8")
FLOOR = Decimal("1e-9")
"""A reading between whose pages an amount changed by less than the control's tolerance is not told from a whole one.

Its control is a sum of doubles, compared with a billionth of the absolute amounts; these are not known here.
"""

Amounts = frozenset[tuple[str, Decimal]]
"""By currency; a currency that adds up to nothing may be left out."""


def amounts(of: dict[str, Decimal]) -> Amounts:
    return frozenset((currency, amount) for currency, amount in of.items() if amount)


def is_among(found: Amounts, said: set[Amounts]) -> bool:
    """Tell whether the provider said these amounts at some time, as exactly as a control can tell."""
    return found in said or any(_are_near(dict(found), dict(once)) for once in said)


def _are_near(found: dict[str, Decimal], once: dict[str, Decimal]) -> bool:
    return found.keys() == once.keys() and all(
        abs(found[currency] - amount) <= TOLERANCE * abs(amount) + FLOOR for currency, amount in once.items()
    )


@dataclass
class Watch:
    """Keeps what the provider said at any time, and looks that nothing else is ever believed or published."""

    tenant: Tenant
    scopes: list[str]
    storage: Storage
    _of_scope: dict[tuple[str, date], set[Amounts]] = field(default_factory=lambda: defaultdict(set))
    _of_subscription: dict[tuple[str, date], set[Amounts]] = field(default_factory=lambda: defaultdict(set))
    _orders: dict[tuple[date, str], tuple[datetime, datetime, str]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    looks: int = 0

    def remember(self) -> None:
        """Keep what the provider says now."""
        for path in self.scopes:
            of_scope: dict[date, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
            of_one: dict[tuple[str, date], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
            for key, total in scope_truth(self.tenant, path, Metric.ACTUAL).items():
                of_scope[key.day][key.currency] += total.amount
                of_one[key.subscription, key.day][key.currency] += total.amount
            for day, found in of_scope.items():
                self._of_scope[path.lower(), day].add(amounts(found))
            for place, found in of_one.items():
                self._of_subscription[place].add(amounts(found))

    async def look_at_pointers(self) -> None:
        """No pointer goes back, and each names what its scope once said, whole."""
        self.looks += 1
        book = DayBook(self.storage.tables)
        for day, known in (await book.days(METRIC, self.tenant.days[0], self.tenant.days[-1])).items():
            for pointer in known.pointers:
                reading = pointer.reading
                if reading is None:
                    continue
                before = self._orders.get((day, pointer.key))
                assert before is None or before <= reading.order, f"{pointer.scope} {day} went back"
                self._orders[day, pointer.key] = reading.order
                said = self._of_scope[pointer.scope.lower(), day]
                assert is_among(amounts(dict(reading.totals)), said), f"{pointer.scope} {day} was never so"

    async def look_at_files(self) -> None:
        """Whoever globs sees whole files, and of each subscription's day what its provider once said of it."""
        self.looks += 1
        for item in await self.storage.blobs.list(CONTAINER, ""):
            if item.name.startswith("manifests/") or item.etag in self._seen:
                continue
            blob = await self.storage.blobs.get(CONTAINER, item.name)
            assert blob is not None, "nothing that was published is ever taken away"
            self._seen.add(blob.etag)
            name, data = item.name, blob.data
            day, subscription = place_of(name)
            frame = pl.read_parquet(io.BytesIO(data))
            if name.startswith("ledger/"):
                current = frame.filter(pl.col("x_ValidTo").is_null())
                self._demand(name, subscription, day, current, ("BillingCurrency", "BilledCost"))
            else:
                for (account,), rows in frame.partition_by("account_id", as_dict=True).items():
                    self._demand(name, str(account), day, rows, ("currency", "cost_amount"))

    def _demand(
        self, name: str, subscription: str, day: date, rows: pl.DataFrame, columns: tuple[str, str]
    ) -> None:
        currency, cost = columns
        found = dict(rows.group_by(currency).agg(pl.col(cost).sum()).iter_rows())
        said = self._of_subscription[subscription, day]
        assert is_among(amounts(found), said), f"{name} was never so"
