"""Periodic billing: expires abandoned holds, renews subscriptions, and refills the visitor pool."""

from __future__ import annotations

import logging
from functools import partial

import dramatiq

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.settings import Settings
from shared.ledger import VisitorSettings, renew_pool, sweep
from shared.ledger import renew_subscriptions as renew
from shared.ledger.sweep import HeartbeatGrace
from shared.payments.plan_periods import end_unpaid_plans
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.billing")

SWEEP_SECONDS = 10.0
SWEEP_LIMIT_MS = 60_000
POOL_SECONDS = 60.0
RENEWAL_SECONDS = 60.0
RENEWAL_LIMIT_MS = 600_000


_grace = HeartbeatGrace()


def sweep_holds() -> None:
    """Expire abandoned holds. Raises database errors; earlier commits stay in effect."""
    expired = sweep(now_ms(), expire_silent=_grace.is_over(now_ms()))
    _grace.record_sweep(now_ms())
    if expired:
        log.info("released the credits of %d abandoned holds", expired)


def renew_visitor_pool(terms: VisitorSettings) -> None:
    """Grant the visitor pool the credits of a new day, once, and expire what is left of the previous day's."""
    with transaction():
        renew_pool(terms, now_ms())


def renew_subscriptions() -> None:
    """Start the due periods of subscriptions, and end plans that were not paid.

    Safe to run often and in parallel: each period starts once.
    """
    renewed = renew(now_ms()) + end_unpaid_plans(now_ms())
    if renewed:
        log.info("started or ended %d subscription periods", renewed)


def register_actors(broker: dramatiq.Broker) -> None:
    """Register this module's actors with `broker`."""
    dramatiq.actor(actor_name="sweep_holds", broker=broker, time_limit=SWEEP_LIMIT_MS)(sweep_holds)
    dramatiq.actor(actor_name="renew_subscriptions", broker=broker, time_limit=RENEWAL_LIMIT_MS)(renew_subscriptions)


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks. They need only the database, so billing never depends on Redis."""
    terms = VisitorSettings(settings.visitor_pool_credits, settings.visitor_daily_credits)
    return (
        PeriodicTask("hold sweeper", SWEEP_SECONDS, task_connection()(sweep_holds)),
        PeriodicTask("subscription renewals", RENEWAL_SECONDS, task_connection()(renew_subscriptions)),
        PeriodicTask("visitor pool renewal", POOL_SECONDS, task_connection()(partial(renew_visitor_pool, terms))),
    )
