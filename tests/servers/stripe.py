"""Stripe for tests: the package `localstripe`, and in front of it a server that adds what the package lacks.

`localstripe` keeps customers, cards, payment intents, charges and refunds. It lacks checkout sessions, idempotency keys,
disputes, lists of events by type, and prices with their subscriptions, so `StripeServer` adds these and passes everything else
on. Events are only collected: tests deliver them as they like, signed or forged, late, twice or never.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import Request, urlopen

from tests import stripe_events
from tests.servers.process import Process, dies_with_parent, start_on_free_port
from tests.servers.stripe_subscriptions import Subscriptions
from tests.threads import join
from tests.upstream_responses import WAIT_SECONDS

KEY = "sk_test_canary_key_0123456789"
WEBHOOK_SECRET = "whsec_canary_secret_0123456789"
GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000341"
Object = dict[str, Any]


class StripeServer:
    """The running fake. `url` is the STRIPE_API_BASE for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.events: list[Object] = []  # the oldest first
        self.sessions: dict[str, Object] = {}
        self.requests: list[tuple[str, str]] = []  # method and path
        self.is_down = False
        self._replies: dict[str, tuple[bytes, tuple[int, bytes]]] = {}  # the request and its reply, by idempotency key
        self._lock = threading.RLock()
        self.subscriptions = Subscriptions(self)
        self._process, self._port = start_on_free_port(self._start, lambda _, port: _answers(port))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="stripe", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def settings(self) -> Object:
        """The `Settings` fields that use it."""
        return {"stripe_api_key": KEY, "stripe_api_base": self.url, "stripe_webhook_secret": WEBHOOK_SECRET}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        join(self._thread, WAIT_SECONDS)
        self._process.kill()

    def pay(self, session_id: str, card: str = GOOD_CARD) -> list[Object]:
        """Pay at a checkout page. Returns the new events."""
        with self._lock:
            session = self.sessions[session_id]
            before = len(self.events)
            if session["mode"] == "subscription":
                self.subscriptions.start(session, card)
                return self.events[before:]
            customer = session["customer"] or self.call("POST", "/v1/customers", {"email": session["customer_email"]})["id"]
            method = self.add_card(customer, card)
            intent = self.call(
                "POST",
                "/v1/payment_intents",
                {
                    "amount": session["amount_total"],
                    "currency": session["currency"],
                    "customer": customer,
                    "payment_method": method,
                    "confirm": "true",
                    **{f"metadata[{name}]": value for name, value in session["intent_metadata"].items()},
                },
            )
            session |= {"customer": customer, "payment_intent": intent["id"], "payment_status": "paid", "status": "complete"}
            self._add_charge_events(intent)
            self.add_event("checkout.session.completed", session)
            return self.events[before:]

    def add_card(self, customer: str, card: str = GOOD_CARD) -> str:
        """Save a card with a customer. Returns its id."""
        values = {"type": "card", "card[number]": card, "card[exp_month]": 3, "card[exp_year]": 2031, "card[cvc]": "123"}
        method: str = self.call("POST", "/v1/payment_methods", values)["id"]
        self.call("POST", f"/v1/payment_methods/{method}/attach", {"customer": customer})
        return method

    def charge(self, customer: str, method: str, amount: int, currency: str) -> tuple[int, Object]:
        """Charge a card for an invoice. Returns the status, and the payment intent or the error."""
        values = {"amount": amount, "currency": currency, "customer": customer, "payment_method": method, "confirm": "true"}
        status, reply = self._forward("POST", "/v1/payment_intents", urlencode(values).encode())
        return status, json.loads(reply)

    def refund(self, intent_id: str, amount: int) -> Object:
        """Refund part of a payment. Returns the event."""
        with self._lock:
            self.call("POST", "/v1/refunds", {"payment_intent": intent_id, "amount": amount})
            return self._add_refund_event(intent_id)

    def refunded(self, intent_id: str) -> int:
        """Return how much of a payment was refunded."""
        return sum(item["amount"] for item in self.call("GET", f"/v1/refunds?payment_intent={intent_id}")["data"])

    def dispute(self, intent_id: str, amount: int, status: str) -> Object:
        """Open or close a dispute. Returns the event."""
        kind = "charge.dispute.closed" if status in ("won", "lost") else "charge.dispute.created"
        found = {"id": f"dp_{intent_id}", "object": "dispute", "payment_intent": intent_id, "amount": amount, "status": status}
        return self.add_event(kind, found)

    def add_event(self, kind: str, found: Object) -> Object:
        """Add an event to the list, without delivering it."""
        with self._lock:
            self.events.append(stripe_events.event(kind, json.loads(json.dumps(found))))
            return self.events[-1]

    def call(self, method: str, path: str, values: Object | None = None) -> Object:
        """Call localstripe itself."""
        status, body = self._forward(method, path, urlencode(values or {}).encode() or None)
        assert status == 200, body
        found: Object = json.loads(body)
        return found

    def answer(self, method: str, target: str, body: bytes, idempotency_key: str) -> tuple[int, bytes]:
        """Return the response to a request of the library under test."""
        with self._lock:
            self.requests.append((method, target))
            if self.is_down:
                return 503, b'{"error": {"type": "api_error", "message": "down"}}'
            if idempotency_key in self._replies:
                first, reply = self._replies[idempotency_key]
                return (
                    reply if first == body else (400, b'{"error": {"type": "idempotency_error", "message": "other parameters"}}')
                )
            reply = self._answer(method, target, body)
            if idempotency_key:
                self._replies[idempotency_key] = body, reply
            return reply

    def _answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        path, form = urlsplit(target).path, {name: values[0] for name, values in parse_qs(body.decode()).items()}
        reply = self.subscriptions.answer(method, path, form)
        if reply is not None:
            return reply[0], json.dumps(reply[1]).encode()
        if (method, path) == ("POST", "/v1/checkout/sessions"):
            return 200, json.dumps(self._create_session(form)).encode()
        if method == "GET" and path.startswith("/v1/checkout/sessions/"):
            session = self.sessions[path.rpartition("/")[2]]
            return 200, json.dumps(session if session["status"] == "open" else session | {"url": None}).encode()
        if (method, path) == ("GET", "/v1/events"):
            return 200, json.dumps(self._list_events(parse_qs(urlsplit(target).query))).encode()
        status, reply = self._forward(method, target, body or None)
        if (method, path) == ("POST", "/v1/refunds") and status == 200:
            self._add_refund_event(form["payment_intent"])
        if (method, path) == ("POST", "/v1/payment_intents"):
            found = json.loads(reply)
            if status == 200:
                self._add_charge_events(found)
            elif "error" in found:
                failed = {
                    "id": f"pi_{os.urandom(8).hex()}",
                    "metadata": _metadata(form, "metadata"),
                    "last_payment_error": found["error"],
                }
                self.add_event("payment_intent.payment_failed", failed)
        return status, reply

    def _create_session(self, form: dict[str, str]) -> Object:
        """Create a session as in Stripe's API reference, "Create a Checkout Session", from the fields that we send."""
        number = len(self.sessions) + 1
        if form["mode"] == "subscription":
            return self._add_session(self.subscriptions.session(form, number))
        price = "line_items[0][price_data]"
        subtotal = int(form[f"{price}[unit_amount]"]) * int(form["line_items[0][quantity]"])
        taxes = subtotal * 19 // 100 if form.get("automatic_tax[enabled]") == "true" else 0
        session = {
            "id": f"cs_test_{number}_{os.urandom(6).hex()}",
            "object": "checkout.session",
            "mode": form["mode"],
            "status": "open",
            "payment_status": "unpaid",
            "client_reference_id": form["client_reference_id"],
            "metadata": _metadata(form, "metadata"),
            "intent_metadata": _metadata(form, "payment_intent_data[metadata]"),
            "amount_subtotal": subtotal,
            "amount_total": subtotal + taxes,
            "currency": form[f"{price}[currency]"],
            "customer": form.get("customer"),
            "customer_email": form.get("customer_email", ""),
            "payment_intent": None,
            "success_url": form["success_url"],
        }
        return self._add_session(session)

    def _add_session(self, session: Object) -> Object:
        session["url"] = f"{self.url}/pay/{session['id']}"
        self.sessions[session["id"]] = session
        return session

    def _list_events(self, query: dict[str, list[str]]) -> Object:
        types = {value for name, values in query.items() if name.startswith("types") for value in values}
        since = int(query.get("created[gte]", ["0"])[0])
        found = [event for event in reversed(self.events) if event["created"] >= since and event["type"] in types]
        after = query.get("starting_after", [""])[0]
        start = next((number + 1 for number, event in enumerate(found) if event["id"] == after), 0)
        limit = int(query.get("limit", ["10"])[0])
        page = found[start : start + limit]
        return {"object": "list", "url": "/v1/events", "data": page, "has_more": start + limit < len(found)}

    def _add_charge_events(self, intent: Object) -> None:
        """Add the events of a payment intent that succeeded."""
        charge = intent["latest_charge"]
        method = self.call("GET", f"/v1/payment_methods/{intent['payment_method']}")
        self.add_event("charge.succeeded", _charge(intent, charge) | {"payment_method_details": {"card": method["card"]}})
        self.add_event("payment_intent.succeeded", intent | {"amount_received": intent["amount"]})

    def _add_refund_event(self, intent_id: str) -> Object:
        intent = self.call("GET", f"/v1/payment_intents/{intent_id}")
        charge = _charge(intent, intent["latest_charge"]) | {"amount_refunded": self.refunded(intent_id)}
        return self.add_event("charge.refunded", charge)

    def _forward(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/x-www-form-urlencoded"}
        request = Request(f"http://127.0.0.1:{self._port}{target}", body, headers, method=method)
        try:
            with urlopen(request, timeout=WAIT_SECONDS) as response:
                return response.status, response.read()
        except HTTPError as error:
            return error.code, error.read()

    def _start(self, port: int) -> Process:
        argv = dies_with_parent([sys.executable, "-m", "localstripe", "--port", str(port), "--from-scratch"])
        return Process("localstripe", argv, env=os.environ, cwd=self._folder, log=self._folder / f"localstripe-{port}.log")


def _handler(stripe: StripeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/pay/"):
                self._page(f'<form method="post"><h1>Checkout</h1><button>Pay {self.path.rpartition("/")[2]}</button></form>')
            else:
                self._reply(*stripe.answer("GET", self.path, b"", ""))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path.startswith("/pay/"):
                session = self.path.rpartition("/")[2]
                stripe.pay(session)
                self.send_response(303)
                self.send_header("location", stripe.sessions[session]["success_url"])
                self.send_header("content-length", "0")
                self.end_headers()
                return
            assert self.headers["authorization"] == f"Bearer {KEY}"
            self._reply(*stripe.answer("POST", self.path, body, self.headers.get("idempotency-key", "")))

        def do_DELETE(self) -> None:
            self._reply(*stripe.answer("DELETE", self.path, b"", ""))

        def _page(self, html: str) -> None:
            self._reply(200, f'<!doctype html><link rel="icon" href="data:,"><title>Checkout</title>{html}'.encode(), "text/html")

        def _reply(self, status: int, body: bytes, kind: str = "application/json") -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep the test's output clean."""

    return Handler


def _charge(intent: Object, charge: Object) -> Object:
    """A charge as Stripe shows it: with the metadata of its intent, and a receipt."""
    metadata, url = intent["metadata"], f"https://pay.stripe.test/receipts/{charge['id']}"
    return charge | {"payment_intent": intent["id"], "metadata": metadata, "receipt_url": url}


def _metadata(form: dict[str, str], prefix: str) -> dict[str, str]:
    start = f"{prefix}["
    return {name.removeprefix(start).rstrip("]"): value for name, value in form.items() if name.startswith(start)}


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False
