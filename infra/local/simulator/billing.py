"""The provider's billing side: invoices of accounts, profiles and subscriptions, and an enrollment's balances.

Every document is made from the tenant's truth over the days of its period, rounded to cents as invoices are. Tax
is always on top, so that whoever takes another figure than the pre-tax one is wrong. A profile's documents name it
and their `subTotal`, as those of a Microsoft Customer Agreement do; a subscription's own have only the fields that
are documented for any agreement, and `taxAmount`.

Source: Microsoft.Billing 2024-04-01, Invoices; Microsoft.Consumption 2024-08-01, Balances.
"""

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from zlib import crc32

from infra.local.simulator.charges import NO_SUBSCRIPTION, ZERO, Metric, exact_sum
from infra.local.simulator.faults import BillingFaults
from infra.local.simulator.scopes import ScopeKind, UnknownScopeError, scope_key
from infra.local.simulator.tenant import Tenant
from infra.local.simulator.truth import scope_truth

_ACCOUNT = r"(/providers/microsoft\.billing/billingaccounts/[^/]+(?:/billingprofiles/[^/]+)?)"
_INVOICES = re.compile(rf"{_ACCOUNT}/invoices", re.IGNORECASE)
_OWN_INVOICES = re.compile(
    r"/providers/microsoft\.billing/billingaccounts/default/billingsubscriptions/([^/]+)/invoices",
    re.IGNORECASE,
)
_BALANCES = re.compile(
    rf"{_ACCOUNT}/billingperiods/(\d{{6}})/providers/microsoft\.consumption/balances", re.IGNORECASE
)
_CENT = Decimal("0.01")
_CENTS = Context(prec=40, rounding=ROUND_HALF_EVEN)
_TAX = Decimal("0.19")
_ISSUED_AFTER = timedelta(days=5)
_BOUGHT = Decimal(60)

Period = tuple[date, date]
Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class BillRequest:
    """What is asked for: a scope's invoices, or (with the name of a billing period, 202605) an account's balance."""

    scope: str
    period: str | None = None


def bill_request(path: str) -> BillRequest | None:
    """Read the path of a request, None where it asks for no bill."""
    if found := _OWN_INVOICES.fullmatch(path):
        return BillRequest(f"/subscriptions/{found[1]}")
    if found := _INVOICES.fullmatch(path):
        return BillRequest(found[1])
    if found := _BALANCES.fullmatch(path):
        return BillRequest(found[1], found[2])
    return None


def invoices(tenant: Tenant, path: str, faults: BillingFaults) -> list[Document]:
    """Give all documents of a scope, oldest period first: those of every period with days of the tenant.

    Raises:
        UnknownScopeError: The tenant has no such scope, or it is of a kind that has no invoices.
    """
    payer = _named(faults.billed_to, path) or path
    with tenant.lock:
        documents = list(_documents(tenant, payer, faults))
    return [document for document in documents if not faults.today or _is_issued(document, faults.today)]


def balance(tenant: Tenant, path: str, period: str, faults: BillingFaults) -> Document | None:
    """Give an enrollment's balance of a billing period, in the currency in which it has most of its cost.

    Raises:
        UnknownScopeError: The tenant has no such enrollment.
    """
    if tenant.scope(path).kind is not ScopeKind.BILLING_ACCOUNT:
        raise UnknownScopeError(path)
    first = date(int(period[:4]), int(period[4:]), 1)
    totals = _totals(tenant, path, (first, _month_end(first)))
    if not totals or scope_key(path) in map(scope_key, faults.unissued):
        return None
    currency = max(totals, key=lambda name: sum(totals[name].values()))
    usage = exact_sum(amount for name, amount in totals[currency].items() if name != NO_SUBSCRIPTION)
    marketplace = totals[currency].get(NO_SUBSCRIPTION, ZERO)
    name = f"balanceId{period}"
    return {
        "id": f"{path}/providers/Microsoft.Billing/billingPeriods/{period}"
        f"/providers/Microsoft.Consumption/balances/{name}",
        "name": name,
        "type": "Microsoft.Consumption/balances",
        "properties": {
            "currency": f"{_named(faults.billed_in, path) or currency}  ",
            "beginningBalance": 0,
            "newPurchases": 1_000_000,
            "adjustments": -12.5,
            "totalUsage": _cents(usage + Decimal(_named(faults.off_by, path) or 0)),
            "azureMarketplaceServiceCharges": _cents(marketplace),
            "billingFrequency": "Month",
        },
    }


