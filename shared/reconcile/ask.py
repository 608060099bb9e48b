"""Asking for a scope's bills: which API has them, one request after the other under the quota, page by page.

    billing profile, billing account    its invoices
    billing account of an enrollment    its balance (an Enterprise Agreement shows no invoices to an API)
    subscription                        its own invoices, if it is pay-as-you-go

Nothing else has a bill. A list of invoices is asked for once, however many months are compared, a balance month by
month. Unlike the reading of costs this is worked in one go, once a month: a request waits for its place at the quota
gate here, until a time that the caller sets, and no answer is waited for beyond it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from shared.engine import Engine
from shared.events import RETRIED, THROTTLED, emit
from shared.quota.gate import Turn
from shared.read.answers import Answer as Answered
from shared.read.answers import PageAnswer, Refused, Throttled, Transient
from shared.read.ending import pause
from shared.read.query import ForeignLinkError
from shared.reconcile.bills import Billed, OverlappingPeriodsError, bills
from shared.reconcile.compare import BillState
from shared.reconcile.documents import (
    BillDriftError,
    Document,
    ListedInvoice,
    ListMovedError,
    UnclearCreditError,
    counting,
    once,
    read_balance,
    read_invoices,
)
from shared.reconcile.periods import Period, month_before
from shared.scopes import Scope, ScopeKind

INVOICES_VERSION = "2024-04-01"
BALANCES_VERSION = "2024-08-01"
BILLING_READER = "Billing Reader fa23ad8b-c56e-40d8-ac0c-ce449e1d2c64"

WITH_BILLS = frozenset({ScopeKind.BILLING_PROFILE, ScopeKind.BILLING_ACCOUNT, ScopeKind.SUBSCRIPTION})
"""The kinds of scope that bills are about."""

_MOST_PAGES = 100
_REDIRECTS = range(300, 400)
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_DRIFT_CURE = "compare the answer with the documented one; this release cannot read it"


class NoBillsError(Exception):
    """There is nothing to compare with: `state` says in which way, with cause and cure."""

    def __init__(self, state: BillState, cause: str, cure: str) -> None:
        super().__init__(f"{cause}; {cure}")
        self.state = state
        self.cause = cause
        self.cure = cure


Answer = Billed | NoBillsError
"""The bills of a month, none where none is issued yet; or why they may not be read, or could not be in time."""


async def ask(
    engine: Engine, scope: Scope, months: Sequence[Period], until: datetime
) -> dict[Period, Answer]:
    """Give the bills of a scope by the months in which their periods end; none is waited for after `until`.

    An enrollment is asked month by month, any other scope once for all of them.
    """
    if is_enrollment(scope):
        return {month: await _balance(engine, scope, month, until) for month in months}
    try:
        with _named():
            documents = counting(await _listed(engine, scope, min(months), until))
    except NoBillsError as error:
        return dict.fromkeys(months, error)
    return {month: _ending_in(engine, scope, month, documents) for month in months}


async def _balance(engine: Engine, scope: Scope, month: Period, until: datetime) -> Answer:
    try:
        with _named():
            body = await _get(engine, scope, _balance_url(engine, scope, month), until)
            return bills(read_balance(body, month), month, engine.clock().date())
    except NoBillsError as error:
        return error


def _ending_in(engine: Engine, scope: Scope, month: Period, documents: Sequence[Document]) -> Answer:
    if scope.kind is ScopeKind.SUBSCRIPTION and (error := _billed_to_a_profile(engine, month, documents)):
        return error
    try:
        with _named():
            return bills(documents, month, engine.clock().date())
    except NoBillsError as error:
        return error


def _billed_to_a_profile(engine: Engine, month: Period, documents: Sequence[Document]) -> NoBillsError | None:
    """Tell who is billed for a subscription, if not itself: a profile's documents hold others' costs as well."""
    before = [one for one in documents if one.profile is not None and one.period.first <= month.last]
    if not before:
        return None
    profile = max(before, key=lambda one: one.period).profile or ""
    listed = {item.scope.lower_path for item in engine.settings.scopes}
    cure = "to have it compared, add it to COST_SCOPES"
    if profile in listed:
        cure = "none: that profile's bill is compared"
    elif profile.rpartition("/billingprofiles/")[0] in listed:
        cure = "none: the bill of that profile's account is compared"
    return NoBillsError(BillState.UNREADABLE, f"billed to profile {profile}", cure)


@contextmanager
def _named() -> Iterator[None]:
    """Name what is wrong with an answer.

    Raises:
        NoBillsError: the block found it not as documented, or of no use.
    """
    try:
        yield
    except BillDriftError as error:
        raise NoBillsError(BillState.UNKNOWN, f"SchemaDrift: {error}", _DRIFT_CURE) from error
    except ListMovedError as error:
        cause = f"ListMoved: {error} was listed twice, with other content"
        raise NoBillsError(BillState.UNKNOWN, cause, "`reconcile` again; report it if it stays") from error
    except UnclearCreditError as error:
        cure = "nobody can tell from the outside whether it counts: compare by hand"
        raise NoBillsError(BillState.UNKNOWN, f"UnclearCredit: {error}", cure) from error
    except OverlappingPeriodsError as error:
        cure = "nobody can tell from the outside which of these days' cost is in which bill: compare by hand"
        raise NoBillsError(BillState.UNKNOWN, f"OverlappingPeriods: {error}", cure) from error
    except ForeignLinkError as error:
        cure = "check ARM_ENDPOINT: a token is never sent to another host"
        raise NoBillsError(BillState.UNKNOWN, f"ForeignNextLink: {error}", cure) from error


def is_enrollment(scope: Scope) -> bool:
    """Whether a billing account is that of an Enterprise Agreement: these are named by a number."""
    return scope.kind is ScopeKind.BILLING_ACCOUNT and scope.lower_path.rsplit("/", 1)[1].isdecimal()


def billed_at(scope: Scope) -> str:
    """Give the path below which a scope's invoices are."""
    if scope.kind is ScopeKind.SUBSCRIPTION:
        return f"/providers/Microsoft.Billing/billingAccounts/default/billingSubscriptions/{scope.subscription_id}"
    return scope.path


