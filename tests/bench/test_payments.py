"""The benchmark of payments, with few webhooks: ledger and payments are equal afterwards, and a difference is found."""

from __future__ import annotations

import random
from collections.abc import Callable

import peewee

from bench import payments
from shared.ledger import post_entry
from shared.models import Payment, PaymentProfile
from shared.operations.payments import PaymentTerms, set_payment_settings
from shared.payments.webhooks import record_event
from tests.factories import ORIGIN
from tests.servers.edge import WebProcess
from tests.servers.stripe import KEY, WEBHOOK_SECRET


def test_webhooks_in_random_order_leave_ledger_and_payments_equal(
    bound_postgres: peewee.Database, postgres_url: str, redis_url: str, start_edge: Callable[..., WebProcess]
) -> None:
    set_payment_settings(PaymentTerms("usd", 10_000, [500], 100, 10_000), origin=ORIGIN)
    settings = {"database_url": postgres_url, "redis_url": redis_url}
    edges = [start_edge(**settings, stripe_api_key=KEY, stripe_webhook_secret=WEBHOOK_SECRET) for _ in range(2)]
    listed, sent = payments.create_events(400, random.Random(2))
    assert payments.deliver_at_once(edges, sent) == []
    for event in listed:
        record_event(event)
    assert payments.problems() == []

    row = Payment.get(Payment.state == "paid")
    post_entry(row.account.id, "adjustment", 1, actor="test", reason=f"payment {row.reference}")
    PaymentProfile.update(payment_method="pm_of_an_older_order").where(PaymentProfile.account == row.account).execute()
    assert len(payments.problems()) == 2
