"""Billing that runs later: giving back the credits held for calls that nobody will finish, and the credits of new periods."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import dramatiq

from shared.core.clock import now_ms
from shared.core.database import database, drop_connection, transaction
from shared.core.settings import Settings
from shared.ledger import VisitorTerms, renew_pool, sweep
from shared.ledger import renew_subscriptions as renew
from shared.ledger.sweep import HeartbeatGrace
from workers.scheduler import Periodic

log = logging.getLogger("yout.worker.billing")

SWEEP_SECONDS = 10.0
SWEEP_LIMIT_MS = 60_000
POOL_SECONDS = 60.0
RENEWAL_SECONDS = 60.0
RENEWAL_LIMIT_MS = 600_000


_grace = HeartbeatGrace()


def sweep_holds() -> None:
    """Expire abandoned holds, now. Raises what the database raises; whatever was committed before that stays."""
    expired = sweep(now_ms(), expire_silent=_grace.is_over(now_ms()))
    _grace.swept(now_ms())
    if expired:
        log.info("gave back the credits of %d abandoned holds", expired)


def renew_visitor_pool(terms: VisitorTerms) -> None:
    """Give visitors the credits of a new day, once, and let what is left of the former day's expire."""
    with transaction():
        renew_pool(terms, now_ms())


def renew_subscriptions() -> None:
    """Begin the periods of subscriptions that are due, each once, whoever runs this and how often."""
    begun = renew(now_ms())
    if begun:
        log.info("began or ended %d periods of subscriptions", begun)


def declare(broker: dramatiq.Broker) -> None:
    """Let `broker` run this module's actors for those who send them by name."""
    dramatiq.actor(actor_name="sweep_holds", broker=broker, time_limit=SWEEP_LIMIT_MS)(sweep_holds)
    dramatiq.actor(actor_name="renew_subscriptions", broker=broker, time_limit=RENEWAL_LIMIT_MS)(renew_subscriptions)


def periodic(settings: Settings) -> tuple[Periodic, ...]:
    """What runs on the beat. It needs the database alone: money never waits for Redis."""
    terms = VisitorTerms(settings.visitor_pool_credits, settings.visitor_daily_credits)
    return (
        Periodic("the hold sweeper", SWEEP_SECONDS, partial(_on_the_beat, sweep_holds)),
        Periodic("the renewals", RENEWAL_SECONDS, partial(_on_the_beat, renew_subscriptions)),
        Periodic("the visitors' pool", POOL_SECONDS, partial(_on_the_beat, partial(renew_visitor_pool, terms))),
    )


def _on_the_beat(work: Callable[[], None]) -> None:
    try:
        work()
    except BaseException:
        drop_connection()
        raise
    database.close()