async def _listed(engine: Engine, scope: Scope, month: Period, until: datetime) -> list[ListedInvoice]:
    """List a scope's documents; what moves while it is read is read once more."""
    with suppress(ListMovedError):
        return once(await _pages(engine, scope, month, until))
    return once(await _pages(engine, scope, month, until))


async def _pages(engine: Engine, scope: Scope, month: Period, until: datetime) -> list[ListedInvoice]:
    listed: list[ListedInvoice] = []
    link: str | None = _invoices_url(engine, scope, month)
    seen: set[str] = set()
    while link is not None:
        if link in seen or len(seen) == _MOST_PAGES:
            cause = f"PagingLoop: the list of invoices does not end after {len(seen)} pages"
            raise NoBillsError(BillState.UNKNOWN, cause, "`reconcile` again; report it if it stays")
        seen.add(link)
        body = await _get(engine, scope, link, until)
        if not body:
            break
        page, link = read_invoices(body)
        listed.extend(page)
    return listed


def _invoices_url(engine: Engine, scope: Scope, month: Period) -> str:
    # From the month before, since a period may begin there, to today: an invoice is issued, voided and credited
    # later. Which of them count is decided by their own dates.
    first, last = month_before(month).first, max(month.last, engine.clock().date())
    return (
        f"{engine.settings.arm_endpoint}{billed_at(scope)}/invoices?api-version={INVOICES_VERSION}"
        f"&periodStartDate={first}&periodEndDate={last}"
    )


