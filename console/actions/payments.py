"""Staff actions on payments, one function each."""

from __future__ import annotations

from console.actions.origin import origin
from console.forms.payments import InvoiceForm, PaidBackForm, PaymentSettingsForm
from console.security.auth import settings
from shared.core.errors import InvalidInput, NotFound
from shared.core.formats import format_credits
from shared.models import Payment
from shared.operations import payments
from shared.operations.accounts import find_account
from shared.payments.money import format_money, parse_money
from shared.payments.orders import INVOICE
from shared.text.translation import gettext


def save_settings(form: PaymentSettingsForm) -> str:
    payments.set_payment_settings(form.terms(), origin=origin())
    return gettext("Payment settings saved. Open orders keep their price.")


def create_invoice(form: InvoiceForm) -> Payment:
    """Order credits for an account, to be paid by bank transfer. Raises `InvalidInput`."""
    terms = payments.find_payment_settings()
    if terms is None:
        raise InvalidInput(gettext("Set the price of credits first."))
    amount = parse_money(form.amount.data or "", terms.currency)
    try:
        account = find_account(form.account.data or "")
    except NotFound as error:
        raise InvalidInput(str(error)) from None
    return payments.order_credits(account.id, amount, INVOICE, origin=origin())


def mark_paid(reference: str) -> str:
    row = payments.mark_paid(reference, sends_mail=settings().sends_mail, origin=origin())
    return gettext("Paid. {credits} credits were added.", credits=format_credits(row.credits))


def settle_bill(reference: str, how: str) -> str:
    payments.settle_bill(reference, how, sends_mail=settings().sends_mail, origin=origin())
    return gettext("The bill is marked as paid.") if how == "paid" else gettext("The bill is waived.")


def cancel(reference: str) -> str:
    payments.cancel_order(reference, origin=origin())
    return gettext("Order cancelled.")


def record_paid_back(row: Payment, form: PaidBackForm) -> str:
    amount = parse_money(form.amount.data or "", row.currency or "")
    after = payments.return_payment(row.reference, amount, origin=origin())
    return gettext(
        "{amount} paid back in total. {credits} credits were taken back, {missing} could not be.",
        amount=format_money(amount, row.currency),
        credits=format_credits(after.returned_credits),
        missing=format_credits(after.unrecovered_credits),
    )
