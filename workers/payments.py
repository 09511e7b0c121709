"""Payments: reads Stripe's events, in case a webhook was lost, ends what closed accounts left there, and charges saved cards."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

import peewee

from shared.core.clock import now_ms
from shared.core.database import database
from shared.core.errors import YoutError
from shared.core.settings import Settings
from shared.models import PaymentSettings, StripeSubscription
from shared.payments.orders import (
    STRIPE,
    Fact,
    expire_orders,
    orders_of_closed_accounts,
    payments_to_refund,
    record_fact,
)
from shared.payments.overage_bills import Charge, begin_charge, create_bill_payments, due_bills
from shared.payments.plan_facts import SubscriptionFact, ended_here, expire_plan_orders, record_plan_fact
from shared.payments.stripe_api import CardRefused, PaymentsUnavailable, StripeApi
from shared.payments.top_ups import begin_top_up, due_top_ups, expire_unanswered
from shared.payments.webhooks import record_event
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.payments")

RECONCILE_SECONDS = 120.0
TOP_UP_SECONDS = 20.0
OVERAGE_SECONDS = 60.0
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
        PeriodicTask("overage bills", OVERAGE_SECONDS, task_connection()(work.collect_overage)),
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
        expire_plan_orders(now)
        self.cancel_ended()
        self.end_checkouts()
        self.refund_closed()
        expire_unanswered(now, sends_mail=self._sends_mail)
        return len(events)

    def cancel_ended(self) -> int:
        """Cancel subscriptions at Stripe whose plan has ended here. Returns their number."""
        return sum(self._cancel(found) for found in ended_here(now_ms()))

    def _cancel(self, found: StripeSubscription) -> bool:
        """Cancel a subscription, unless its last invoice was paid meanwhile: then the event starts the plan again."""
        database.close()
        id = found.stripe_id or ""
        try:
            if found.state == "active" and self._stripe.subscription(id).get("status") in ("active", "trialing"):
                return False
            self._stripe.cancel_subscription(id)
        except PaymentsUnavailable as error:  # logged; the next run repeats it
            if error.code != "resource_missing":
                return False
        return record_plan_fact(SubscriptionFact("ended", found.reference))

    def end_checkouts(self) -> None:
        """End the checkout pages of closed accounts. One that was paid meanwhile is refunded."""
        for row in orders_of_closed_accounts():
            database.close()
            try:
                self._stripe.expire_checkout(row.checkout_id or "")
            except PaymentsUnavailable as error:  # logged
                if not error.refused:
                    continue  # the next run repeats it
            self._record(Fact("expired", row.reference))

    def refund_closed(self) -> None:
        """Refund payments that arrived after their account was closed. Stripe reports what was refunded once more."""
        for row in payments_to_refund():
            database.close()
            try:
                amount = self._stripe.refund(row.reference, row.intent_id or "")
            except PaymentsUnavailable as error:  # logged; the next run repeats it, such as when Stripe's balance is too low
                if error.code != "charge_already_refunded":
                    continue
                amount = row.total_minor or 0
            self._record(Fact("refunded", row.reference, amount_minor=amount))

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
        return self._record_intent(intent)

    def collect_overage(self) -> int:
        """Charge the cards of accounts with overage bills that are due. Returns the number of charges that succeeded."""
        create_bill_payments()
        return sum(self._charge_bill(begin_charge(account, reference)) for account, reference in due_bills())

    def _charge_bill(self, charge: Charge | None) -> bool:
        if charge is None:
            return False
        database.close()
        try:
            method, customer = charge.payment_method, charge.customer_id
            if not method and charge.stripe_id:
                found = self._stripe.subscription(charge.stripe_id)
                method, customer = str(found.get("default_payment_method") or ""), str(found.get("customer") or "")
            if not method:
                raise CardRefused("no_card")
            terms = (charge.reference, charge.amount_minor, charge.currency, customer, method)
            intent = self._stripe.charge_card(*terms, purpose="overage", attempt=charge.attempt)
        except CardRefused as refused:
            self._record(Fact("failed", charge.reference, problem=refused.code, attempt=charge.attempt))
            return False
        except PaymentsUnavailable as error:
            if error.refused:
                self._record(Fact("failed", charge.reference, problem=error.code, attempt=charge.attempt))
            return False  # otherwise the next run repeats it with the same idempotency key
        return self._record_intent(intent)

    def _record_intent(self, intent: dict[str, Any]) -> bool:
        if intent.get("status") != "succeeded":
            return False  # still processing: its event follows
        event = {"type": "payment_intent.succeeded", "data": {"object": intent}}
        return record_event(event, sends_mail=self._sends_mail) > 0

    def _record(self, fact: Fact) -> bool:
        return record_fact(STRIPE, fact, sends_mail=self._sends_mail) is not None
