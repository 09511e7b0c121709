"""Payments in the console: the set-up and what is missing, bank transfers, the list and its filters, roles."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from shared.models import Account, AuditEntry, LedgerEntry, OverageEntry, Payment, PaymentSettings
from shared.operations import payments as operations
from shared.payments.overage_bills import create_bill_payments
from shared.payments.webhooks import note_webhook, record_event
from tests import factories, stripe_events
from tests.factories import ORIGIN
from tests.servers.stripe import KEY, WEBHOOK_SECRET

pytestmark = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)
SETTINGS = {
    "currency": "EUR",
    "credits_per_minor_unit": "10 000",
    "amounts": "5 10 25.50",
    "minimum": "5",
    "maximum": "1000",
    "invoices": "y",
    "bank_details": "Yout\r\nDE02 1203",
}


def test_the_set_up_says_what_is_missing(signed_in):
    browser = signed_in("owner")
    page = browser.get("/payments/settings").text
    assert page.count(">missing<") == 5
    assert "/webhooks/stripe/" in page
    assert "charge.dispute.created" in page
    assert "Payment settings saved." in browser.submit_form("/payments/settings", "/payments/settings", **SETTINGS).text
    row = PaymentSettings.get()
    assert (row.currency, row.credits_per_minor_unit, row.amounts) == ("eur", 10_000, [500, 1_000, 2_550])
    assert (row.minimum_minor, row.maximum_minor, row.bank_details) == (500, 100_000, "Yout\nDE02 1203")
    note_webhook()
    assert browser.get("/payments/settings").text.count(">missing<") == 3
    assert AuditEntry.get(AuditEntry.action == "payments.settings").after["currency"] == "eur"


def test_a_complete_set_up_shows_no_secret(app, signed_in):
    secrets = {"stripe_api_key": KEY, "stripe_webhook_secret": WEBHOOK_SECRET}
    app.extensions["yout_settings"] = replace(app.extensions["yout_settings"], public_url="https://yout.example", **secrets)
    operations.set_payment_settings(operations.PaymentTerms("eur", 10, [500], 100, 10_000), origin=ORIGIN)
    note_webhook()
    page = signed_in("owner").get("/payments/settings").text
    assert page.count(">done<") == 5
    assert not any(secret in page for secret in secrets.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"currency": "euro"}, "cannot be longer than"),
        ({"currency": "E1R"}, "code of three letters"),
        ({"credits_per_minor_unit": "0"}, "price must be"),
        ({"amounts": "1"}, "must be between"),
        ({"amounts": "5.001"}, "such as 25"),
        ({"maximum": "4"}, "maximum must be"),
        ({"bank_details": ""}, "bank details"),
    ],
)
def test_invalid_settings_are_explained(signed_in, change, words):
    browser = signed_in("owner")
    refused = browser.submit_form("/payments/settings", "/payments/settings", **{**SETTINGS, **change})
    assert words in refused.text
    assert PaymentSettings.select().count() == 0


def test_a_bank_transfer_is_ordered_marked_paid_and_paid_back(signed_in):
    browser, owner = signed_in("billing"), factories.account(credits=0)
    assert (
        "Set the price of credits first." in browser.submit_form("/payments/", "/payments/", account=owner.email, amount="5").text
    )
    terms = operations.PaymentTerms("eur", 10, [500], 100, 10_000, invoices=True, bank_details="IBAN")
    operations.set_payment_settings(terms, origin=ORIGIN)
    assert "No account" in browser.submit_form("/payments/", "/payments/", account="nobody@example.com", amount="5").text
    made = browser.submit_form("/payments/", "/payments/", account=owner.email, amount="25")
    row = Payment.get()
    assert row.reference in made.text
    page = f"/payments/{row.reference}"
    assert "25 000 credits were added" in browser.submit_form(page, f"{page}/paid").text.replace("\u202f", " ")
    token = browser.form(page, f"{page}/paid-back")
    assert "not waiting" in browser.post(f"{page}/paid", token, follow_redirects=True).text
    assert (Account.get_by_id(owner.id).balance, LedgerEntry.select().where(LedgerEntry.kind == "purchase").count()) == (
        25_000,
        1,
    )
    assert "25 000 credits were taken back" in browser.submit_form(page, f"{page}/paid-back", amount="25.00").text.replace(
        "\u202f", " "
    )
    assert "amount must be" in browser.submit_form(page, f"{page}/paid-back", amount="25").text
    actions = [entry.action for entry in AuditEntry.select().where(AuditEntry.action.startswith("payment."))]
    assert sorted(actions) == ["payment.order", "payment.paid", "payment.refund"]


def test_the_list_is_filtered_and_exported(signed_in):
    browser, owner = signed_in("readonly"), factories.account(credits=0)
    operations.set_payment_settings(operations.PaymentTerms("eur", 10, [500], 100, 10_000), origin=ORIGIN)
    paid, pending = (operations.order_credits(owner.id, amount, "stripe", origin=ORIGIN) for amount in (500, 700))
    record_event(stripe_events.event("checkout.session.completed", stripe_events.session(paid)))
    for query, found in {
        "state=paid": {paid.reference},
        "state=pending": {pending.reference},
        "state=refunded": set(),
        "state=unrecovered": set(),
        "purpose=credits&provider=stripe": {paid.reference, pending.reference},
        "provider=code": set(),
        f"payment={stripe_events.intent_of(paid)}": {paid.reference},
        f"account={owner.email}": {paid.reference, pending.reference},
    }.items():
        page = browser.get(f"/payments/?{query}").text
        assert {row.reference for row in (paid, pending) if row.reference in page} == found, query
    assert paid.reference in browser.get("/payments/payments.csv").text
    assert browser.get("/payments/?state=x").status_code == 400
    assert browser.get("/payments/" + "0" * 32).status_code == 404


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("billing", True), ("support", False), ("readonly", False)])
def test_only_owner_and_billing_confirm_transfers(signed_in, role, may):
    owner = factories.account(credits=0)
    terms = operations.PaymentTerms("eur", 10, [500], 100, 10_000, invoices=True, bank_details="IBAN")
    operations.set_payment_settings(terms, origin=ORIGIN)
    row = operations.order_credits(owner.id, 500, "invoice", origin=ORIGIN)
    browser = signed_in(role)
    page = f"/payments/{row.reference}"
    assert ("Mark as paid" in browser.get(page).text) == may
    token = browser.form("/me/", "/logout")
    assert (browser.post(f"{page}/paid", token).status_code == 403) == (not may)
    assert (operations.find_payment(row.reference).state == "paid") == may
    assert (browser.post("/payments/settings", {**token, **SETTINGS}).status_code == 403) == (role != "owner")


@pytest.mark.parametrize(("role", "may"), [("owner", True), ("billing", True), ("support", False), ("readonly", False)])
@pytest.mark.parametrize(("path", "shown"), [("bill-paid", "paid"), ("bill-waived", "waived")])
def test_unpaid_overage_is_shown_and_settled(signed_in, role, may, path, shown):
    owner = factories.account(credits=0)
    operations.set_payment_settings(operations.PaymentTerms("eur", 10, [500], 100, 10_000, collect_overage=True), origin=ORIGIN)
    OverageEntry.create(account=owner, subscription=uuid4(), kind="bill", amount=-3_000)
    create_bill_payments()
    [row] = operations.unpaid_bills(owner.id)
    browser = signed_in(role)
    page = f"/payments/{row.reference}"
    assert "Unpaid overage" in browser.get("/").text
    assert "1 overage bill is not paid: 3 000 credits." in browser.get(f"/accounts/{owner.id}").text.replace("\u202f", " ")
    assert ("Waive bill" in browser.get(page).text) == may
    token = browser.form("/me/", "/logout")
    assert (browser.post(f"{page}/{path}", token).status_code == 403) == (not may)
    assert (not operations.unpaid_bills(owner.id)) == may
    if may:
        assert shown in browser.get(page).text
        assert "Unpaid overage" not in browser.get("/").text
