"""Account → Plan: the account's plan, and the plans that can be bought."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple, TypeVar
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.public_url import edge_url
from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.payments import whole_credits
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.core.errors import InvalidInput, InvalidRequest
from shared.models import Account, Payment, PaymentProfile, PaymentSettings, Plan, PlanPrice, StripeSubscription, Subscription
from shared.operations import plan_purchases as operations
from shared.operations.payments import find_payment, find_payment_settings, find_profile, retry_bill, unpaid_bills
from shared.operations.subscriptions import active_subscription, set_own_overage
from shared.payments.orders import attach_checkout
from shared.payments.plan_facts import SubscriptionFact, record_plan_fact
from shared.payments.stripe_api import CardRefused, PaymentsUnavailable, PlanOrder, StripeApi
from shared.payments.webhooks import record_event
from shared.text.translation import gettext

plans = Blueprint("plans", __name__)
T = TypeVar("T")


class PlanPage(NamedTuple):
    """The data of the page. `bought` is the subscription at Stripe, or an open order of one."""

    account: Account
    terms: PaymentSettings | None
    profile: PaymentProfile | None
    subscription: Subscription | None
    bought: StripeSubscription | None
    paid: PlanPrice | None  # the price of the current period
    invoice: Payment | None  # of the plan, if its payment has failed
    under_review: Payment | None  # the plan's latest invoice, if it differs from the order
    next_plan: Plan | None
    bills: list[Payment]
    plans: list[Plan]


@plans.get("/account/plan")
async def show_plan() -> Response:
    return await _page()


@plans.post("/account/plan/subscribe")
async def subscribe() -> Response:
    """Order a plan, and send the browser to Stripe's checkout page. The same plan's open order keeps its page."""
    session = require_session()
    try:
        plan, terms = await _chosen(), await _terms()
        price = await _price(plan, terms)
        reference = await _order(session.account, price)
        return await _to_stripe(session.account, reference, price, terms)
    except (InvalidRequest, PaymentsUnavailable) as error:
        return await _page(422 if isinstance(error, InvalidRequest) else 503, str(error))


@plans.post("/account/plan/change")
async def change() -> Response:
    """Change to another plan: to a more expensive one at once, otherwise with the next period."""
    session = require_session()
    try:
        plan, terms = await _chosen(), await _terms()
        price = await _price(plan, terms)
        found = await _checked(partial(operations.changeable_subscription, session.account))
        await _checked(partial(operations.require_paid, session.account))
        if price.id == found.price.id:
            raise InvalidRequest(gettext("This is your plan already."))
        current = await read(partial(operations.paid_price, found))
        at_once = price.amount_minor > current.amount_minor
        await _change_at_stripe(found, price, at_once=at_once)
    except (InvalidRequest, PaymentsUnavailable) as error:
        return await _page(422 if isinstance(error, InvalidRequest) else 503, str(error))
    return redirect_to("/account/plan", "plan-changed" if at_once else "plan-changes")


async def _change_at_stripe(found: StripeSubscription, price: PlanPrice, *, at_once: bool) -> None:
    account = require_session().account
    token = (await request.form).get("form_token", "")
    key = f"change-{sha256(f'{account} {price.id} {token}'.encode()).hexdigest()}"
    stripe = StripeApi(services().settings)
    try:
        changed = await asyncio.to_thread(partial(stripe.change_plan, found.stripe_id or "", price.id, at_once=at_once, key=key))
    except CardRefused:
        raise InvalidRequest(gettext("The card was declined. Your plan is unchanged.")) from None
    await write(partial(operations.record_change, account, price, origin=origin_of(account)))
    invoice = changed.get("latest_invoice")
    if at_once and isinstance(invoice, dict) and invoice.get("status") == "paid":  # its webhook states the same again
        event = {"type": "invoice.paid", "data": {"object": invoice}}
        await write(partial(record_event, event, sends_mail=services().settings.sends_mail))


@plans.post("/account/plan/cancel")
async def cancel() -> Response:
    return await _set_cancellation(True, "plan-cancelled")


@plans.post("/account/plan/keep")
async def keep() -> Response:
    """Withdraw a cancellation."""
    return await _set_cancellation(False, "plan-kept")


async def _set_cancellation(cancels: bool, done: str) -> Response:
    account = require_session().account
    try:
        found = await _checked(partial(operations.changeable_subscription, account))
        stripe = StripeApi(services().settings)
        await asyncio.to_thread(stripe.set_cancellation, found.stripe_id or "", cancels)
    except (InvalidRequest, PaymentsUnavailable) as error:
        return await _page(422 if isinstance(error, InvalidRequest) else 503, str(error))
    await write(partial(operations.record_cancellation, account, cancels, origin=origin_of(account)))
    return redirect_to("/account/plan", done)


@plans.post("/account/plan/overage")
async def set_overage() -> Response:
    """Set the overage cap, up to the plan's maximum; 0 turns overage off."""
    account = require_session().account
    try:
        cap = whole_credits((await request.form).get("cap", ""))
        await write(partial(set_own_overage, account, cap, origin=origin_of(account)))
    except InvalidRequest as error:
        return await _page(422, str(error))
    return redirect_to("/account/plan", "overage-set")