def _documents(tenant: Tenant, path: str, faults: BillingFaults) -> Iterator[Document]:
    scope = tenant.scope(path)
    if scope.kind not in {ScopeKind.BILLING_ACCOUNT, ScopeKind.BILLING_PROFILE, ScopeKind.SUBSCRIPTION}:
        raise UnknownScopeError(path)
    payers = (
        [f"{path}/billingProfiles/{profile.rsplit('/', 1)[1]}" for profile in tenant.billing_profiles]
        if scope.kind is ScopeKind.BILLING_ACCOUNT
        else [path]
    )
    start = faults.anniversary if scope.kind is ScopeKind.SUBSCRIPTION else 1
    for period in _periods(tenant, start):
        for payer in payers:
            late = {scope_key(payer), scope_key(path)} & set(map(scope_key, faults.unissued))
            if not late or period[0].isoformat() < faults.unissued_from:
                for currency, parts in sorted(_totals(tenant, payer, period).items()):
                    yield from _billed(payer, period, currency, exact_sum(parts.values()), faults)


def _billed(
    payer: str, period: Period, currency: str, total: Decimal, faults: BillingFaults
) -> Iterator[Document]:
    """Give the documents of one payer, period and currency: what counts of them adds up to the total."""
    currency = _named(faults.billed_in, payer) or currency
    total += Decimal(_named(faults.off_by, payer) or 0)
    names = [f"G{crc32(f'{payer}/{period}/{currency}/{n}'.lower().encode()):010d}" for n in range(7)]
    about = (payer, period, currency)
    bought = _named(faults.bought, payer)
    if bought and period[0] <= (day := date.fromisoformat(bought)) <= period[1]:
        total -= _BOUGHT
        yield _document(names[6], payer, (day, day), currency, _BOUGHT)
    if scope_key(payer) in map(scope_key, faults.voided):
        wrong = total * 2 + 1
        yield _document(names[1], *about, wrong, status="Void", billedDocumentId=names[0])
        yield _document(names[2], *about, wrong, documentType="CreditNote", creditForDocumentId=names[1])
        yield _document(names[3], *about, wrong, documentType="VoidNote")
    if scope_key(payer) in map(scope_key, faults.supported):
        yield _document(names[4], *about, Decimal(100), invoiceType="AzureSupport")
    credit = Decimal(_named(faults.credited, payer) or 0)
    yield _document(names[0], *about, total + credit)
    if credit:
        yield _document(names[5], *about, credit, documentType="CreditNote")


def _document(name: str, payer: str, period: Period, currency: str, total: Decimal, **said: str) -> Document:
    net = _CENTS.quantize(total, _CENT)
    tax = _CENTS.quantize(net * _TAX, _CENT)
    amounts = {"billedAmount": net + tax, "taxAmount": tax, "amountDue": net + tax}
    if is_profile := "/billingprofiles/" in payer.lower():
        amounts |= {"billedAmount": net, "subTotal": net, "creditAmount": ZERO, "totalAmount": net + tax}
    first, last = period
    return {
        "id": f"{payer}/invoices/{name}",
        "name": name,
        "type": "Microsoft.Billing/billingAccounts/invoices",
        "properties": {
            "documentType": "Invoice",
            "invoiceType": "AzureServices",
            "status": "Due",
            "invoiceDate": f"{last + _ISSUED_AFTER}T07:00:00Z",
            "invoicePeriodStartDate": f"{first}T00:00:00Z",
            "invoicePeriodEndDate": f"{last}T00:00:00Z",
            "billingProfileId": payer if is_profile else None,
            "subTotal": None,
            **{name: {"currency": currency, "value": float(amount)} for name, amount in amounts.items()},
            **said,
        },
    }


def _is_issued(document: Document, today: str) -> bool:
    match document:
        case {"properties": {"invoiceDate": str(dated)}}:
            return dated[: len(today)] <= today
    return False


def _totals(tenant: Tenant, path: str, period: Period) -> dict[str, dict[str, Decimal]]:
    """Give the truth of a period by currency and subscription."""
    totals: dict[str, dict[str, Decimal]] = {}
    for key, total in scope_truth(tenant, path, Metric.ACTUAL, period=period).items():
        of_currency = totals.setdefault(key.currency, {})
        of_currency[key.subscription] = of_currency.get(key.subscription, ZERO) + total.amount
    return totals


def _periods(tenant: Tenant, start: int) -> Iterator[Period]:
    """Give the periods, from the `start`-th of a month to the day before the next, with days of the tenant."""
    day = tenant.days[0]
    first = day.replace(day=start)
    if first > day:
        first = (first.replace(day=1) - timedelta(days=1)).replace(day=start)
    while first <= tenant.days[-1]:
        following = (_month_end(first) + timedelta(days=1)).replace(day=start)
        yield first, following - timedelta(days=1)
        first = following


def _month_end(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def _named(said: Mapping[str, str], path: str) -> str | None:
    return {scope_key(name): value for name, value in said.items()}.get(scope_key(path))


def _cents(amount: Decimal) -> float:
    return float(_CENTS.quantize(amount, _CENT))
