"""Webhooks of a payment provider in random order: 10,000 by default, some duplicated and some lost, to two edges.

    python -m bench.payments [--webhooks 10000] [--edges 2] [--sqlite]

Each payment has events of every kind: paid, a card, refunds, one or two disputes. A fifth of them are lost, a third are sent
twice. They are signed and sent over HTTP, by several senders at once. Afterwards the list of all events is read once, as the
worker does. Then every payment must equal its ledger entries, and each account's card must be that of its newest order.
"""

from __future__ import annotations

import argparse
import http.client
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from peewee import fn

from bench.gateway.postgres import DurablePostgres
from shared.core.clock import now_ms
from shared.core.database import bind_database, transaction
from shared.core.schema_version import migrate
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, Payment, PaymentProfile
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.payments import PaymentTerms, set_payment_settings
from shared.payments.orders import create_order
from shared.payments.webhooks import record_event
from tests import stripe_events
from tests.databases import opened
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.redis import RedisServer
from tests.servers.stripe import KEY, WEBHOOK_SECRET

SENDERS_PER_EDGE = 4
WAIT_SECONDS = 120
ORIGIN = Origin("bench")
Event = dict[str, Any]


def life(row: Payment, chance: random.Random) -> list[Event]:
    """Return every event of a payment, oldest first."""
    events = [
        stripe_events.event("checkout.session.completed", stripe_events.session(row)),
        stripe_events.event("charge.succeeded", stripe_events.charge(row, payment_method=card_of(row))),
    ]
    end = chance.choice(("kept", "refunded", "lost", "won", "disputed twice"))
    if end == "refunded":
        events += [stripe_events.event("charge.refunded", stripe_events.charge(row, amount_refunded=part)) for part in (100, 500)]
    elif end == "disputed twice":
        events += [*dispute(row, "won"), *dispute(row, chance.choice(("lost", "won")), 200, number=2)]
    elif end != "kept":
        events += dispute(row, end)
    return events


def dispute(row: Payment, end: str, amount: int | None = None, *, number: int = 1) -> list[Event]:
    """Return the events of a dispute that ends like this."""
    return [
        stripe_events.event(f"charge.dispute.{kind}", stripe_events.dispute(row, status, amount, number=number))
        for kind, status in (("created", "needs_response"), ("closed", end))
    ]


def card_of(row: Payment) -> str:
    """Return the id of the card that a payment saved."""
    return f"pm_{row.reference}"


def deliver(edge: WebProcess, events: list[Event]) -> list[int]:
    """Send signed events to an edge on one connection. Return the statuses that are not 200."""
    failed = []
    with closing(http.client.HTTPConnection("127.0.0.1", edge.port, timeout=WAIT_SECONDS)) as connection:
        for event in events:
            body, signature = stripe_events.signed(event, WEBHOOK_SECRET)
            headers = {"stripe-signature": signature, "content-type": "application/json"}
            connection.request("POST", "/webhooks/stripe/", body, headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failed.append(response.status)
    return failed


def deliver_at_once(edges: list[WebProcess], events: list[Event]) -> list[int]:
    """Deliver events with several senders for each edge. Return the statuses that are not 200."""
    senders = edges * SENDERS_PER_EDGE
    shares = [events[number :: len(senders)] for number in range(len(senders))]
    # Each sender also gets some of the events that the others send, at about the same time.
    jobs = [share + shares[number - 1][-200:] for number, share in enumerate(shares)]
    with ThreadPoolExecutor(len(senders)) as pool:
        return [status for failed in pool.map(deliver, senders, jobs) for status in failed]


@contextmanager
def database_url(sqlite: bool) -> Iterator[str]:
    if sqlite:
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder, 'bench.db')}"
        return
    server = DurablePostgres()
    try:
        yield server.create_database()
    finally:
        server.stop()


def problems() -> list[str]:
    """Return what differs between payments and ledger, and cards that are not those of the newest order."""
    found = list(verify_ledger(now_ms()).problems)
    for row in Payment.select().where(Payment.state == "paid"):
        own = (LedgerEntry.account == row.account) & LedgerEntry.reason.startswith(f"payment {row.reference}")
        entries = [entry.amount for entry in LedgerEntry.select().where(own)]
        if sum(entries) != row.credits - row.returned_credits or entries.count(row.credits) < 1:
            found.append(f"payment {row.reference}: entries {entries}")
    newest = Payment.select(Payment.account, fn.MAX(Payment.reference)).group_by(Payment.account).tuples()
    for account, reference in newest:
        card = PaymentProfile.get_by_id(account).payment_method
        if card != f"pm_{reference}":
            found.append(f"account {account}: card {card} instead of pm_{reference}")
    return found


def create_events(webhooks: int, chance: random.Random) -> tuple[list[Event], list[Event]]:
    """Create payments. Return all their events, and those to send: some of them, some twice, in random order."""
    listed: list[Event] = []
    sent: list[Event] = []
    with transaction():
        while len(sent) < webhooks:
            account = create_account(f"buyer-{len(listed)}@example.com", origin=ORIGIN)
            events = [
                event for _ in range(10) for event in life(create_order(account.id, "stripe", 500, "usd", 5_000_000), chance)
            ]
            listed += events
            kept = [event for event in events if chance.random() > 0.2]
            sent += kept + chance.sample(kept, len(kept) // 3)
    chance.shuffle(sent)
    return listed, sent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--webhooks", type=int, default=10_000)
    parser.add_argument("--edges", type=int, default=2)
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    with database_url(arguments.sqlite) as url, opened(url) as target, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = RedisServer("valkey", folder)
        stack.callback(redis.kill)
        migrate(target)
        bind_database(target)
        set_payment_settings(PaymentTerms("usd", 10_000, [500], 100, 10_000), origin=ORIGIN)
        settings = {"database_url": url, "redis_url": redis.url, "stripe_api_key": KEY, "stripe_webhook_secret": WEBHOOK_SECRET}
        edges = []
        for _ in range(arguments.edges):
            edges.append(start_edge(folder, environment_of(settings)))
            stack.callback(edges[-1].kill)
        listed, sent = create_events(arguments.webhooks, random.Random(1))
        started = time.monotonic()
        failed = deliver_at_once(edges, sent)
        seconds = time.monotonic() - started
        for event in listed:
            record_event(event)
        wrong = [*(f"a webhook got {status}" for status in failed), *problems()]
        payments, credits = (
            Payment.select(fn.COUNT(Payment.reference), fn.SUM(Payment.credits - Payment.returned_credits)).tuples().get()
        )
        balance = Account.select(fn.SUM(Account.balance)).scalar()
        print(f"{len(sent):,} webhooks for {payments:,} payments in {seconds:.0f} s; then {len(listed):,} listed events")
        print(f"payments: {credits:,} credits; balances: {balance:,} credits; {len(wrong)} problems")
        print(*wrong[:20], sep="\n")
    return 1 if wrong or credits != balance else 0


if __name__ == "__main__":
    sys.exit(main())
