"""What was told of mismatches: the rows of the partition `invoices` in CostRuns.

A mismatch is written down before anything follows from it: the totals it was seen with, and the name of the run
that reads the period again. Then that run is seeded, the event is emitted, and the row is marked as told. Whoever
finds a row that is not marked goes on from there: a run of a known name is seeded once. The event comes once as
well, unless a process dies, or another one reconciles, between the event and its mark.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from shared.engine import Engine
from shared.events import INVOICE_MISMATCHED, emit
from shared.normalise.exact import text
from shared.plan.seed import Order, finish_seeding, new_run_id, seed
from shared.plan.windows import first_kept
from shared.reconcile.compare import BillState, Finding, Suspect
from shared.reconcile.explain import explain
from shared.reconcile.periods import Period
from shared.runs import TABLE
from shared.runs.rows import INVOICES
from shared.scopes import Scope
from shared.storage.errors import Conflict
from shared.storage.packing import pack_json, unpack_json
from shared.storage.rows import Row, quoted
from shared.versions import VERSION, UnreadableError, converted, demand, readable, reads, tell

KIND: Final = "reconcile"
CURE: Final = "restore it, or remove it: the mismatch is then told once more"

EXPLAINED_FOR: Final = timedelta(seconds=5)
"""How long a mismatch is explained at least."""

_DIED_OVER: Final = timedelta(hours=1)
"""After how long a mismatch whose run is seeded, and of which nobody told, has outlived its finder."""

_ONE_FIND: Final = timedelta(hours=1)
"""Within which mismatches of one scope and period, in several currencies, are read again by one run."""

UNEXPLAINED: Final = "who found it died before it was explained; `reconcile` explains it"

_SETTLED: Final = frozenset({BillState.CLOSED, BillState.OPEN})

_SHARE: Final = 4
_KEY: Final = ("scope_key", "currency", "first", "last")


@dataclass(frozen=True, slots=True)
class Alert:
    """A mismatch of one scope, period and currency, as it was last told.

    `run` reads the period again for the bill of `run_for`; `seeded` says that it was seeded, `told` that the event
    was emitted. `earlier` are the runs that read it again for other totals of the bill: the one that it comes back
    to is read again by nobody.
    """

    scope: str
    scope_key: str
    currency: str
    first: date
    last: date
    billed: Decimal
    ledger: Decimal
    run: str
    run_for: Decimal
    seen_at: datetime
    seeded: bool = False
    told: bool = False
    earlier: Mapping[Decimal, str] = field(default_factory=dict)
    etag: str | None = None

    def outlived_its_finder(self, now: datetime) -> bool:
        """Whether a process seeded its run and died before it told of it: over the explanation, most likely."""
        return self.seeded and not self.told and now - self.seen_at >= _DIED_OVER


def alert_row(alert: Alert) -> Row:
    """Write an alert as its row."""
    values: dict[str, Any] = {
        "version": VERSION,
        "kind": "alert",
        "scope": alert.scope,
        "billed": str(alert.billed),
        "ledger": str(alert.ledger),
        "run": alert.run,
        "run_for": str(alert.run_for),
        "seen_at": alert.seen_at,
        "seeded": alert.seeded,
        "told": alert.told,
        **pack_json("earlier", msgspec.to_builtins(alert.earlier)),
    }
    key = (alert.scope_key, alert.currency, alert.first.isoformat(), alert.last.isoformat())
    return Row(INVOICES, "|".join(key), values)


@reads(TABLE, CURE)
def read_alert(row: Row) -> Alert:
    """Read an alert from its row.

    Raises:
        UnreadableError: the row is not one that this release writes.
    """
    parts = row.rk.split("|")
    demand(len(parts) == len(_KEY), "RowKey", row.rk)
    told = {
        **dict(zip(_KEY, parts, strict=True)),
        "earlier": unpack_json("earlier", row.values, dict[Decimal, str]),
        "etag": row.etag,
    }
    alert = converted(Alert, row.values, told, packed=("earlier",), constant={"kind": "alert"})
    demand(Scope.parse(alert.scope).key == alert.scope_key, "scope", alert.scope)
    demand(alert.first <= alert.last, "RowKey", row.rk)
    for name in ("billed", "ledger", "run_for"):
        amount: Decimal = getattr(alert, name)
        demand(amount.is_finite() and str(amount) == row.values[name], name, row.values[name])
    for amount in alert.earlier:
        demand(amount.is_finite(), "earlier", amount)
    return alert


@dataclass(frozen=True, slots=True)
class Patience:
    """How long months may be compared: until when the last request goes out, and how long one is explained.

    `explain_again` says whether a mismatch that was told already is explained, which reads its whole period.
    """

    until: datetime
    explain_again: bool = True

    def for_explaining(self, now: datetime) -> timedelta:
        """Give the time for one explanation: a share of what is left, so that the scopes after it have some too."""
        return max((self.until - now) / _SHARE, EXPLAINED_FOR)


Rereads = dict[tuple[str, Period], str]
"""The runs that were seeded just now, by scope and period: a second currency's mismatch needs no second one."""


