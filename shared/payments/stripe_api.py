"""Stripe's API, through its official library. Only this module imports it, and only when it is first used (46 MiB, 0.6 s)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from uuid import UUID

from shared.core.errors import YoutError
from shared.core.settings import Settings
from shared.payments.stripe_events import ATTEMPT_KEY, EVENT_TYPES, PAYMENT_KEY, SAVE_CARD_KEY

if TYPE_CHECKING:
    from stripe import StripeClient

log = logging.getLogger("yout.payments")

TIMEOUT_SECONDS = 20.0
SIGNATURE_SECONDS = 300  # how old a webhook's signature may be
MAX_EVENTS = 20_000  # of one round


class PaymentsUnavailable(YoutError):
    """Stripe is not set up, did not answer, or refused the request. `code` is for logs, and never contains a secret."""

    def __init__(self, message: str, code: str = "", *, refused: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.refused = refused  # whether repeating the same request cannot help


class CardRefused(YoutError):
    """The saved card could not be charged. `code` is Stripe's, such as `insufficient_funds`."""

    def __init__(self, code: str) -> None:
        super().__init__("The card was declined.")
        self.code = code


class InvalidWebhook(YoutError):
    """The request is not signed with our secret, or is too old."""


class Checkout(NamedTuple):
    """A checkout page of Stripe."""

    id: str
    url: str


class CheckoutOrder(NamedTuple):
    """The order that a checkout page is for."""

    reference: str
    amount_minor: int
    currency: str
    description: str
    email: str
    customer_id: str | None
    save_card: bool
    automatic_tax: bool
    return_url: str


class PlanOrder(NamedTuple):
    """The order of a plan that a checkout page is for."""

    reference: str
    price_id: str
    email: str
    customer_id: str | None
    automatic_tax: bool
    return_url: str


