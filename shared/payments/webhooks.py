"""Records Stripe's events, from webhooks and from its list of events, which contains those whose webhook was lost."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from shared.core.clock import now_ms
from shared.models import PaymentSettings
from shared.payments.orders import STRIPE, Fact, record_fact
from shared.payments.plan_facts import PlanFact, record_plan_fact
from shared.payments.stripe_events import read_event

log = logging.getLogger("yout.payments")
NOTE_INTERVAL_MS = 60_000


def record_event(event: Mapping[str, Any], *, sends_mail: bool = False) -> int:
    """Record what an event states about our payments. Returns the number of facts about them.

    `sends_mail` as for `record_fact`. Safe to repeat, in any order and in several processes at once.
    """
    return sum(_record(fact, sends_mail) for fact in read_event(event))


def _record(fact: Fact | PlanFact, sends_mail: bool) -> bool:
    if isinstance(fact, Fact):
        return record_fact(STRIPE, fact, sends_mail=sends_mail) is not None
    return record_plan_fact(fact, sends_mail=sends_mail)


def note_webhook() -> None:
    """Remember that a signed webhook arrived, for the console; at most once a minute."""
    now = now_ms()
    stale = PaymentSettings.last_webhook_at.is_null() | (PaymentSettings.last_webhook_at < now - NOTE_INTERVAL_MS)
    PaymentSettings.update(last_webhook_at=now).where((PaymentSettings.id == 1) & stale).execute()