async def tell_once(
    engine: Engine,
    finding: Finding,
    billed: Decimal,
    ledger: Decimal,
    rereads: Rereads,
    patience: Patience,
) -> Finding:
    """Tell of a mismatch and have its period read again, each once for the same totals.

    The event comes again where the bill's or the ledger's total is another one; the period is read again once for
    each total of the bill, where none of `rereads` does so. Gives the finding with the run that reads it again and
    with what may explain it. That is looked for once the run is seeded and written down as such, because it reads
    much; it ends in time and, whatever breaks it, the event goes out with what is known by then. Where it broke
    the process itself, the next one tells first.
    """
    try:
        alert = await _claim(engine, finding, billed, ledger, rereads)
    except UnreadableError as error:
        # Nobody knows what was told already, and the row is not written over.
        tell(error)
        return replace(finding, cause=error.cause, cure=error.cure)
    if alert is not None and alert.outlived_its_finder(engine.clock()):
        _emit(replace(finding, partial=UNEXPLAINED), billed, ledger, alert.run)
        alert = await _marked(engine, replace(alert, told=True))
    if alert is not None and not (alert.told or alert.seeded):
        await _read_again(engine, alert)
        rereads[finding.scope, finding.period] = alert.run
        alert = await _marked(engine, replace(alert, seeded=True))
    if patience.explain_again or (alert is not None and not alert.told):
        within = patience.for_explaining(engine.clock())
        explanation = await explain(engine, finding, Scope.parse(finding.scope).key, within)
        finding = replace(finding, suspects=explanation.suspects, partial=explanation.partial)
    if alert is None:
        return finding
    if not alert.told:
        _emit(finding, billed, ledger, alert.run)
        await _marked(engine, replace(alert, seeded=True, told=True))
    return replace(finding, reread=alert.run)


async def _marked(engine: Engine, alert: Alert) -> Alert:
    """Write down how far an alert is; whoever wrote it meanwhile goes on from what stands there."""
    with suppress(Conflict):
        return await _save(engine, alert)
    return alert


async def unfinished(engine: Engine) -> list[Alert]:
    """Give the mismatches that were written down and never told: a process died over them."""
    rows = await engine.storage.tables.query(TABLE, f"PartitionKey eq {quoted(INVOICES)} and told eq false")
    return readable(rows, read_alert, tell)


async def forget_healed(engine: Engine, untold: Iterable[Alert], findings: Sequence[Finding]) -> None:
    """Remove mismatches that nobody was told of and that are none by now, or whose scope left the settings.

    They would be looked at for ever. One that could not be compared this time stays as long as its month may be
    asked for, and so does one that somebody wrote meanwhile. Nothing of them is kept: should it come back, it is
    told.
    """
    kept = first_kept(engine.clock().date())
    for alert in untold:
        if alert.last < kept or not any(_may_stand(alert, finding) for finding in findings):
            row = alert_row(alert)
            with suppress(Conflict):
                await engine.storage.tables.delete(TABLE, row.pk, row.rk, alert.etag)


def _may_stand(alert: Alert, finding: Finding) -> bool:
    if Scope.parse(finding.scope).key != alert.scope_key:
        return False
    period = Period(alert.first, alert.last)
    if finding.state is BillState.MISMATCHED:
        return (finding.period, finding.currency) == (period, alert.currency)
    return finding.state not in _SETTLED and finding.period.overlaps(period)


