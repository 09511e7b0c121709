"""Subscriptions for the fake of Stripe: prices, checkout of a subscription, renewals, changes and cancellations.

`localstripe` has subscriptions only of the former kind, to its plans. Their invoices are paid by its payment intents.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from tests import stripe_events

if TYPE_CHECKING:
    from tests.servers.stripe import StripeServer

Object = dict[str, Any]
MONTH_SECONDS = 30 * 86_400


class Subscriptions:
    """The prices, subscriptions and invoices of a `StripeServer`."""

    def __init__(self, server: StripeServer) -> None:
        self._server = server
        self.prices: dict[str, Object] = {}
        self.by_id: dict[str, Object] = {}
        self.invoices: list[Object] = []

    def answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, Object] | None:
        """Answer a request that is about subscriptions; None for others."""
        *folder, last = path.removeprefix("/v1/").split("/")
        if (method, path) == ("POST", "/v1/prices"):
            return 200, self._create_price(form)
        if method == "POST" and folder[:2] == ["checkout", "sessions"] and last == "expire":
            return self._expire(folder[2])
        if folder == ["subscriptions"] and last in self.by_id:
            return self._change(self.by_id[last], method, form)
        return None

    def session(self, form: dict[str, str], number: int) -> Object:
        """A checkout session of a subscription, as in Stripe's API reference, from the fields that we send."""
        price = self.prices[form["line_items[0][price]"]]
        reference = form["subscription_data[metadata][yout_payment]"]
        return stripe_events.subscription_session(
            reference,
            "",
            form.get("customer", ""),
            id=f"cs_test_{number}_{os.urandom(6).hex()}",
            status="open",
            payment_status="unpaid",
            customer_email=form.get("customer_email", ""),
            success_url=form["success_url"],
            price=price["id"],
        )

    def start(self, session: Object, card: str) -> None:
        """Pay at a checkout page: the subscription and its first invoice."""
        customer = session["customer"] or self._server.call("POST", "/v1/customers", {"email": session["customer_email"]})["id"]
        found = stripe_events.subscription(
            f"sub_{os.urandom(8).hex()}",
            session["metadata"]["yout_payment"],
            customer=customer,
            default_payment_method=self._server.add_card(customer, card),
            items={"data": [{"id": f"si_{os.urandom(8).hex()}", "price": self.prices[session["price"]]}]},
            current_period_end=int(time.time()),
        )
        self.by_id[found["id"]] = found
        session |= {"customer": customer, "subscription": found["id"], "payment_status": "paid", "status": "complete"}
        self.bill(found["id"], "subscription_create")
        self._server.add_event("checkout.session.completed", session)

    def bill(self, id: str, reason: str = "subscription_cycle") -> Object:
        """Create the invoice of the next period and charge the card. Returns the invoice."""
        found = self.by_id[id]
        price = found["items"]["data"][0]["price"]
        start = found["current_period_end"]
        number = f"in_{os.urandom(8).hex()}"
        invoice = stripe_events.invoice(number, found, price["id"], price["unit_amount"], start, billing_reason=reason)
        self.invoices.append(invoice)
        found["current_period_end"] = start + MONTH_SECONDS
        self.charge(invoice)
        return invoice

    def charge(self, invoice: Object) -> bool:
        """Charge the card of a subscription for an invoice. Returns whether it was paid."""
        found = self.by_id[invoice["parent"]["subscription_details"]["subscription"]]
        status, intent = self._server.charge(found["customer"], found["default_payment_method"], invoice["total"], "usd")
        invoice["status"] = "paid" if status == 200 else "open"
        found["status"] = "active" if status == 200 else "past_due"
        if status == 200:
            self._server.add_event("invoice_payment.paid", stripe_events.invoice_payment(invoice["id"], intent["id"]))
            self._server.add_event("invoice.paid", invoice)
        else:
            self._server.add_event("invoice.payment_failed", invoice)
        self._server.add_event("customer.subscription.updated", found)
        return status == 200

    def end(self, id: str) -> Object:
        """End a subscription at once. Returns the event."""
        self.by_id[id]["status"] = "canceled"
        return self._server.add_event("customer.subscription.deleted", self.by_id[id])

    def _create_price(self, form: dict[str, str]) -> Object:
        price = {
            "id": f"price_{os.urandom(8).hex()}",
            "object": "price",
            "unit_amount": int(form["unit_amount"]),
            "currency": form["currency"],
            "recurring": {"interval": form["recurring[interval]"]},
        }
        self.prices[price["id"]] = price
        return price

    def _expire(self, session_id: str) -> tuple[int, Object]:
        session = self._server.sessions[session_id]
        if session["status"] != "open":
            return 400, {"error": {"type": "invalid_request_error", "message": "not open"}}
        session["status"] = "expired"
        self._server.add_event("checkout.session.expired", session)
        return 200, session

    def _change(self, found: Object, method: str, form: dict[str, str]) -> tuple[int, Object]:
        if method == "GET":
            return 200, found
        if found["status"] == "canceled":
            return 404, {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "gone"}}
        if method == "DELETE":
            self.end(found["id"])
            return 200, found
        if "cancel_at_period_end" in form:
            found["cancel_at_period_end"] = form["cancel_at_period_end"] == "true"
        if "items[0][price]" in form:
            return self._change_price(found, form)
        self._server.add_event("customer.subscription.updated", found)
        return 200, found

    def _change_price(self, found: Object, form: dict[str, str]) -> tuple[int, Object]:
        """Change the price: from the next period on, or at once with a new period, if the card can be charged."""
        item = found["items"]["data"][0]
        assert form["items[0][id]"] == item["id"]
        assert form["proration_behavior"] == "none"
        before = item["price"]
        item["price"] = self.prices[form["items[0][price]"]]
        if form.get("billing_cycle_anchor") == "now":
            assert form["payment_behavior"] == "error_if_incomplete"
            amount = item["price"]["unit_amount"]
            status, intent = self._server.charge(found["customer"], found["default_payment_method"], amount, "usd")
            if status != 200:
                item["price"] = before
                return status, intent
            start = int(time.time())
            id = f"in_{os.urandom(8).hex()}"
            invoice = stripe_events.invoice(id, found, item["price"]["id"], amount, start, billing_reason="subscription_update")
            found["current_period_end"] = start + MONTH_SECONDS
            self._server.add_event("invoice_payment.paid", stripe_events.invoice_payment(id, intent["id"]))
            self._server.add_event("invoice.paid", invoice)
            self._server.add_event("customer.subscription.updated", found)
            return 200, found | {"latest_invoice": invoice}
        self._server.add_event("customer.subscription.updated", found)
        return 200, found
