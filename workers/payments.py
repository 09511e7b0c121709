"""Payments: reads Stripe's events, in case a webhook was lost, and charges saved cards for automatic top-ups."""

from __future__ import annotations

import logging
from uuid import UUID

import peewee

from shared.core.clock import now_ms
from shared.core.database import database
from shared.core.errors import YoutError
from shared.core.settings import Settings
from shared.models import PaymentSettings
from shared.payments.orders import STRIPE, Fact, expire_orders, record_fact
from shared.payments.stripe_api import CardRefused, PaymentsUnavailable, StripeApi
from shared.payments.stripe_events import read_event
from shared.payments.top_ups import begin_top_up, due_top_ups, expire_unanswered
from shared.payments.webhooks import record_event
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.payments")

RECONCILE_SECONDS = 120.0
TOP_UP_SECONDS = 20.0
OVERLAP_SECONDS = 3_600  # read again, because events appear in the list with a delay
KEPT_SECONDS = 30 * 24 * 3_600  # how long Stripe lists events


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks: none without Stripe, whose library is then not imported."""
    if not settings.uses_stripe:
        return ()
    work = PaymentWork(settings)
    return (
        PeriodicTask("payment reconciliation", RECONCILE_SECONDS, task_connection()(work.reconcile)),
        PeriodicTask("automatic top-ups", TOP_UP_SECONDS, task_connection()(work.top_up)),
    )


class PaymentWork:
    """The payments of one worker process. Every step is safe to repeat and to run in several processes at once."""

    def __init__(self, settings: Settings) -> None:
        self._stripe = StripeApi(settings)
        self._sends_mail = settings.sends_mail

    def reconcile(self) -> int:
        """Record Stripe's events since the last run, oldest first, and expire old orders. Returns the number of events.

        Raises database errors.
        """
        row: PaymentSettings | None = PaymentSettings.get_or_none(PaymentSettings.id == 1)
        if row is None:
            return 0
        now = now_ms()
        since = max(row.events_read_until - OVERLAP_SECONDS, now // 1000 - KEPT_SECONDS)
        database.close()  # no connection is held while Stripe answers
        try:
            events = list(self._stripe.events_since(since))
        except PaymentsUnavailable:  # logged; the next run reads them
            return 0
        for event in reversed(events):
            try:
                record_event(event, sends_mail=self._sends_mail)
            except (peewee.IntegrityError, YoutError):  # one event must not block the others
                log.exception("event %s cannot be recorded", event.get("id"))
        until = max((int(event["created"]) for event in events), default=0)
        if until > row.events_read_until:
            newer = (PaymentSettings.id == 1) & (PaymentSettings.events_read_until < until)
            PaymentSettings.update(events_read_until=until).where(newer).execute()
        expire_orders(now)
        expire_unanswered(now, sends_mail=self._sends_mail)
        return len(events)

    def top_up(self) -> int:
        """Charge the cards of accounts below their threshold. Returns the number of charges that succeeded."""
        return sum(self._charge(account) for account in due_top_ups())

    def _charge(self, account: UUID) -> bool:
        top_up = begin_top_up(account)
        if top_up is None:
            return False
        database.close()
        try:
            intent = self._stripe.charge_card(
                top_up.reference, top_up.amount_minor, top_up.currency, top_up.customer_id, top_up.payment_method
            )
        except CardRefused as refused:
            self._record(Fact("failed", top_up.reference, problem=refused.code))
            return False
        except PaymentsUnavailable as error:
            if error.refused:
                self._record(Fact("failed", top_up.reference, problem=error.code))
            return False  # otherwise the next run repeats it with the same idempotency key
        event = {"type": "payment_intent.succeeded", "data": {"object": intent}}
        if intent.get("status") != "succeeded":
            return False  # still processing: its event follows
        return any(self._record(fact) for fact in read_event(event))

    def _record(self, fact: Fact) -> bool:
        return record_fact(STRIPE, fact, sends_mail=self._sends_mail) is not None
