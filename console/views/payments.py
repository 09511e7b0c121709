"""Payments: orders, purchases and refunds, filtered by the URL; bank transfers; and what is missing to sell credits."""

from __future__ import annotations

from typing import Any, NamedTuple

from flask import request, url_for
from flask.typing import ResponseReturnValue

from console import exports
from console.actions import payments as actions
from console.forms.payments import InvoiceForm, PaidBackForm, PaymentSettingsForm
from console.paging import fetch_page
from console.query_timeout import run_with_timeout
from console.security.auth import settings
from console.views.filters import active_filters, apply_conditions, chips
from console.views.form_handling import run_action, submit_form
from console.views.time_filters import parse_timestamp
from console.views.view import View, action_route, page_route
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput
from shared.core.timestamps import format_timestamp
from shared.models import PAYMENT_PURPOSES, PAYMENT_STATES, Account, Payment
from shared.operations.accounts import find_account
from shared.operations.payments import find_payment, find_payment_settings
from shared.payments.labels import PROVIDERS, PURPOSES
from shared.payments.stripe_events import EVENT_TYPES
from shared.text.translation import gettext

FILTERS = ("account", "state", "purpose", "provider", "payment", "since", "until")
STATES = (*PAYMENT_STATES, "refunded", "disputed", "unrecovered")
ORDER: list[Any] = [Payment.created_at, Payment.reference]
_EXPORTED = (
    *(Payment.provider, Payment.purpose, Payment.state, Payment.amount_minor, Payment.total_minor, Payment.currency),
    *(Payment.credits, Payment.paid_at, Payment.refunded_minor, Payment.disputed_minor, Payment.dispute_status),
    *(Payment.returned_credits, Payment.unrecovered_credits, Payment.checkout_id, Payment.intent_id, Payment.problem),
)


class Step(NamedTuple):
    """A step of the setup: what it is, whether it is done, and what to do."""

    title: str
    is_done: bool
    advice: str


class PaymentsView(View):
    @page_route("/")
    def index(self) -> ResponseReturnValue:
        return self._page(InvoiceForm(formdata=None))

    @page_route("/payments.csv")
    def export(self) -> ResponseReturnValue:
        filters = active_filters(FILTERS)
        conditions = [*_conditions(filters), Payment.created_at <= now_ms()]
        query = Payment.select(*ORDER, Account.email, *_EXPORTED).join(Account).where(*conditions)
        header = ("created_at", "reference", "account", *(column.name for column in _EXPORTED))
        return exports.export("payments", filters, query, ORDER, header, lambda row: (format_timestamp(row[0]), *row[1:]))

    @action_route("/", "payment.invoice")
    def create(self) -> ResponseReturnValue:
        form = InvoiceForm()
        created: list[Payment] = []

        def order() -> str:
            created.append(actions.create_invoice(form))
            return gettext("Order created. Send its payment ID to the customer.")

        done = submit_form(form, order, lambda: url_for("payments.detail", reference=created[0].reference))
        return done or (self._page(form), 422)

    @page_route("/<reference>")
    def detail(self, reference: str) -> ResponseReturnValue:
        return self._detail(find_payment(reference), PaidBackForm(formdata=None))

    @action_route("/<reference>/paid", "payment.invoice")
    def mark_paid(self, reference: str) -> ResponseReturnValue:
        return run_action(lambda: actions.mark_paid(reference), url_for("payments.detail", reference=reference))

    @action_route("/<reference>/bill-paid", "payment.invoice")
    def bill_paid(self, reference: str) -> ResponseReturnValue:
        return run_action(lambda: actions.settle_bill(reference, "paid"), url_for("payments.detail", reference=reference))

    @action_route("/<reference>/bill-waived", "payment.invoice")
    def bill_waived(self, reference: str) -> ResponseReturnValue:
        return run_action(lambda: actions.settle_bill(reference, "waived"), url_for("payments.detail", reference=reference))

    @action_route("/<reference>/cancel", "payment.invoice")
    def cancel(self, reference: str) -> ResponseReturnValue:
        return run_action(lambda: actions.cancel(reference), url_for("payments.detail", reference=reference))

    @action_route("/<reference>/paid-back", "payment.invoice")
    def paid_back(self, reference: str) -> ResponseReturnValue:
        row, form = find_payment(reference), PaidBackForm()
        target = url_for("payments.detail", reference=reference)
        return submit_form(form, lambda: actions.record_paid_back(row, form), target) or (self._detail(row, form), 422)

    @page_route("/settings")
    def terms(self) -> ResponseReturnValue:
        return self._settings(PaymentSettingsForm.from_settings(find_payment_settings()))

    @action_route("/settings", "payment.settings")
    def save(self) -> ResponseReturnValue:
        form = PaymentSettingsForm()
        return submit_form(form, lambda: actions.save_settings(form), url_for("payments.terms")) or (self._settings(form), 422)

    def _page(self, form: InvoiceForm) -> str:
        filters = active_filters(FILTERS)
        query = apply_conditions(Payment.select(Payment, Account.id, Account.email).join(Account), _conditions(filters))
        page = run_with_timeout(lambda: fetch_page(query, ORDER, request.args.get("before")))
        labels = {"purpose": PURPOSES, "provider": PROVIDERS}
        names = {name: {value: str(label) for value, label in known.items()} for name, known in labels.items()}
        return self.page(
            "payments/list.html",
            page=page,
            filters=filters,
            chips=chips("payments.index", filters, names),
            states=STATES,
            purposes=PURPOSES,
            providers=PROVIDERS,
            terms=find_payment_settings(),
            form=form,
        )

    def _detail(self, row: Payment, form: PaidBackForm) -> str:
        return self.page("payments/detail.html", row=row, form=form)

    def _settings(self, form: PaymentSettingsForm) -> str:
        return self.page("payments/settings.html", form=form, steps=_steps(), event_types=EVENT_TYPES)