@plans.post("/account/plan/bills/<reference>/pay")
async def pay_bill(reference: str) -> Response:
    """Charge an unpaid overage bill to the saved card again."""
    account = require_session().account
    try:
        await write(partial(retry_bill, reference, account, origin=origin_of(account)))
    except InvalidRequest as error:
        return await _page(422, str(error))
    return redirect_to("/account/plan", "bill-retried")


async def _checked(query: Callable[[], T]) -> T:
    """Read, and show a refusal as a message on the page. Raises `InvalidRequest`."""
    try:
        return await read(query)
    except InvalidInput as error:
        raise InvalidRequest(str(error)) from None


async def _chosen() -> Plan:
    try:
        id = UUID((await request.form).get("plan", ""))
    except ValueError:
        raise InvalidRequest(gettext("Choose a plan.")) from None
    return await read(partial(operations.plan_for_sale, id))


async def _terms() -> PaymentSettings:
    terms = await read(find_payment_settings)
    if terms is None or not services().settings.uses_stripe:
        raise InvalidRequest(gettext("This payment method is not available."))
    return terms


async def _price(plan: Plan, terms: PaymentSettings) -> PlanPrice:
    """Return the price of a plan at Stripe. The first customer creates it."""
    found = await read(partial(operations.find_plan_price, plan, terms))
    if found is not None:
        return found
    stripe = StripeApi(services().settings)
    id = await asyncio.to_thread(
        stripe.create_plan_price, plan.id, plan.name, plan.price_cents, terms.currency, plan.monthly_credits
    )
    return await write(partial(operations.add_plan_price, plan, terms, id))


async def _order(account: UUID, price: PlanPrice) -> str:
    """Return the reference of the open order for a price; one of another plan is replaced, if it was not paid meanwhile."""
    found = await read(partial(operations.open_subscription, account))
    if found is not None and found.state == "pending":
        if found.price.id == price.id:
            return found.reference
        await _give_up(account, found.reference)
    return (await write(partial(operations.order_plan, account, price, origin=origin_of(account)))).reference


async def _give_up(account: UUID, reference: str) -> None:
    """End an open order and its checkout page."""
    has_ended = await _end_checkout(account, reference)
    await write(partial(record_plan_fact, SubscriptionFact("expired", reference)))
    if not has_ended:  # another request may have created the page meanwhile
        await _end_checkout(account, reference)


async def _end_checkout(account: UUID, reference: str) -> bool:
    """End the checkout page of an order. Returns whether it has one. Raises `InvalidRequest` if it was paid."""
    row = await read(partial(find_payment, reference, account))
    if not row.checkout_id:
        return False
    try:
        await asyncio.to_thread(StripeApi(services().settings).expire_checkout, row.checkout_id)
    except PaymentsUnavailable as error:
        if error.refused:
            raise InvalidRequest(gettext("Your payment is being processed. Try again in a few minutes.")) from None
        raise
    return True


async def _to_stripe(account: UUID, reference: str, price: PlanPrice, terms: PaymentSettings) -> Response:
    """Return a page that leads to Stripe's, as for credits (`edge/web/payments.py`)."""
    found, row = await read(partial(_read, account)), await read(partial(find_payment, reference, account))
    stripe = StripeApi(services().settings)
    if row.checkout_id:
        url = await asyncio.to_thread(stripe.checkout_url, row.checkout_id)
        if not url:
            return redirect_to(f"/account/credits/orders/{reference}")
        return await _leave(row, terms, url)
    order = PlanOrder(
        reference,
        price.id,
        found.account.email,
        found.profile.customer_id if found.profile else None,
        terms.automatic_tax,
        f"{edge_url()}/account/credits/orders/{reference}",
    )
    checkout = await asyncio.to_thread(stripe.create_plan_checkout, order)
    await write(partial(attach_checkout, reference, checkout.id))
    current = await read(partial(operations.open_subscription, account))
    if current is None or current.reference != reference:  # another request has given the order up
        await asyncio.to_thread(stripe.expire_checkout, checkout.id)
        raise InvalidRequest(gettext("There is a paid plan or an open order already. Load the page again."))
    return await _leave(row, terms, checkout.url)


async def _leave(row: Payment, terms: PaymentSettings, url: str) -> Response:
    return await page("account/order.html", row=row, terms=terms, waits=False, next_url=url, wrong="")


async def _page(status: int = 200, wrong: str = "") -> Response:
    found = await read(partial(_read, require_session().account))
    return await page("account/plan.html", status, **found._asdict(), card_payments=services().settings.uses_stripe, wrong=wrong)


def _read(account: UUID) -> PlanPage:
    subscription, bought = active_subscription(account), operations.open_subscription(account)
    return PlanPage(
        Account.get_by_id(account),
        find_payment_settings(),
        find_profile(account),
        subscription,
        bought,
        operations.paid_price(bought) if bought and bought.state == "active" else None,
        operations.unpaid_invoice(bought) if bought else None,
        operations.invoice_under_review(account),
        Plan.get_or_none(Plan.id == subscription.next_plan) if subscription and subscription.next_plan else None,
        unpaid_bills(account),
        operations.plans_for_sale(),
    )
