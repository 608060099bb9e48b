"""Reconciling months: each scope's bills are asked for, compared, and what differs is told and read again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from shared.engine import Engine
from shared.events import INVOICE_COMPARED, INVOICE_GAP, emit
from shared.normalise.exact import text
from shared.reconcile.alerts import Patience, Rereads, forget_healed, tell_once, unfinished
from shared.reconcile.ask import WITH_BILLS, Answer, NoBillsError, ask
from shared.reconcile.bills import Billed
from shared.reconcile.compare import GAPS, BillState, Bounds, Finding, Said, compare
from shared.reconcile.kept import METRIC
from shared.reconcile.periods import Period, lately_closed, month_of
from shared.reconcile.turns import in_turn
from shared.scopes import Scope
from shared.settings import ScopeSettings
from shared.storage.errors import StorageError
from shared.versions import UnreadableError, tell

TIMER_PATIENCE = timedelta(minutes=8)
"""How long the timer's function waits for its places at the quota gate, and explains: its host ends it after ten."""


async def reconcile_timer(engine: Engine) -> None:
    """Reconcile the months that closed lately, and those of which a mismatch was never told, by events.

    A bill may come after the day on which its month closes, and a month that could not be compared may be a
    month later: so each is compared three times. What was told of already is neither told nor explained again.
    """
    now = engine.clock()
    untold = await unfinished(engine)
    months = sorted({*lately_closed(now.date()), *(month_of(alert.last) for alert in untold)})
    findings = await reconcile(engine, months, Patience(now + TIMER_PATIENCE, explain_again=False))
    await forget_healed(engine, untold, findings)


async def reconcile(engine: Engine, months: Sequence[Period], patience: Patience) -> list[Finding]:
    """Compare what was billed for the periods that end in some months with what the settings' scopes said of them.

    Scopes that no bill is about (management groups, resource groups, parts of a bill) are passed over. A request
    that has no place at the quota gate in time is not made, and its scope is `unknown`; so is one
    of which a row cannot be read or written. They are asked in turn, and found in the order of the settings.

    Args:
        engine: the engine.
        months: the months, in the order in which they are compared.
        patience: how long that may take.
    """
    findings: dict[Scope, list[Finding]] = {}
    rereads: Rereads = {}
    items = {item.scope: item for item in engine.settings.scopes if item.scope.kind in WITH_BILLS}
    for scope in in_turn(list(items), engine.clock().date()):
        answers = await _asked(engine, items[scope], months, patience.until)
        for month, answer in answers.items():
            for finding in await _isolated(engine, scope, month, answer, rereads, patience):
                findings.setdefault(scope, []).append(finding)
                _tell(finding)
    return [finding for scope in items for finding in findings.get(scope, ())]


async def _asked(
    engine: Engine, item: ScopeSettings, months: Sequence[Period], until: datetime
) -> dict[Period, Answer]:
    """Ask for a scope's bills; what breaks it must not keep the others from being compared."""
    if METRIC not in item.metrics:
        cause, cure = f"the scope reads no {METRIC}, which is what is billed", "add it to the scope's metrics"
        return dict.fromkeys(months, NoBillsError(BillState.MISSING, cause, cure))
    try:
        with _named():
            return await ask(engine, item.scope, months, until)
    except NoBillsError as error:
        return dict.fromkeys(months, error)


async def _isolated(
    engine: Engine, scope: Scope, month: Period, answer: Answer, rereads: Rereads, patience: Patience
) -> list[Finding]:
    """Reconcile one scope's month; what breaks it must not keep the others from being compared."""
    if not isinstance(answer, NoBillsError):
        try:
            with _named():
                found = await _compared(engine, scope, month, answer)
                return [await _followed_up(engine, finding, rereads, patience) for finding in found]
        except NoBillsError as error:
            answer = error
    return [Finding(scope=scope.path, period=month, state=answer.state, cause=answer.cause, cure=answer.cure)]


@contextmanager
def _named() -> Iterator[None]:
    """Name what keeps a scope from being compared.

    Raises:
        NoBillsError: the block found a row that cannot be read, or the storage failed it.
    """
    try:
        yield
    except UnreadableError as error:
        tell(error)
        raise NoBillsError(BillState.UNKNOWN, error.cause, error.cure) from error
    except StorageError as error:
        cure = "see to the storage, then `reconcile` again"
        raise NoBillsError(BillState.UNKNOWN, f"{type(error).__name__}: {error}", cure) from error


async def _compared(engine: Engine, scope: Scope, month: Period, billed: Billed) -> list[Finding]:
    first = min([month.first, *(bill.period.first for bill in billed.bills)])
    pointers = await engine.days.of_scope(
        METRIC, scope.key, first, month.last, refused=lambda _, error: tell(error)
    )
    bounds = Bounds(engine.settings.reconcile_tolerance, engine.settings.reconcile_floor)
    return compare(month, billed, Said(scope.path, pointers), engine.clock().date(), bounds)


async def _followed_up(engine: Engine, finding: Finding, rereads: Rereads, patience: Patience) -> Finding:
    """Have a mismatch's days read again once, explain it, and tell of it once."""
    billed, ledger = finding.billed, finding.ledger
    if finding.state is not BillState.MISMATCHED or billed is None or ledger is None:
        return finding
    return await tell_once(engine, finding, billed, ledger, rereads, patience)


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
