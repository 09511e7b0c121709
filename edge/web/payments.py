"""Account → Credits: buy credits by card or bank transfer, see payments, and set up automatic top-ups."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.public_url import edge_url
from edge.request_context import read, services, write
from edge.web.form_idempotency import create_once, shown
from edge.web.pages import page
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.core.errors import InvalidInput, InvalidRequest
from shared.core.formats import format_credits
from shared.models import Account, Payment, PaymentProfile, PaymentSettings
from shared.operations import payments as operations
from shared.operations.audit import Origin
from shared.payments.money import parse_money
from shared.payments.orders import CODE, INVOICE, STRIPE, attach_checkout
from shared.payments.stripe_api import CheckoutOrder, PaymentsUnavailable, StripeApi
from shared.text.translation import gettext

payments = Blueprint("payments", __name__)
LATEST = 20


class PaymentsPage(NamedTuple):
    """The data of the page."""

    account: Account
    terms: PaymentSettings | None
    profile: PaymentProfile | None
    rows: list[Payment]


@payments.get("/account/credits")
async def show_credits() -> Response:
    return await _page()


@payments.post("/account/credits/checkout")
async def check_out() -> Response:
    """Order credits, and send the browser to Stripe's checkout page."""
    session = require_session()
    form = await request.form
    try:
        reference = await _order(session.account, STRIPE)
        return await _to_stripe(session.account, reference, save_card="save_card" in form)
    except (InvalidRequest, PaymentsUnavailable) as error:
        return await _page(422 if isinstance(error, InvalidRequest) else 503, str(error), "buy")


@payments.post("/account/credits/invoice")
async def order_by_invoice() -> Response:
    """Order credits, to be paid by bank transfer."""
    session = require_session()
    try:
        reference = await _order(session.account, INVOICE)
    except InvalidRequest as error:
        return await _page(422, str(error), "buy")
    return redirect_to(f"/account/credits/orders/{reference}")


@payments.get("/account/credits/orders/<reference>")
async def show_order(reference: str) -> Response:
    session = require_session()
    row = await read(partial(operations.find_payment, reference, session.account))
    terms = await read(operations.find_payment_settings)
    waits = row.state == "pending" and row.provider == STRIPE
    return await page("account/order.html", row=row, terms=terms, waits=waits, next_url="", wrong="")


@payments.post("/account/credits/orders/<reference>/pay")
async def pay(reference: str) -> Response:
    """Send the browser to Stripe's page for an open order: the same page as before, while it exists."""
    session = require_session()
    row = await read(partial(operations.find_payment, reference, session.account))
    if row.state != "pending" or row.provider != STRIPE or row.purpose != "credits":
        return redirect_to(f"/account/credits/orders/{row.reference}")
    try:
        return await _to_stripe(session.account, row.reference)
    except PaymentsUnavailable as error:
        terms = await read(operations.find_payment_settings)
        return await page("account/order.html", 503, row=row, terms=terms, waits=False, next_url="", wrong=str(error))


@payments.post("/account/credits/orders/<reference>/cancel")
async def cancel(reference: str) -> Response:
    session = require_session()
    job = partial(operations.cancel_order, reference, session.account, origin=origin_of(session.account))
    row = await write(job)
    return redirect_to(f"/account/credits/orders/{row.reference}", "order-cancelled")


@payments.post("/account/credits/top-up")
async def set_top_up() -> Response:
    """Turn automatic top-ups on, change them, or turn them off."""
    session = require_session()
    form = await request.form
    origin = origin_of(session.account)
    try:
        if "off" in form:
            await write(partial(operations.stop_top_up, session.account, origin=origin))
            return redirect_to("/account/credits", "top-up-off")
        terms = await read(operations.find_payment_settings)
        if terms is None:
            raise InvalidRequest(gettext("This payment method is not available."))
        wanted = operations.TopUpTerms(
            whole_credits(form.get("threshold", "")),
            _money(form.get("amount", ""), terms.currency),
            _money(form.get("month", ""), terms.currency),
        )
        await write(partial(operations.set_top_up, session.account, wanted, origin=origin))
    except InvalidRequest as error:
        return await _page(422, str(error), "top_up")
    return redirect_to("/account/credits", "top-up-on")


@payments.post("/account/credits/card/remove")
async def remove_card() -> Response:
    """Remove the saved card. This turns off automatic top-ups."""
    session = require_session()
    await write(partial(operations.remove_card, session.account, origin=origin_of(session.account)))
    return redirect_to("/account/credits", "card-removed")


async def _order(account: UUID, provider: str) -> str:
    """Create the order of the submitted form, once. Returns its reference."""
    form = await request.form
    terms = await read(operations.find_payment_settings)
    if terms is None or (provider == STRIPE and not services().settings.uses_stripe):
        raise InvalidRequest(gettext("This payment method is not available."))
    chosen = form.get("amount", "")
    amount = _money(form.get("other", "") if chosen == "other" else chosen, terms.currency)
    form_id = await create_once(form, partial(_create, account, amount, provider, origin_of(account)))
    created = await shown(form_id)
    if created is None:
        raise InvalidRequest(gettext("The form has expired. Load the page again."))
    return created.result


def _create(account: UUID, amount: int, provider: str, origin: Origin) -> tuple[str, str]:
    return operations.order_credits(account, amount, provider, origin=origin).reference, ""


async def _to_stripe(account: UUID, reference: str, *, save_card: bool = False) -> Response:
    """Return a page that leads to Stripe's. A redirect would be blocked: our policy's `form-action` covers redirects of forms."""
    found, row = await read(partial(_read, account)), await read(partial(operations.find_payment, reference, account))
    stripe = StripeApi(services().settings)
    if row.checkout_id:
        url = await asyncio.to_thread(stripe.checkout_url, row.checkout_id)
        return await page("account/order.html", row=row, terms=found.terms, waits=not url, next_url=url, wrong="")
    order = CheckoutOrder(
        reference,
        row.amount_minor or 0,
        row.currency or "",
        gettext("{credits} credits", credits=format_credits(row.credits)),
        found.account.email,
        found.profile.customer_id if found.profile else None,
        save_card,
        bool(found.terms and found.terms.automatic_tax),
        f"{edge_url()}/account/credits/orders/{reference}",
    )
    checkout = await asyncio.to_thread(stripe.create_checkout, order)
    await write(partial(attach_checkout, reference, checkout.id))
    return await page("account/order.html", row=row, terms=found.terms, waits=False, next_url=checkout.url, wrong="")


async def _page(status: int = 200, wrong: str = "", part: str = "") -> Response:
    found = await read(partial(_read, require_session().account))
    return await page(
        "account/credits.html",
        status,
        **found._asdict(),
        card_payments=services().settings.uses_stripe,
        wrong=wrong,
        part=part,
        form=await request.form if status != 200 else {},
    )


def _read(account: UUID) -> PaymentsPage:
    rows = Payment.select().where((Payment.account == account) & (Payment.provider != CODE))
    latest: list[Any] = list(rows.order_by(Payment.created_at.desc()).limit(LATEST))
    return PaymentsPage(Account.get_by_id(account), operations.find_payment_settings(), operations.find_profile(account), latest)


def _money(text: str, currency: str) -> int:
    try:
        return parse_money(text, currency)
    except InvalidInput as error:
        raise InvalidRequest(str(error)) from None


def whole_credits(text: str) -> int:
    """Read a number of credits from a form. Raises `InvalidRequest`."""
    digits = "".join(text.split()).replace(",", "")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 15:
        raise InvalidRequest(gettext("Enter a whole number of credits."))
    return int(digits)
