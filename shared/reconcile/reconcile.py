"""Reconciling a month: each scope's bills are asked for, compared, and what differs is told and read again."""

from datetime import datetime, timedelta

from shared.engine import Engine
from shared.events import INVOICE_COMPARED, INVOICE_GAP, emit
from shared.normalise.exact import text
from shared.reconcile.alerts import Rereads, tell_once, unfinished
from shared.reconcile.ask import WITH_BILLS, NoBillsError, ask
from shared.reconcile.compare import GAPS, BillState, Bounds, Finding, Said, compare
from shared.reconcile.explain import METRIC
from shared.reconcile.periods import Period, last_closed
from shared.settings import ScopeSettings
from shared.storage.errors import StorageError
from shared.versions import UnreadableError, tell

TIMER_PATIENCE = timedelta(minutes=8)
"""How long the timer's function waits for its places at the quota gate: its host ends it after ten minutes."""


async def reconcile_timer(engine: Engine) -> None:
    """Reconcile the last closed month, and those of which a mismatch was found and never told, by events."""
    now = engine.clock()
    for month in sorted({last_closed(now.date()), *await unfinished(engine)}):
        await reconcile(engine, month, now + TIMER_PATIENCE)


async def reconcile(engine: Engine, month: Period, until: datetime) -> list[Finding]:
    """Compare what was billed for the periods that end in a month with what the settings' scopes said of them.

    Scopes that no bill is about (management groups, resource groups, parts of a bill) are passed over. A request
    that has no place at the quota gate before `until` is not made, and its scope is `unknown`; so is one
    of which a row cannot be read or written.
    """
    findings: list[Finding] = []
    rereads: Rereads = {}
    for item in engine.settings.scopes:
        if item.scope.kind in WITH_BILLS:
            for finding in await _isolated(engine, item, month, until, rereads):
                findings.append(finding)
                _tell(finding)
    return findings


async def _isolated(
    engine: Engine, item: ScopeSettings, month: Period, until: datetime, rereads: Rereads
) -> list[Finding]:
    """Reconcile one scope; what breaks it must not keep the others from being compared."""
    try:
        found = await _of_scope(engine, item, month, until)
        return [await _followed_up(engine, finding, rereads) for finding in found]
    except UnreadableError as error:
        tell(error)
        cause, cure = error.cause, error.cure
    except StorageError as error:
        cause, cure = f"{type(error).__name__}: {error}", "see to the storage, then `reconcile` again"
    return [Finding(scope=item.scope.path, period=month, state=BillState.UNKNOWN, cause=cause, cure=cure)]


async def _of_scope(engine: Engine, item: ScopeSettings, month: Period, until: datetime) -> list[Finding]:
    scope = item.scope
    if METRIC not in item.metrics:
        cause, cure = f"the scope reads no {METRIC}, which is what is billed", "add it to the scope's metrics"
        return [Finding(scope=scope.path, period=month, state=BillState.MISSING, cause=cause, cure=cure)]
    today = engine.clock().date()
    try:
        bills = await ask(engine, scope, month, until)
    except NoBillsError as error:
        return [
            Finding(scope=scope.path, period=month, state=error.state, cause=error.cause, cure=error.cure)
        ]
    first = min([month.first, *(bill.period.first for bill in bills)])
    pointers = await engine.days.of_scope(
        METRIC, scope.key, first, month.last, refused=lambda _, error: tell(error)
    )
    bounds = Bounds(engine.settings.reconcile_tolerance, engine.settings.reconcile_floor)
    return compare(month, bills, Said(scope.path, pointers), today, bounds)


async def _followed_up(engine: Engine, finding: Finding, rereads: Rereads) -> Finding:
    """Have a mismatch's days read again once, explain it, and tell of it once."""
    billed, ledger = finding.billed, finding.ledger
    if finding.state is not BillState.MISMATCHED or billed is None or ledger is None:
        return finding
    return await tell_once(engine, finding, billed, ledger, rereads)


def _tell(finding: Finding) -> None:
    emit(
        INVOICE_GAP if finding.state in GAPS - {BillState.MISMATCHED} else INVOICE_COMPARED,
        scope=finding.scope,
        first=finding.period.first.isoformat(),
        last=finding.period.last.isoformat(),
        state=finding.state.value,
        currency=finding.currency,
        billed=None if finding.billed is None else text(finding.billed),
        ledger=None if finding.ledger is None else text(finding.ledger),
        cause=finding.cause,
        cure=finding.cure,
    )