def _balance_url(engine: Engine, scope: Scope, month: Period) -> str:
    return (
        f"{engine.settings.arm_endpoint}{scope.path}/billingPeriods/{month.first:%Y%m}"
        f"/providers/Microsoft.Consumption/balances?api-version={BALANCES_VERSION}"
    )


async def _get(engine: Engine, scope: Scope, url: str, until: datetime) -> bytes:
    """Get one body, empty where there is none; tries again what may work later."""
    attempt = 0
    while True:
        await _take_turn(engine, scope, until)
        match await _answered(engine, scope, url, until):
            case PageAnswer(body):
                return body
            case Throttled(wait):
                emit(THROTTLED, scope=scope.path, wait_ms=wait // timedelta(milliseconds=1))
                await engine.gate.pause(scope.key, engine.clock(), wait)
            case Refused() as refused:
                raise _no_bills(scope, refused)
            case Transient() as answer:
                attempt += 1
                said = f"{answer.cause}: {answer.detail}"
                if attempt >= engine.settings.max_attempts:
                    cure = f"the service failed {attempt} times in a row: `reconcile` again later"
                    raise NoBillsError(BillState.UNKNOWN, said, cure)
                emit(RETRIED, scope=scope.path, attempt=attempt, cause=said)
                wait = max(pause(engine, attempt - 1), answer.wait or timedelta())
                await _wait(engine, engine.clock() + wait, until)


async def _answered(engine: Engine, scope: Scope, url: str, until: datetime) -> Answered:
    try:
        async with asyncio.timeout((until - engine.clock()).total_seconds()):
            return await engine.api.get(url, scope.path)
    except TimeoutError:
        cause = f"NoAnswer: the service had not answered by {until:%Y-%m-%dT%H:%M:%SZ}"
        raise NoBillsError(BillState.UNKNOWN, cause, "`reconcile` again later") from None


def _no_bills(scope: Scope, refused: Refused) -> NoBillsError:
    role_missing = refused.status == _FORBIDDEN or (
        refused.status == _UNAUTHORIZED and refused.cause == "RBACAccessDenied"
    )
    if role_missing:
        where = f"on {scope.path}"
        if scope.kind is not ScopeKind.SUBSCRIPTION:
            where += ", or the reader's role in the access control of the billing scope itself"
        cure = f"to have invoices compared, grant {BILLING_READER} {where}"
        return NoBillsError(BillState.UNREADABLE, refused.cause, cure)
    if refused.status == _NOT_FOUND and scope.kind is ScopeKind.SUBSCRIPTION:
        cure = (
            "only a pay-as-you-go subscription has invoices of its own: to have it compared, add the billing "
            "profile or account that pays for it to COST_SCOPES"
        )
        return NoBillsError(BillState.UNREADABLE, refused.cause, cure)
    if refused.status is None or refused.status in {*_REDIRECTS, _UNAUTHORIZED}:
        return NoBillsError(BillState.UNKNOWN, refused.cause, refused.cure)
    cure = f"the billing API does not serve {scope.path} as asked: see the cause"
    return NoBillsError(BillState.UNKNOWN, refused.cause, cure)


async def _take_turn(engine: Engine, scope: Scope, until: datetime) -> None:
    """Wait for a place at the quota gate: what asks for bills takes its place as every request does."""
    turn = await engine.gate.take_by(scope.key, engine.clock(), until)
    if not isinstance(turn, Turn):
        raise _no_place(turn)
    due = turn.place
    while due > engine.clock():
        await _wait(engine, due, until)
        due = await engine.gate.due(scope.key, turn)


async def _wait(engine: Engine, due: datetime, until: datetime) -> None:
    if due > until:
        raise _no_place(due)
    await asyncio.sleep(max((due - engine.clock()).total_seconds(), 0))


def _no_place(due: datetime) -> NoBillsError:
    cause = f"QuotaExhausted: the next request may go out at {due:%Y-%m-%dT%H:%M:%SZ}"
    return NoBillsError(BillState.UNKNOWN, cause, "`reconcile` again when fewer readings are under way")
