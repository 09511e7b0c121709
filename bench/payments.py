"""Webhooks of a payment provider in random order: 10,000 by default, some duplicated and some lost, to two processes.

    python -m bench.payments [--webhooks 10000] [--processes 2] [--sqlite]

Each payment has events of every kind: paid, a card, refunds, disputes. A fifth of them are lost, a third are sent twice.
Afterwards the list of all events is read once, as the worker does. Then every payment must equal its ledger entries.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from peewee import fn

from bench.gateway.postgres import DurablePostgres
from shared.core.clock import now_ms
from shared.core.database import bind_database, open_database, transaction
from shared.core.schema_version import migrate
from shared.ledger.verify import verify_ledger
from shared.models import Account, LedgerEntry, Payment
from shared.operations.accounts import create_account
from shared.operations.audit import Origin
from shared.operations.payments import PaymentTerms, set_payment_settings
from shared.payments.orders import create_order
from shared.payments.webhooks import record_event
from tests import stripe_events
from tests.databases import opened

ORIGIN = Origin("bench")
Event = dict[str, Any]


def life(row: Payment, chance: random.Random) -> list[Event]:
    """Return every event of a payment, oldest first."""
    events = [
        stripe_events.event("checkout.session.completed", stripe_events.session(row)),
        stripe_events.event("charge.succeeded", stripe_events.charge(row)),
    ]
    end = chance.choice(("kept", "refunded", "lost", "won"))
    if end == "refunded":
        events += [stripe_events.event("charge.refunded", stripe_events.charge(row, amount_refunded=part)) for part in (100, 500)]
    elif end != "kept":
        events.append(stripe_events.event("charge.dispute.created", stripe_events.dispute(row, "needs_response")))
        events.append(stripe_events.event("charge.dispute.closed", stripe_events.dispute(row, end)))
    return events


def deliver(url: str, events: list[Event]) -> None:
    """Record events, one transaction each. Runs in a process of its own."""
    bind_database(open_database(url))
    for event in events:
        record_event(event)


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
    """Return what differs between payments and ledger."""
    found = list(verify_ledger(now_ms()).problems)
    for row in Payment.select().where(Payment.state == "paid"):
        own = (LedgerEntry.account == row.account) & LedgerEntry.reason.startswith(f"payment {row.reference}")
        entries = [entry.amount for entry in LedgerEntry.select().where(own)]
        if sum(entries) != row.credits - row.returned_credits or entries.count(row.credits) < 1:
            found.append(f"payment {row.reference}: entries {entries}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--webhooks", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sqlite", action="store_true")
    arguments = parser.parse_args()
    chance = random.Random(1)
    with database_url(arguments.sqlite) as url, opened(url) as target:
        migrate(target)
        bind_database(target)
        set_payment_settings(PaymentTerms("usd", 10_000, [500], 100, 10_000), origin=ORIGIN)
        listed: list[Event] = []
        sent: list[Event] = []
        with transaction():
            while len(sent) < arguments.webhooks:
                account = create_account(f"buyer-{len(listed)}@example.com", origin=ORIGIN)
                events = [
                    event for _ in range(10) for event in life(create_order(account.id, "stripe", 500, "usd", 5_000_000), chance)
                ]
                listed += events
                kept = [event for event in events if chance.random() > 0.2]
                sent += kept + chance.sample(kept, len(kept) // 3)
        chance.shuffle(sent)
        context, started = get_context("spawn"), time.monotonic()
        shares = [sent[number :: arguments.processes] for number in range(arguments.processes)]
        # Each process also gets some of the events that the others deliver, at about the same time.
        jobs = [
            context.Process(target=deliver, args=(url, share + shares[number - 1][-200:])) for number, share in enumerate(shares)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        seconds = time.monotonic() - started
        for event in listed:
            record_event(event)
        wrong = problems()
        payments, credits = (
            Payment.select(fn.COUNT(Payment.reference), fn.SUM(Payment.credits - Payment.returned_credits)).tuples().get()
        )
        balance = Account.select(fn.SUM(Account.balance)).scalar()
        print(f"{len(sent):,} webhooks for {payments:,} payments in {seconds:.0f} s; then {len(listed):,} listed events")
        print(f"payments: {credits:,} credits; balances: {balance:,} credits; {len(wrong)} problems")
        print(*wrong[:20], sep="\n")
    return 1 if wrong or credits != balance or any(job.exitcode for job in jobs) else 0


if __name__ == "__main__":
    sys.exit(main())
