"""Bills: what the documents of a scope come to, per billing period and currency, before tax.

The figure of an invoice is its `subTotal`: costs know no tax and no payments. Of an enrollment, which shows no
invoices to an API, it is the balance's `totalUsage` and `azureMarketplaceServiceCharges`: `newPurchases` buys
prepayment, which is money in advance and no cost.

Source: Microsoft.Billing 2024-04-01, Invoices; Microsoft.Consumption 2024-08-01, Balances.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

from shared.normalise.exact import plus, total
from shared.reconcile.periods import Period

_COUNTING = frozenset({"Invoice", "CreditNote"})
_NOT_COUNTING = frozenset({"VoidNote", "TaxReceipt", "Summary", "Transactions"})
"""Documents about an invoice, which charge nothing themselves."""

_PERIOD_MAY_BE_OPEN = timedelta(days=45)
"""How long after a day the bill over the period around it may still come: a month, and two weeks to issue it."""

_TOO_LARGE = Decimal(10) ** 20
_STEP = Decimal("1e-18")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN)
_CODE = re.compile("[A-Za-z]{3}", re.ASCII)
_CREDIT_NOTE = "CreditNote"
_VOID = "Void"
_SUPPORT = "AzureSupport"


class BillDriftError(Exception):
    """An answer about bills is not of the shape that is documented; the message says where."""


class OverlappingPeriodsError(Exception):
    """Two bills are about some of the same days, so nobody can tell which of these days' cost is in which."""


@dataclass(frozen=True, slots=True)
class Document:
    """One invoice or credit note that counts. `amount` is before tax, negative for a credit."""

    name: str
    period: Period
    currency: str
    amount: Decimal
    issued: date | None


@dataclass(frozen=True, slots=True)
class Bill:
    """All that was billed for a period in one currency, before tax; `issued` is the latest document's day."""

    period: Period
    currency: str
    amount: Decimal
    documents: tuple[str, ...]
    issued: date | None


class _Amount(msgspec.Struct, frozen=True):
    currency: str
    value: Decimal


class _Invoice(msgspec.Struct, frozen=True, rename="camel"):
    sub_total: _Amount
    invoice_period_start_date: str
    invoice_period_end_date: str
    document_type: str | None = None
    invoice_type: str | None = None
    status: str | None = None
    invoice_date: str | None = None
    credit_for_document_id: str | None = None


class ListedInvoice(msgspec.Struct, frozen=True):
    """One document as the provider lists it."""

    name: str
    properties: _Invoice


class _Listed(msgspec.Struct, frozen=True, rename="camel"):
    value: list[ListedInvoice]
    next_link: str | None = None


class _Balance(msgspec.Struct, frozen=True, rename="camel"):
    currency: str
    total_usage: Decimal
    azure_marketplace_service_charges: Decimal


class _Balances(msgspec.Struct, frozen=True):
    name: str
    properties: _Balance