class StripeApi:
    """Stripe's API with the keys of the settings. Each method makes one request, and raises `PaymentsUnavailable`."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.stripe_api_key
        self._base = settings.stripe_api_base

    def create_checkout(self, order: CheckoutOrder) -> Checkout:
        """Create the page for an order, once: the order's reference is the idempotency key."""
        metadata = {PAYMENT_KEY: order.reference} | ({SAVE_CARD_KEY: "1"} if order.save_card else {})
        intent: dict[str, Any] = {"metadata": metadata}
        if order.save_card:
            intent["setup_future_usage"] = "off_session"
        price = {
            "currency": order.currency,
            "unit_amount": order.amount_minor,
            "product_data": {"name": order.description},
        }
        params: dict[str, Any] = {
            "mode": "payment",
            "client_reference_id": order.reference,
            "metadata": metadata,
            "payment_intent_data": intent,
            "line_items": [{"price_data": price, "quantity": 1}],
            "invoice_creation": {"enabled": True, "invoice_data": {"metadata": {PAYMENT_KEY: order.reference}}},
            "success_url": order.return_url,
            "cancel_url": order.return_url,
        }
        if order.automatic_tax:
            params["automatic_tax"] = {"enabled": True}
        if order.customer_id:
            params["customer"] = order.customer_id
            if order.automatic_tax:
                params["customer_update"] = {"address": "auto"}
        else:
            params |= {"customer_creation": "always", "customer_email": order.email}
        return self._checkout(params, order.reference)

    def create_plan_price(self, plan: UUID, name: str, amount_minor: int, currency: str, credits: int) -> str:
        """Create the monthly price of a plan, once for the same terms. Returns its id."""
        params: dict[str, Any] = {
            "unit_amount": amount_minor,
            "currency": currency,
            "recurring": {"interval": "month"},
            "product_data": {"name": name},
            "metadata": {"yout_plan": str(plan)},
        }
        key = "plan-" + sha256(repr((plan, name, amount_minor, currency, credits)).encode()).hexdigest()
        price = self._call(lambda client: client.v1.prices.create(cast(Any, params), {"idempotency_key": key}))
        return str(price.id)

    def create_plan_checkout(self, order: PlanOrder) -> Checkout:
        """Create the page for an order of a plan, once: the order's reference is the idempotency key."""
        metadata = {PAYMENT_KEY: order.reference}
        params: dict[str, Any] = {
            "mode": "subscription",
            "client_reference_id": order.reference,
            "metadata": metadata,
            "subscription_data": {"metadata": metadata},
            "line_items": [{"price": order.price_id, "quantity": 1}],
            "success_url": order.return_url,
            "cancel_url": order.return_url,
        }
        if order.customer_id:
            params["customer"] = order.customer_id
        else:
            params["customer_email"] = order.email
        if order.automatic_tax:
            params["automatic_tax"] = {"enabled": True}
            if order.customer_id:
                params["customer_update"] = {"address": "auto"}
        return self._checkout(params, order.reference)

    def _checkout(self, params: dict[str, Any], reference: str) -> Checkout:
        key = f"checkout-{reference}"
        session = self._call(lambda client: client.v1.checkout.sessions.create(cast(Any, params), {"idempotency_key": key}))
        if not session.url:
            raise PaymentsUnavailable("Stripe returned no address for the payment.", "no_url")
        return Checkout(session.id, session.url)

    def change_plan(self, subscription_id: str, price_id: str, *, at_once: bool, key: str) -> dict[str, Any]:
        """Change the price of a subscription, once per `key`; two requests. Returns it with its `latest_invoice`.

        At once, a new month begins and is charged, without proration. Otherwise the next invoice has the new price. A
        cancellation is withdrawn. Raises `CardRefused` if the card was declined; then nothing changes.
        """
        found = self.subscription(subscription_id)
        params: dict[str, Any] = {
            "items": [{"id": found["items"]["data"][0]["id"], "price": price_id}],
            "proration_behavior": "none",
            "cancel_at_period_end": False,
            "expand": ["latest_invoice"],
        }
        if at_once:
            params |= {"billing_cycle_anchor": "now", "payment_behavior": "error_if_incomplete"}
        changed = self._call(
            lambda client: client.v1.subscriptions.update(subscription_id, cast(Any, params), {"idempotency_key": key})
        )
        return cast(dict[str, Any], changed.to_dict())

    def set_cancellation(self, subscription_id: str, cancels: bool) -> None:
        """End a subscription with its period, or withdraw that."""
        self._call(lambda client: client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": cancels}))

    def subscription(self, subscription_id: str) -> dict[str, Any]:
        """Return a subscription."""
        found = self._call(lambda client: client.v1.subscriptions.retrieve(subscription_id))
        return cast(dict[str, Any], found.to_dict())

    def cancel_subscription(self, subscription_id: str) -> None:
        """End a subscription at once, without paying anything back. If it has ended already, the error is `resource_missing`."""
        self._call(lambda client: client.v1.subscriptions.cancel(subscription_id))

    def expire_checkout(self, checkout_id: str) -> None:
        """End a checkout page, so that it can no longer be paid. Raises `PaymentsUnavailable` (refused) if it was paid."""
        self._call(lambda client: client.v1.checkout.sessions.expire(checkout_id))

    def refund(self, reference: str, intent_id: str) -> int:
        """Refund all of a payment, once: the payment's reference is the idempotency key. Returns the refunded amount.

        If it was refunded already, the error is `charge_already_refunded`.
        """
        params: dict[str, Any] = {"payment_intent": intent_id, "metadata": {PAYMENT_KEY: reference}}
        key = {"idempotency_key": f"refund-{reference}"}
        return int(self._call(lambda client: client.v1.refunds.create(cast(Any, params), cast(Any, key))).amount)

    def checkout_url(self, checkout_id: str) -> str:
        """Return the address of a checkout page, or "" if it is paid or has expired."""
        session = self._call(lambda client: client.v1.checkout.sessions.retrieve(checkout_id))
        return str(session.url or "")

    def charge_card(
        self,
        reference: str,
        amount_minor: int,
        currency: str,
        customer_id: str,
        payment_method: str,
        *,
        purpose: str = "top_up",
        attempt: int = 0,
    ) -> dict[str, Any]:
        """Charge a saved card without its holder, once per attempt: they are the idempotency key. Returns the payment intent.

        Raises `CardRefused` if the card was declined or its holder would have to confirm.
        """
        metadata = {PAYMENT_KEY: reference, "yout_purpose": purpose} | ({ATTEMPT_KEY: str(attempt)} if attempt else {})
        params: dict[str, Any] = {
            "amount": amount_minor,
            "currency": currency,
            "customer": customer_id,
            "payment_method": payment_method,
            "payment_method_types": ["card"],  # others may need a page to return to
            "off_session": True,
            "confirm": True,
            "metadata": metadata,
        }
        key = f"{purpose.replace('_', '-')}-{reference}" + (f"-{attempt}" if attempt else "")
        intent = self._call(lambda client: client.v1.payment_intents.create(cast(Any, params), {"idempotency_key": key}))
        return cast(dict[str, Any], intent.to_dict())

    def events_since(self, seconds: int) -> Iterator[dict[str, Any]]:
        """Yield the events about payments from a time on, in seconds UTC, the newest first. Stripe keeps them for 30 days."""
        params: dict[str, Any] = {"types": list(EVENT_TYPES), "created": {"gte": seconds}, "limit": 100}
        page = self._call(lambda client: client.v1.events.list(cast(Any, params)))
        count = 0
        while True:
            for event in page.data:
                yield cast(dict[str, Any], event.to_dict())
            count += len(page.data)
            if not page.has_more or not page.data or count >= MAX_EVENTS:
                return
            following = params | {"starting_after": page.data[-1].id}
            page = self._call(lambda client, following=following: client.v1.events.list(following))

    def _call(self, request: Any) -> Any:
        import stripe

        if not self._key:
            raise PaymentsUnavailable("Payments by card are not set up.", "no_key")
        try:
            return request(_client(self._key, self._base))
        except stripe.CardError as error:
            raise CardRefused(str(getattr(error.error, "decline_code", None) or error.code or "declined")) from None
        except stripe.StripeError as error:
            # The library's messages can quote parts of a key, so neither the log nor a page shows them.
            code = str(error.code or type(error).__name__)[:64]
            log.warning("Stripe's API failed: %s (status %s)", code, error.http_status)
            refused = isinstance(error, stripe.InvalidRequestError)
            message = "The payment provider did not accept the request. Try again later."
            raise PaymentsUnavailable(message, code, refused=refused) from None


def verify_webhook(body: bytes, signature: str, secret: str) -> dict[str, Any]:
    """Return the event in a webhook's body. Raises `InvalidWebhook`, always without a secret."""
    import stripe

    if not secret:
        raise InvalidWebhook("No webhook secret is set.")
    try:
        stripe.WebhookSignature.verify_header(body, signature, secret, SIGNATURE_SECONDS)
        event = json.loads(body)
    except (stripe.SignatureVerificationError, ValueError, TypeError, IndexError, RecursionError):  # TypeError: not ASCII
        raise InvalidWebhook("The signature of the webhook is not valid.") from None
    if not isinstance(event, dict):
        raise InvalidWebhook("The webhook has no event.")
    return event


@cache
def _client(key: str, base: str) -> StripeClient:
    import stripe

    stripe.enable_telemetry = False
    return stripe.StripeClient(
        key,
        base_addresses={"api": base} if base else None,
        max_network_retries=1,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
    )
