"""Billing that runs later: giving back the credits held for calls that nobody will finish."""

from __future__ import annotations

import logging

import dramatiq

from shared.clock import now_ms
from shared.database import database, drop_connection
from shared.ledger import sweep
from workers.clock import Periodic

log = logging.getLogger("yout.worker.billing")

SWEEP_SECONDS = 10.0
SWEEP_LIMIT_MS = 60_000


def sweep_holds() -> None:
    """Expire abandoned holds, now. Raises what the database raises; whatever was committed before that stays."""
    expired = sweep(now_ms())
    if expired:
        log.info("gave back the credits of %d abandoned holds", expired)


def declare(broker: dramatiq.Broker) -> None:
    """Let `broker` run this module's actors for those who send them by name."""
    dramatiq.actor(actor_name="sweep_holds", broker=broker, time_limit=SWEEP_LIMIT_MS)(sweep_holds)


def _sweep_on_the_beat() -> None:
    try:
        sweep_holds()
    except BaseException:
        drop_connection()
        raise
    database.close()


# The sweeper needs the database alone: money never waits for Redis.
PERIODIC = (Periodic("the hold sweeper", SWEEP_SECONDS, _sweep_on_the_beat),)