def _conditions(filters: dict[str, str]) -> list[Any]:
    conditions: list[Any] = []
    if "account" in filters:
        conditions.append(Payment.account == find_account(filters["account"]).id)
    if "state" in filters:
        conditions.append(_in_state(filters["state"]))
    for name, column, values in (("purpose", Payment.purpose, PAYMENT_PURPOSES), ("provider", Payment.provider, PROVIDERS)):
        if name in filters:
            if filters[name] not in values:
                raise InvalidInput(
                    gettext("Unknown value {value!r}. Use one of {values}.", value=filters[name], values=", ".join(values))
                )
            conditions.append(column == filters[name])
    if "payment" in filters:
        wanted = filters["payment"]
        conditions.append((Payment.reference == wanted) | (Payment.checkout_id == wanted) | (Payment.intent_id == wanted))
    if "since" in filters:
        conditions.append(Payment.created_at >= parse_timestamp(filters["since"]))
    if "until" in filters:
        conditions.append(Payment.created_at < parse_timestamp(filters["until"]))
    return conditions


def _in_state(state: str) -> Any:
    conditions = {
        "refunded": Payment.refunded_minor > 0,
        "disputed": Payment.disputed_minor > 0,
        "unrecovered": Payment.unrecovered_credits > 0,
    }
    if state in PAYMENT_STATES:
        return Payment.state == state
    if state not in conditions:
        raise InvalidInput(gettext("Unknown value {value!r}. Use one of {values}.", value=state, values=", ".join(STATES)))
    return conditions[state]


def _steps() -> list[Step]:
    """Return the steps before credits can be sold, and whether each is done. Values of secrets are never shown."""
    chosen, row = settings(), find_payment_settings()
    webhook = f"{chosen.edge_url}/webhooks/stripe/"
    received = row.last_webhook_at if row else None
    return [
        Step(gettext("Price of credits"), row is not None, gettext("Set the currency and the price below.")),
        Step(
            gettext("Stripe's key"),
            chosen.uses_stripe,
            gettext("Set STRIPE_API_KEY for the edge and the worker, and restart them."),
        ),
        Step(
            gettext("Webhook secret"),
            bool(chosen.stripe_webhook_secret),
            gettext("Register {url} at Stripe with the events below, set STRIPE_WEBHOOK_SECRET, and restart.", url=webhook),
        ),
        Step(
            gettext("Public address"),
            bool(chosen.public_url),
            gettext("Set YOUT_PUBLIC_URL: Stripe sends customers back to it, and its webhooks."),
        ),
        Step(
            gettext("First webhook"),
            received is not None,
            gettext("None has arrived yet. Send a test event from Stripe's dashboard."),
        ),
    ]