async def _claim(
    engine: Engine, finding: Finding, billed: Decimal, ledger: Decimal, rereads: Rereads
) -> Alert | None:
    """Give the alert as it stands written down; None where another process wrote it just now, and goes on."""
    now = engine.clock()
    scope = Scope.parse(finding.scope)
    shared = rereads.get((finding.scope, finding.period))
    alert = Alert(
        scope=scope.path,
        scope_key=scope.key,
        currency=finding.currency or "",
        first=finding.period.first,
        last=finding.period.last,
        billed=billed,
        ledger=ledger,
        run=shared or new_run_id(KIND, now),
        run_for=billed,
        seen_at=now,
        seeded=shared is not None,
    )
    row = await engine.storage.tables.get(TABLE, INVOICES, alert_row(alert).rk)
    if row is not None:
        standing = read_alert(row)
        if (standing.billed, standing.ledger) == (billed, ledger):
            return standing
        earlier = dict(standing.earlier)
        if standing.run_for == billed:
            alert = replace(alert, run=standing.run, seeded=standing.seeded)
        else:
            earlier[standing.run_for] = standing.run
            # Whether that one was seeded before its finder died is found out by who reads again.
            if known := earlier.pop(billed, None):
                alert = replace(alert, run=known, seeded=False)
        alert = replace(alert, earlier=earlier, etag=standing.etag)
    elif shared is None and (sibling := await _of_same_find(engine, alert)):
        alert = replace(alert, run=sibling.run, seeded=sibling.seeded)
    try:
        return await _save(engine, alert)
    except Conflict:
        return None


async def _of_same_find(engine: Engine, alert: Alert) -> Alert | None:
    """Give the mismatch in another currency that a process which died found of this period a moment ago."""
    keys = f"{alert.scope_key}|"
    rows = await engine.storage.tables.query(
        TABLE,
        f"PartitionKey eq {quoted(INVOICES)} and RowKey ge {quoted(keys)} and RowKey lt {quoted(keys + '~')}",
    )
    for one in readable(rows, read_alert, tell):
        same = (one.first, one.last) == (alert.first, alert.last)
        if same and one.run_for == one.billed and alert.seen_at - one.seen_at < _ONE_FIND:
            return one
    return None


async def _save(engine: Engine, alert: Alert) -> Alert:
    row = alert_row(alert)
    if alert.etag is None:
        return replace(alert, etag=await engine.storage.tables.insert(TABLE, row))
    return replace(alert, etag=await engine.storage.tables.replace(TABLE, row, alert.etag))


async def _read_again(engine: Engine, alert: Alert) -> None:
    """Seed the alert's run; one that stands already is seeded to its end."""
    known = await engine.runs.run(alert.run)
    if known is not None:
        await finish_seeding(engine, known)
        return
    await seed(
        engine,
        Order(
            run=alert.run,
            kind=KIND,
            first=alert.first,
            last=alert.last,
            only=(Scope.parse(alert.scope),),
        ),
    )


def _emit(finding: Finding, billed: Decimal, ledger: Decimal, run: str) -> None:
    emit(
        INVOICE_MISMATCHED,
        scope=finding.scope,
        first=finding.period.first.isoformat(),
        last=finding.period.last.isoformat(),
        currency=finding.currency,
        billed=text(billed),
        ledger=text(ledger),
        difference=None if finding.difference is None else text(finding.difference),
        documents=", ".join(finding.documents),
        explained_by="; ".join(map(described, finding.suspects)),
        explained_in_part=finding.partial,
        run=run,
    )


def described(suspect: Suspect) -> str:
    """Say in one line which day may explain a mismatch, why, and whose cost it is."""
    amount = "" if suspect.amount is None else f" {suspect.amount:f}"
    shares = ", ".join(f"{name} {share:f}" for name, share in suspect.subscriptions)
    kept_by = f", kept by {' and '.join(suspect.kept_by)}" if suspect.kept_by else ""
    return f"{suspect.day} {suspect.reason}{amount}" + (f" ({shares}{kept_by})" if shares else "")
