"""Documents: the invoices, credit notes and balances that the provider lists, and which of them count.

The figure of an invoice is its `subTotal`: costs know no tax and no payments. That is documented for a Microsoft
Customer Agreement alone: where there is none it is `billedAmount` less `taxAmount`. Of an enrollment, which shows no
invoices to an API, it is the balance's `totalUsage` and `azureMarketplaceServiceCharges`: `newPurchases` buys
prepayment, which is money in advance and no cost.

Source: Microsoft.Billing 2024-04-01, Invoices; Microsoft.Consumption 2024-08-01, Balances.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal

import msgspec

from shared.normalise.exact import minus, plus
from shared.reconcile.periods import Period

_COUNTING = frozenset({"Invoice", "CreditNote"})
_NOT_COUNTING = frozenset({"VoidNote", "TaxReceipt", "Summary", "Transactions"})
"""Documents about an invoice, which charge nothing themselves."""

_TOO_LARGE = Decimal(10) ** 20
_STEP = Decimal("1e-18")
_ROUNDING = Context(prec=60, rounding=ROUND_HALF_EVEN)
_CODE = re.compile("[A-Za-z]{3}", re.ASCII)
_INVOICE = "Invoice"
_CREDIT_NOTE = "CreditNote"
_VOID = "Void"
_SUPPORT = "AzureSupport"


class BillDriftError(Exception):
    """An answer about bills is not of the shape that is documented; the message says where."""


class ListMovedError(Exception):
    """A document is listed twice with other content: the list changed while it was read; the message names it."""


class UnclearCreditError(Exception):
    """Nobody can tell whether a credit note takes back a voided invoice; the message names both."""


@dataclass(frozen=True, slots=True)
class Document:
    """One invoice or credit note that counts. `amount` is before tax, negative for a credit.

    Of one `with_tax` it is all that was billed: the document tells no amount before tax, and not how much is tax.

    `profile` is the path of the billing profile that it was billed to, in lower case, None where it names none.
    `unclear` says why its amount cannot be told, which is 0 then.
    """

    name: str
    period: Period
    currency: str
    amount: Decimal
    issued: date | None
    profile: str | None = None
    with_tax: bool = False
    unclear: Exception | None = None


class _Amount(msgspec.Struct, frozen=True):
    currency: str
    value: Decimal


class _Invoice(msgspec.Struct, frozen=True, rename="camel"):
    invoice_period_start_date: str
    invoice_period_end_date: str
    document_type: str | None = None
    invoice_type: str | None = None
    status: str | None = None
    invoice_date: str | None = None
    credit_for_document_id: str | None = None
    billing_profile_id: str | None = None
    sub_total: _Amount | None = None
    billed_amount: _Amount | None = None
    tax_amount: _Amount | None = None


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


def once(listed: Iterable[ListedInvoice]) -> list[ListedInvoice]:
    """Give each document once: a list that grows while it is read shows some on two pages.

    Raises:
        ListMovedError: one is there twice with other content.
    """
    found: dict[str, ListedInvoice] = {}
    for one in listed:
        if found.setdefault(one.name.lower(), one).properties != one.properties:
            raise ListMovedError(one.name)
    return list(found.values())


def counting(listed: Sequence[ListedInvoice]) -> list[Document]:
    """Choose the documents that count, from all that a scope has, each listed once.

    Voided invoices don't, nor do the credit notes that take them back, nor does what charges nothing itself.
    Support is no cost of Cost Management. A note that names no document (`creditForDocumentId`) takes back the
    voided invoice of its payer, amount, currency and period; where only others lie there, it is unclear.

    Raises:
        BillDriftError: a document is of an unknown type, or its dates cannot be read.
    """
    valid = {one.name.lower() for one in listed if one.properties.status != _VOID}
    documents = [_document(one) for one in listed if _counts(one, valid)]
    unlinked = {one.name for one in listed if _is_note(one) and not _taken_back(one)}
    notes = [one for one in documents if one.name in unlinked]
    if not notes:
        return documents
    linked = {_taken_back(one) for one in listed if _is_note(one)}
    voided = [_document(one) for one in listed if _is_voided(one) and one.name.lower() not in linked]
    taking_back: set[str] = set()
    for note in notes:
        same = [one for one in voided if _is_about(note, one) and one.amount == -note.amount]
        if same and note.unclear is None and same[0].unclear is None:
            voided.remove(same[0])
            taking_back.add(note.name)
    return [
        replace(one, unclear=_unclear(one, voided)) if one.name in unlinked else one
        for one in documents
        if one.name not in taking_back
    ]


def _is_note(one: ListedInvoice) -> bool:
    return one.properties.document_type == _CREDIT_NOTE


def _is_voided(one: ListedInvoice) -> bool:
    """Whether a note that counts may take it back: one for support is taken back by what does not count either."""
    said = one.properties
    is_invoice = (said.document_type or _INVOICE) == _INVOICE
    return is_invoice and said.status == _VOID and said.invoice_type != _SUPPORT


def _taken_back(one: ListedInvoice) -> str:
    """Give the name of the invoice that a credit note says it takes back, empty where it says none."""
    return (one.properties.credit_for_document_id or "").rsplit("/", 1)[-1].lower()


def _is_about(note: Document, voided: Document) -> bool:
    same_payer = (note.profile, note.currency) == (voided.profile, voided.currency)
    return same_payer and voided.period.contains(note.period)


def _unclear(note: Document, voided: Sequence[Document]) -> Exception | None:
    if note.unclear is not None:
        return note.unclear
    about = [one.name for one in voided if _is_about(note, one)]
    if not about:
        return None
    return UnclearCreditError(f"{note.name} names no invoice, and may take back {' or '.join(about)}")


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


def _counts(one: ListedInvoice, valid: set[str]) -> bool:
    said = one.properties
    kind = said.document_type or _INVOICE
    if kind not in _COUNTING | _NOT_COUNTING:
        raise BillDriftError(f"{one.name} is of the unknown type {kind!r}")
    if kind in _NOT_COUNTING or said.status == _VOID or said.invoice_type == _SUPPORT:
        return False
    # Only a voided invoice has such a note; one that is too old to be listed did not count either.
    return kind != _CREDIT_NOTE or not _taken_back(one) or _taken_back(one) in valid


def _document(one: ListedInvoice) -> Document:
    said = one.properties
    currency, amount, with_tax = _before_tax(one)
    if said.document_type == _CREDIT_NOTE:
        # Written with either sign: a credit note never charges.
        amount = -abs(amount)
    first, last = _day(one, said.invoice_period_start_date), _day(one, said.invoice_period_end_date)
    if last < first:
        raise BillDriftError(f"{one.name} is about {first} to {last}, which is no period")
    return Document(
        one.name,
        Period(first, last),
        currency,
        amount,
        issued=None if said.invoice_date is None else _day(one, said.invoice_date),
        profile=(said.billing_profile_id or "").lower() or None,
        with_tax=with_tax,
    )


def _before_tax(one: ListedInvoice) -> tuple[str, Decimal, bool]:
    """Give a document's currency, what it comes to before tax, and whether that is with tax for want of better.

    Raises:
        BillDriftError: there is no amount at all, or one that cannot be read.
    """
    said = one.properties
    if said.sub_total is not None:
        return _currency(one.name, said.sub_total.currency), _money(one.name, said.sub_total.value), False
    if said.billed_amount is None:
        raise BillDriftError(f"{one.name} has neither subTotal nor billedAmount")
    currency, billed = (
        _currency(one.name, said.billed_amount.currency),
        _money(one.name, said.billed_amount.value),
    )
    if said.tax_amount is None or _currency(one.name, said.tax_amount.currency) != currency:
        return currency, billed, True
    return currency, minus(billed, _money(one.name, said.tax_amount.value)), False


def _money(name: str, amount: Decimal) -> Decimal:
    """Give an amount as the ledger would hold it: 18 decimals, rounded half-even once."""
    if not (amount.is_finite() and abs(amount) < _TOO_LARGE):
        raise BillDriftError(f"{name} has {str(amount)[:40]} where an amount belongs")
    return _ROUNDING.quantize(amount, _STEP)


def _currency(name: str, text: str) -> str:
    """Give a currency's code, in upper case as costs have it; balances fill it up with blanks."""
    code = text.strip().upper()
    if _CODE.fullmatch(code) is None:
        raise BillDriftError(f"{name} has {text[:40]!r} where a currency belongs")
    return code


def _day(one: ListedInvoice, text: str) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise BillDriftError(f"{one.name} has {text[:40]!r} where a date belongs") from None