def read_invoices(body: bytes) -> tuple[tuple[ListedInvoice, ...], str | None]:
    """Read one page of invoices, and the link to the next.

    Raises:
        BillDriftError: it is no such page.
    """
    try:
        listed = msgspec.json.decode(body, type=_Listed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BillDriftError(f"the list of invoices: {error}") from error
    return tuple(listed.value), listed.next_link or None


def counting(listed: Sequence[ListedInvoice]) -> list[Document]:
    """Choose the documents that count, from all that a scope has.

    Voided invoices don't, nor do the credit notes that take them back (`creditForDocumentId`), nor does what
    charges nothing itself. Support is no cost of Cost Management.

    Raises:
        BillDriftError: a document is of an unknown type, or its dates cannot be read.
    """
    valid = {one.name.lower() for one in listed if one.properties.status != _VOID}
    return [_document(one) for one in listed if _counts(one, valid)]


def read_balance(body: bytes, month: Period) -> list[Document]:
    """Read an enrollment's balance of a month; its periods are calendar months. An empty body is none yet.

    Raises:
        BillDriftError: it is no balance.
    """
    if not body:
        return []
    try:
        said = msgspec.json.decode(body, type=_Balances)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BillDriftError(f"the balance: {error}") from error
    amount = plus(
        _money(said.name, said.properties.total_usage),
        _money(said.name, said.properties.azure_marketplace_service_charges),
    )
    return [Document(said.name, month, _currency(said.name, said.properties.currency), amount, None)]


def bills(documents: Iterable[Document], month: Period, today: date) -> list[Bill]:
    """Add up a scope's documents per currency and period, for the periods that end in a month, in their order.

    One within another's period is added to it, whichever month that ends in. What was billed on its day alone (a
    purchase) waits for the bill over the days around it as long as that may still come.

    Args:
        documents: all that the scope has, of the months around as well.
        month: the month in which the periods end.
        today: the day on which this is asked.

    Raises:
        OverlappingPeriodsError: one of these periods shares some days with another of its currency, and neither
            holds the other.
    """
    by_currency: dict[str, list[Document]] = {}
    for document in documents:
        by_currency.setdefault(document.currency, []).append(document)
    return sorted(
        (
            bill
            for currency, some in by_currency.items()
            for bill in _of_currency(currency, some, month)
            if not _is_part_of_another(bill.period, today)
        ),
        key=lambda bill: (bill.period, bill.currency),
    )


def _of_currency(currency: str, documents: Sequence[Document], month: Period) -> list[Bill]:
    periods = {document.period for document in documents}
    widest = [one for one in periods if not any(other.contains(one) for other in periods - {one})]
    ending = [one for one in widest if month.first <= one.last <= month.last]
    for one in ending:
        for other in widest:
            if one != other and one.overlaps(other):
                first, second = sorted((one, other))
                raise OverlappingPeriodsError(f"there are bills in {currency} over {first} and over {second}")
    return [
        _bill(period, currency, [one for one in documents if period.contains(one.period)])
        for period in ending
    ]


def _is_part_of_another(period: Period, today: date) -> bool:
    """Whether a bill over one day belongs to a period whose own bill is still to come."""
    return period.first == period.last and today <= period.last + _PERIOD_MAY_BE_OPEN


def _bill(period: Period, currency: str, documents: Sequence[Document]) -> Bill:
    return Bill(
        period=period,
        currency=currency,
        amount=total(document.amount for document in documents),
        documents=tuple(sorted(document.name for document in documents)),
        issued=max((document.issued for document in documents if document.issued is not None), default=None),
    )


def _counts(one: ListedInvoice, valid: set[str]) -> bool:
    said = one.properties
    kind = said.document_type or "Invoice"
    if kind not in _COUNTING | _NOT_COUNTING:
        raise BillDriftError(f"{one.name} is of the unknown type {kind!r}")
    if kind in _NOT_COUNTING or said.status == _VOID or said.invoice_type == _SUPPORT:
        return False
    taken_back = (said.credit_for_document_id or "").rsplit("/", 1)[-1].lower()
    # Only a voided invoice has such a note; one that is too old to be listed did not count either.
    return kind != _CREDIT_NOTE or not taken_back or taken_back in valid


def _document(one: ListedInvoice) -> Document:
    said = one.properties
    amount = _money(one.name, said.sub_total.value)
    if said.document_type == _CREDIT_NOTE:
        # Written with either sign: a credit note never charges.
        amount = -abs(amount)
    first, last = _day(one, said.invoice_period_start_date), _day(one, said.invoice_period_end_date)
    if last < first:
        raise BillDriftError(f"{one.name} is about {first} to {last}, which is no period")
    issued = None if said.invoice_date is None else _day(one, said.invoice_date)
    return Document(
        one.name, Period(first, last), _currency(one.name, said.sub_total.currency), amount, issued
    )


def _money(name: str, amount: Decimal) -> Decimal:
    """Give an amount as the ledger would hold it: 18 decimals, rounded half-even once."""
    if not (amount.is_finite() and abs(amount) < _TOO_LARGE):
        raise BillDriftError(f"{name} has {str(amount)[:40]} where an amount belongs")
    return _ROUNDING.quantize(amount, _STEP)


def _currency(name: str, text: str) -> str:
    """Give a currency's code; balances fill it up with blanks."""
    code = text.strip()
    if _CODE.fullmatch(code) is None:
        raise BillDriftError(f"{name} has {text[:40]!r} where a currency belongs")
    return code


def _day(one: ListedInvoice, text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise BillDriftError(f"{one.name} has {text[:40]!r} where a date belongs") from None
