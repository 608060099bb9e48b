"""The sources: all that differs between an API and another, chosen by the slice and by nothing else.

A reader says where a generation begins, how an answer's bytes become records, whether a row that comes on two
pages can be right both times, and whose quota a request takes.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

import polars as pl

from shared.engine import Engine
from shared.normalise.details import detail_records
from shared.normalise.records import Records, records
from shared.quota.gate import QuotaGate
from shared.read import details_schema, query, schema, usage_details
from shared.read.answers import Answer
from shared.read.billing_period import misfit
from shared.read.overlap import Overlap, against, beside
from shared.registry.pages import DayKinds
from shared.runs import Slice
from shared.scope_list import Period, Source
from shared.scopes import Scope


@dataclass(frozen=True, slots=True)
class Answered:
    """A page as it was read: its records, how many rows it had in all, and the link to the next page.

    `unknown` are columns of a table that nobody asked for, or fields that a record is not known to have. `misfit`
    says, as (cause, cure), why an answer is none to what was asked; `tells_period` whether its records tell the
    days of the billing period that they are of; `kinds` names the kinds of each day's records, where a source has
    several.
    """

    records: Records
    rows: int
    next_link: str | None
    unknown: tuple[str, ...] = ()
    misfit: tuple[str, str] | None = None
    tells_period: bool = False
    kinds: DayKinds = field(default_factory=dict)


class Reader(Protocol):
    """How one source is read.

    `repeats` tells whether two equal readings prove each other where Query gives no control total for the scope.
    """

    repeats: ClassVar[bool]

    def ask(self, engine: Engine, piece: Slice, cursor: str | None) -> Awaitable[Answer]:
        """Ask for the page at a cursor, the first one without."""
        ...

    def read(self, piece: Slice, body: bytes) -> Answered:
        """Read an answer's body.

        Raises:
            TornBodyError: it is no JSON; ask again.
            SchemaDriftError: it has not the shape that was asked for.
        """
        ...

    def compare(self, found: Records, seen: pl.DataFrame) -> Overlap:
        """Compare a page's records with the row keys of the generation's earlier pages."""
        ...

    def asks_for_days(self, piece: Slice) -> bool:
        """Tell whether the service is asked for the very days of the reading, not for a period that has a name.

        What days a period has, the service alone knows: an answer without rows of a day is no proof of that day.
        """
        ...

    def gate(self, engine: Engine, piece: Slice) -> QuotaGate:
        """Give the gate that a page passes; control totals are asked of Query, and pass `engine.gate`."""
        ...


class QueryReader:
    """Query: rows are grouped and so unique; the same row on two pages is an overlap."""

    repeats: ClassVar[bool] = False

    def ask(self, engine: Engine, piece: Slice, cursor: str | None) -> Awaitable[Answer]:
        """Post the query, the same body for each page."""
        url = cursor or query.first_url(engine.settings.arm_endpoint, piece.scope, piece.page_size)
        asked = query.body(piece.metric, piece.grouping, piece.reading_first, piece.reading_last)
        return engine.api.post(url, asked, piece.scope)

    def read(self, piece: Slice, body: bytes) -> Answered:
        """Read a page of rows."""
        table = schema.read(body, piece.grouping)
        found = records(
            table,
            metric=piece.metric,
            grouping=piece.grouping,
            subscription=Scope.parse(piece.scope).subscription_id,
            first=piece.reading_first,
            last=piece.reading_last,
        )
        return Answered(found, table.rows, table.next_link, table.unknown)

    def compare(self, found: Records, seen: pl.DataFrame) -> Overlap:
        """Drop what was seen, and tell what moved."""
        return against(found, seen)

    def asks_for_days(self, piece: Slice) -> bool:  # noqa: ARG002 - it always does
        """Tell that it does."""
        return True

    def gate(self, engine: Engine, piece: Slice) -> QuotaGate:  # noqa: ARG002 - one for all scopes
        """Give Query's gate."""
        return engine.gate


class UsageDetailsReader:
    """usageDetails: several equal records may all be right, so what comes twice is kept aside until the closing."""

    repeats: ClassVar[bool] = True

    def ask(self, engine: Engine, piece: Slice, cursor: str | None) -> Awaitable[Answer]:
        """Get the page; a link is followed as it came."""
        return engine.api.get(cursor or self._first_url(engine, piece), piece.scope)

    def read(self, piece: Slice, body: bytes) -> Answered:
        """Read a page of records."""
        scope = Scope.parse(piece.scope)
        details = details_schema.read(body, wide=scope.is_wide)
        found = detail_records(
            details,
            metric=piece.metric,
            subscription=scope.subscription_id,
            first=piece.reading_first,
            last=piece.reading_last,
        )
        named = not self.asks_for_days(piece)
        return Answered(
            records=found,
            rows=len(details.days),
            next_link=details.next_link,
            unknown=details.unknown,
            misfit=misfit(details.periods, piece.reading_first, piece.reading_last) if named else None,
            tells_period=any(period.tells_days for period in details.periods),
            kinds=details.kinds(piece.reading_first, piece.reading_last),
        )

    def compare(self, found: Records, seen: pl.DataFrame) -> Overlap:
        """Part what was seen from what was not; nothing is dropped."""
        return beside(found, seen)

    def asks_for_days(self, piece: Slice) -> bool:
        """Tell whether it does: a billing period is asked for by its name."""
        return piece.period != Period.BILLING_PERIOD

    def gate(self, engine: Engine, piece: Slice) -> QuotaGate:
        """Give the gate of this kind of scope."""
        return engine.details_gates[Scope.parse(piece.scope).kind]

    def _first_url(self, engine: Engine, piece: Slice) -> str:
        return usage_details.first_url(
            engine.settings.arm_endpoint,
            piece.scope,
            piece.metric,
            Period(str(piece.period)),
            (piece.reading_first, piece.reading_last),
            piece.page_size,
        )


_READERS: Final[Mapping[Source, Reader]] = {
    Source.QUERY: QueryReader(),
    Source.USAGE_DETAILS: UsageDetailsReader(),
}


def reader_of(piece: Slice) -> Reader:
    """Give the reader of a slice's source."""
    return _READERS[Source(piece.source)]


def page_size(source: Source, wanted: int) -> int:
    """Give the rows that a page is asked to have: as wanted, or as many as the source allows."""
    return min(wanted, usage_details.LARGEST_PAGE) if source is Source.USAGE_DETAILS else wanted
