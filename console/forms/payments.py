"""Forms for payments: their settings, and bank transfers."""

from __future__ import annotations

from typing import Any

from wtforms import BooleanField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length

from console.forms.fields import LocalizedForm, SingleUseForm, WholeNumber
from shared.models import PaymentSettings
from shared.operations.payments import PaymentTerms
from shared.payments.money import check_currency, parse_money, plain_money
from shared.text.translation import lazy_gettext

_EXAMPLE = lazy_gettext("In the currency, such as 25 or 25.50.")


class PaymentSettingsForm(LocalizedForm):
    """The currency, the price of credits, and how customers can pay. Amounts are typed in the currency's main unit."""

    currency = StringField(
        lazy_gettext("Currency"),
        [InputRequired(lazy_gettext("Enter the currency.")), Length(max=3)],
        description=lazy_gettext("Three letters, such as USD or EUR."),
    )
    credits_per_minor_unit = WholeNumber(
        lazy_gettext("Credits per cent"),
        description=lazy_gettext("Credits for the currency's smallest unit: a cent, or a whole yen."),
    )
    amounts = StringField(
        lazy_gettext("Amounts to choose from"),
        [InputRequired(lazy_gettext("Enter at least one amount.")), Length(max=400)],
        description=lazy_gettext("In the currency, separated by spaces, such as 5 10 25 100."),
    )
    minimum = StringField(
        lazy_gettext("Minimum"), [InputRequired(lazy_gettext("Enter an amount.")), Length(max=20)], description=_EXAMPLE
    )
    maximum = StringField(
        lazy_gettext("Maximum"), [InputRequired(lazy_gettext("Enter an amount.")), Length(max=20)], description=_EXAMPLE
    )
    automatic_tax = BooleanField(lazy_gettext("Add taxes with Stripe Tax"))
    invoices = BooleanField(lazy_gettext("Accept bank transfers, which staff confirm"))
    collect_overage = BooleanField(lazy_gettext("Charge overage bills to saved cards, from now on"))
    bank_details = TextAreaField(
        lazy_gettext("Bank details"),
        [Length(max=2_000)],
        description=lazy_gettext("Shown to customers who pay by bank transfer."),
    )

    @classmethod
    def from_settings(cls, row: PaymentSettings | None) -> PaymentSettingsForm:
        """Return the form filled in with the current settings."""
        if row is None:
            return cls(formdata=None, data={"currency": "USD", "amounts": "5 10 25 100", "minimum": "5", "maximum": "1000"})
        data: dict[str, Any] = row.__data__ | {
            "currency": row.currency.upper(),
            "amounts": " ".join(plain_money(amount, row.currency) for amount in row.amounts),
            "minimum": plain_money(row.minimum_minor, row.currency),
            "maximum": plain_money(row.maximum_minor, row.currency),
            "collect_overage": row.overage_since is not None,
        }
        return cls(formdata=None, data=data)

    def terms(self) -> PaymentTerms:
        """Return the values for `shared.operations.payments`. Raises `InvalidInput`."""
        currency = check_currency(self.currency.data or "")
        return PaymentTerms(
            currency,
            self.credits_per_minor_unit.required_value(),
            [parse_money(text, currency) for text in (self.amounts.data or "").split()],
            parse_money(self.minimum.data or "", currency),
            parse_money(self.maximum.data or "", currency),
            bool(self.automatic_tax.data),
            bool(self.invoices.data),
            (self.bank_details.data or "").replace("\r\n", "\n"),
            bool(self.collect_overage.data),
        )


class InvoiceForm(SingleUseForm):
    """An order by bank transfer, which staff create for an account."""

    account = StringField(
        lazy_gettext("Account"),
        [InputRequired(lazy_gettext("Enter the account.")), Length(max=254)],
        description=lazy_gettext("Email or ID."),
    )
    amount = StringField(
        lazy_gettext("Amount"), [InputRequired(lazy_gettext("Enter an amount.")), Length(max=20)], description=_EXAMPLE
    )


class PaidBackForm(SingleUseForm):
    amount = StringField(
        lazy_gettext("Paid back in total"),
        [InputRequired(lazy_gettext("Enter an amount.")), Length(max=20)],
        description=_EXAMPLE,
    )
