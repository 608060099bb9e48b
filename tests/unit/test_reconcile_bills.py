"""What the documents of a scope come to: which count, with which sign, over which days."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reconcile.bills import Bill, OverlappingPeriodsError, bills
from shared.reconcile.documents import (
    BillDriftError,
    Document,
    ListMovedError,
    UnclearCreditError,
    counting,
    once,
    read_balance,
    read_invoices,
)
from shared.reconcile.periods import Period, month_of

MAY = Period(date(2026, 5, 1), date(2026, 5, 31))
JUNE = Period(date(2026, 6, 1), date(2026, 6, 30))
LATER = date(2026, 7, 20)
"""No bill over a day of May is still to come."""


def invoice(name: str = "G1", value: object = 100.25, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "name": name,
        "properties": {
            "documentType": "Invoice",
            "invoiceType": "AzureServices",
            "status": "Due",
            "invoiceDate": "2026-06-05T00:00:00Z",
            "invoicePeriodStartDate": "2026-05-01T00:00:00Z",
            "invoicePeriodEndDate": "2026-05-31T23:59:59.9999999Z",
            "subTotal": {"currency": "USD", "value": value},
            "taxAmount": {"currency": "USD", "value": 19},
            "totalAmount": {"currency": "USD", "value": 119.25},
            **said,
        },
    }


def billed(*documents: dict[str, Any], month: Period = MAY, today: date = LATER) -> list[Bill]:
    listed, link = read_invoices(json.dumps({"value": documents}).encode())
    assert link is None
    return list(bills(counting(once(listed)), month, today).bills)


def over(first: str, last: str) -> dict[str, str]:
    return {"invoicePeriodStartDate": first, "invoicePeriodEndDate": last}


def test_an_invoice_is_its_pre_tax_total_digit_by_digit_over_its_own_days() -> None:
    body = json.dumps({"value": [invoice(value="X")], "nextLink": "https://arm/next"}).replace(
        '"X"', "12345678.10"
    )
    listed, link = read_invoices(body.encode())
    assert link == "https://arm/next"
    assert bills(counting(listed), MAY, LATER).bills == (
        Bill(MAY, "USD", Decimal("12345678.10"), ("G1",), date(2026, 6, 5)),
    )


@pytest.mark.parametrize(
    ("documents", "amount"),
    [
        pytest.param([invoice()], "100.25", id="an_invoice"),
        pytest.param([invoice(), invoice("C", 10, documentType="CreditNote")], "90.25", id="a_credit_note"),
        pytest.param(
            [invoice(), invoice("C", -10, documentType="CreditNote")], "90.25", id="written_with_its_sign"
        ),
        pytest.param(
            [
                invoice("V", 999, status="Void", billedDocumentId="G1"),
                invoice("N", 999, documentType="VoidNote"),
                invoice("C", 999, documentType="CreditNote", creditForDocumentId="v"),
                invoice(),
            ],
            "100.25",
            id="voided_credited_and_billed_anew",
        ),
        pytest.param(
            [invoice(), invoice("C", 10, documentType="CreditNote", creditForDocumentId="/a/invoices/g1")],
            "90.25",
            id="a_credit_for_an_invoice_that_stands",
        ),
        pytest.param(
            [invoice(), invoice("C", 10, documentType="CreditNote", creditForDocumentId="of-old")],
            "100.25",
            id="a_credit_for_a_voided_invoice_of_long_ago",
        ),
        pytest.param([invoice(), invoice("S", 29, invoiceType="AzureSupport")], "100.25", id="support"),
        pytest.param(
            [invoice(), invoice("M", 5, invoiceType="AzureMarketplace")], "105.25", id="marketplace"
        ),
        pytest.param(
            [invoice(), *(invoice(kind, 7, documentType=kind) for kind in ("TaxReceipt", "Summary"))],
            "100.25",
            id="papers_about_it",
        ),
        pytest.param([invoice(documentType=None, status=None)], "100.25", id="an_older_invoice_says_less"),
    ],
)
def test_what_counts_and_with_which_sign(documents: list[dict[str, Any]], amount: str) -> None:
    (bill,) = billed(*documents)
    assert bill.amount == Decimal(amount)


VOIDED = invoice("V", 10, status="Void", billedDocumentId="G1")
SUPPORT = invoice("S", 10, status="Void", invoiceType="AzureSupport")


def credit(name: str, value: object, **said: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return invoice(name, value, documentType="CreditNote", **said)


@pytest.mark.parametrize(
    ("documents", "amount"),
    [
        pytest.param([VOIDED, credit("N", 10), invoice(value=10)], "10", id="voided_and_billed_anew"),
        pytest.param([credit("N", -10), VOIDED, invoice(value=10)], "10", id="with_its_sign"),
        pytest.param([VOIDED, credit("A", 10), credit("B", 10), invoice()], "90.25", id="one_note_for_each"),
        pytest.param(
            [VOIDED, credit("L", 10, creditForDocumentId="V"), credit("N", 10), invoice()],
            "90.25",
            id="its_own_note_is_there",
        ),
        pytest.param(
            [VOIDED, credit("N", 4, **over("2026-04-01", "2026-04-30")), credit("T", 10), invoice(value=10)],
            "10",
            id="of_another_period",
        ),
        pytest.param(
            [VOIDED, credit("N", 10, billingProfileId="/b"), invoice()], "90.25", id="of_another_profile"
        ),
        pytest.param([SUPPORT, credit("N", 4), invoice()], "96.25", id="not_of_support"),
        pytest.param([SUPPORT, credit("N", 10), invoice()], "90.25", id="not_of_support_of_its_amount"),
    ],
)
def test_a_credit_note_that_names_no_invoice_takes_back_the_voided_one_of_its_amount(
    documents: list[dict[str, Any]], amount: str
) -> None:
    for order in (documents, documents[::-1]):
        (bill,) = billed(*order)
        assert bill.amount == Decimal(amount)


def test_a_credit_note_that_may_take_back_a_voided_invoice_is_unclear_in_its_month_alone() -> None:
    documents = [VOIDED, credit("N", 4), invoice(), invoice("J", **over("2026-06-01", "2026-06-30"))]
    with pytest.raises(UnclearCreditError, match="N names no invoice, and may take back V"):
        billed(*documents)
    assert [bill.documents for bill in billed(*documents, month=JUNE)] == [("J",)]
    # One in another currency has nothing to do with it, nor has one whose own note is there.
    euros = credit("E", 4, subTotal={"currency": "EUR", "value": 4})
    assert [bill.documents for bill in billed(VOIDED, euros, invoice())] == [("E",), ("G1",)]
    linked = credit("L", 10, creditForDocumentId="V")
    assert [bill.documents for bill in billed(VOIDED, linked, credit("N", 4), invoice())] == [("G1", "N")]


def test_what_is_listed_twice_counts_once_and_with_other_content_is_named() -> None:
    (bill,) = billed(invoice(), invoice("g1"))
    assert (bill.amount, bill.documents) == (Decimal("100.25"), ("G1",))
    with pytest.raises(ListMovedError, match="G1"):
        billed(invoice(), invoice(status="Void"))


def test_a_currency_is_the_same_in_any_case() -> None:
    (bill,) = billed(invoice(), invoice("G2", subTotal={"currency": "usd", "value": 5}))
    assert (bill.currency, bill.amount) == ("USD", Decimal("105.25"))


def usd(value: object) -> dict[str, object]:
    return {"currency": "USD", "value": value}


def test_without_a_pre_tax_total_it_is_what_was_billed_less_its_tax() -> None:
    """`subTotal` is documented for a Microsoft Customer Agreement alone."""
    plain: dict[str, Any] = {
        "subTotal": None,
        "totalAmount": None,
        "billedAmount": usd(119.25),
        "taxAmount": usd(19),
    }
    note = invoice("C", documentType="CreditNote", **{**plain, "billedAmount": usd(12), "taxAmount": usd(2)})
    (bill,) = billed(invoice(**plain), note)
    assert (bill.amount, bill.currency) == (Decimal("90.25"), "USD")


@pytest.mark.parametrize("tax", [None, {"currency": "EUR", "value": 19}], ids=["no_tax", "in_other_money"])
def test_a_bill_that_does_not_say_how_much_of_it_is_tax_is_told_from_those_that_do(tax: object) -> None:
    """All of it counts, less its credits, and no other month is held up."""
    vague = invoice("V", subTotal=None, billedAmount=usd(119.25), taxAmount=tax)
    note = invoice("C", documentType="CreditNote", subTotal=None, billedAmount=usd(12), taxAmount=tax)
    june = invoice("J", **over("2026-06-01", "2026-06-30"))
    (bill,) = billed(vague, note, june)
    assert (bill.amount, bill.with_tax) == (Decimal("107.25"), True)
    assert [(bill.documents, bill.with_tax) for bill in billed(vague, june, month=JUNE)] == [(("J",), False)]


A, B = ("/providers/Microsoft.Billing/billingAccounts/x/billingProfiles/" + name for name in "AB")
APRIL = over("2026-04-01", "2026-04-30")


def test_a_profile_that_billed_before_and_not_yet_for_this_period_is_waited_for_as_long_as_it_may_come() -> (
    None
):
    before = [invoice("A4", billingProfileId=A, **APRIL), invoice("B4", billingProfileId=B, **APRIL)]
    a, b = invoice("A5", billingProfileId=A), invoice("B5", billingProfileId=B.upper())
    soon = date(2026, 6, 20)
    (bill,) = billed(*before, a, today=soon)
    assert bill.awaited == (B.lower(),)
    assert [one.awaited for one in billed(*before, a, b, today=soon)] == [()]
    assert [one.awaited for one in billed(a, today=soon)] == [()]
    # A purchase on its day is no bill of the period.
    bought = invoice("P5", billingProfileId=B, **over("2026-05-09", "2026-05-09"))
    assert [one.awaited for one in billed(*before, a, bought, today=soon)] == [(B.lower(),)]
    # Nor is one in another currency than the one that billed before.
    euros = {"subTotal": {"currency": "EUR", "value": 5}}
    other = invoice("B4", billingProfileId=B, **APRIL, **euros)
    assert [one.awaited for one in billed(before[0], other, a, today=soon)] == [()]
    # Nor is one that billed the month before last alone: it would be listed or not as other months are compared.
    long_ago = [before[0], invoice("B3", billingProfileId=B, **over("2026-03-01", "2026-03-31"))]
    assert [one.awaited for one in billed(*long_ago, a, today=soon)] == [()]
    for today, awaited in ((date(2026, 7, 15), (B.lower(),)), (date(2026, 7, 16), ())):
        assert [one.awaited for one in billed(*before, a, today=today)] == [awaited]


def test_an_amount_is_rounded_half_even_once_as_the_ledgers_are() -> None:
    (bill,) = billed(invoice(value="0.3000000000000000445"))
    assert bill.amount == Decimal("0.300000000000000044")


def test_two_currencies_are_two_bills() -> None:
    found = billed(invoice(), invoice("E", subTotal={"currency": "EUR", "value": 7}))
    assert [(bill.currency, bill.amount) for bill in found] == [
        ("EUR", Decimal(7)),
        ("USD", Decimal("100.25")),
    ]


def test_a_bill_within_anothers_period_is_added_to_it() -> None:
    (bill,) = billed(invoice(), invoice("P", 5, **over("2026-05-09", "2026-05-09")))
    assert (bill.period, bill.amount, bill.documents) == (MAY, Decimal("105.25"), ("G1", "P"))


def test_a_bill_is_added_to_the_period_that_holds_it_whichever_month_that_ends_in() -> None:
    """A purchase of the 20th of May, in a period that ends on the 11th of June, is of June and not of May."""
    documents = (
        invoice("A", **over("2026-04-12", "2026-05-11")),
        invoice("J", **over("2026-05-12", "2026-06-11")),
        invoice("P", 60, **over("2026-05-20", "2026-05-20")),
    )
    assert [bill.documents for bill in billed(*documents)] == [("A",)]
    (june,) = billed(*documents, month=JUNE)
    assert (june.documents, june.amount) == (("J", "P"), Decimal("160.25"))


def test_what_was_billed_on_its_day_waits_for_the_bill_around_it_as_long_as_that_may_come() -> None:
    """The bill over the month around it comes within 45 days: then nobody waits any longer."""
    documents = (
        invoice("A", **over("2026-04-12", "2026-05-11")),
        invoice("P", 60, **over("2026-05-20", "2026-05-20")),
    )
    names = {
        today: [bill.documents for bill in billed(*documents, today=today)]
        for today in (date(2026, 6, 6), date(2026, 7, 4), date(2026, 7, 5))
    }
    assert names == {
        date(2026, 6, 6): [("A",)],
        date(2026, 7, 4): [("A",)],
        date(2026, 7, 5): [("A",), ("P",)],
    }
    # A period of some days may be a subscription's first: its bill is all that comes.
    first = invoice("F", 60, **over("2026-05-20", "2026-05-31"))
    assert [bill.documents for bill in billed(first, today=date(2026, 6, 6))] == [("F",)]


def test_bills_that_share_some_days_only_are_named_and_never_added() -> None:
    own = over("2026-05-12", "2026-06-11")
    with pytest.raises(OverlappingPeriodsError, match="2026-05-01 to 2026-05-31 and over 2026-05-12"):
        billed(invoice(), invoice("P", 5, **own))
    # In two currencies there is nothing that could be mixed up.
    euros = {"subTotal": {"currency": "EUR", "value": 5}}
    both = (invoice(), invoice("P", **own, **euros))
    assert [bill.currency for month in (MAY, JUNE) for bill in billed(*both, month=month)] == ["USD", "EUR"]


def test_bills_that_share_some_days_are_in_the_way_of_no_month_in_which_none_of_them_ends() -> None:
    """In March and April two periods overlap: neither month can be compared, May can."""
    documents = (
        invoice("M", **over("2026-03-01", "2026-03-31")),
        invoice("A", **over("2026-03-12", "2026-04-11")),
        invoice(),
    )
    assert [bill.documents for bill in billed(*documents)] == [("G1",)]
    for month in (Period(date(2026, 3, 1), date(2026, 3, 31)), Period(date(2026, 4, 1), date(2026, 4, 30))):
        with pytest.raises(OverlappingPeriodsError):
            billed(*documents, month=month)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        pytest.param({"documentType": "Nota"}, "unknown type 'Nota'", id="unknown_document"),
        pytest.param({"subTotal": None}, "neither subTotal nor billedAmount", id="no_amount"),
        pytest.param({"subTotal": {"currency": "USD", "value": "NaN"}}, "NaN where an amount", id="nan"),
        pytest.param({"subTotal": {"currency": "USD", "value": "1e400"}}, "where an amount", id="huge"),
        pytest.param({"subTotal": {"currency": "US/D", "value": 1}}, "where a currency", id="no_currency"),
        pytest.param({"invoicePeriodEndDate": "soon"}, "where a date belongs", id="no_date"),
        pytest.param({"invoicePeriodEndDate": "2026-04-30"}, "which is no period", id="reversed"),
    ],
)
def test_what_is_not_as_documented_is_refused_by_name(said: dict[str, Any], says: str) -> None:
    with pytest.raises(BillDriftError, match=says):
        billed(invoice(**said))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"value": 1}', b"<html>", b"\xff"])
def test_an_answer_that_is_no_list_is_refused(body: bytes) -> None:
    with pytest.raises(BillDriftError):
        read_invoices(body)


def test_a_balance_is_usage_and_marketplace_without_prepayment_its_currency_trimmed() -> None:
    body = json.dumps(
        {
            "name": "balanceId1",
            "properties": {
                "currency": "USD  ",
                "totalUsage": 474098.17,
                "azureMarketplaceServiceCharges": 609.82,
                "newPurchases": 1_000_000,
                "adjustments": -5,
            },
        }
    )
    assert read_balance(body.encode(), MAY) == [
        Document("balanceId1", MAY, "USD", Decimal("474707.99"), None)
    ]
    assert read_balance(b"", MAY) == []
    with pytest.raises(BillDriftError, match="balance"):
        read_balance(b"{}", MAY)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.integers(0, 40),
            st.sampled_from(["USD", "EUR"]),
            st.decimals(-1000, 1000, places=2),
        ),
        max_size=8,
    )
)
def test_bills_add_up_to_their_documents_whatever_their_periods(
    drawn: list[tuple[int, int, str, Decimal]],
) -> None:
    documents = [
        Document(
            str(number),
            Period(*sorted((date.fromordinal(739000 + one), date.fromordinal(739000 + other)))),
            currency,
            amount,
            None,
        )
        for number, (one, other, currency, amount) in enumerate(drawn)
    ]
    months = sorted({month_of(document.period.last) for document in documents})
    try:
        found = [bill for month in months for bill in bills(documents, month, date.max).bills]
    except OverlappingPeriodsError:
        return
    for currency in ("USD", "EUR"):
        of_currency = [bill for bill in found if bill.currency == currency]
        mine = [document.amount for document in documents if document.currency == currency]
        assert sum(bill.amount for bill in of_currency) == sum(mine)
        days = [day for bill in of_currency for day in bill.period.days]
        assert len(days) == len(set(days))
    assert sorted(name for bill in found for name in bill.documents) == sorted(
        document.name for document in documents
    )
