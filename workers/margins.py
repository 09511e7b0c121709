"""Periodic checks of what calls cost: margins and token counts of channels, and the providers' list prices."""

from __future__ import annotations

import logging

from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.operations.audit import Origin
from shared.operations.channel_checks import check_channels
from shared.operations.price_check import check_prices_if_due
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.margins")

CHANNEL_SECONDS = 300.0
PRICE_SECONDS = 600.0  # whether the daily check is due
ORIGIN = Origin("price check")


def _check_channels() -> None:
    for name in check_channels(now_ms()):
        log.warning("channel %s is flagged: see its page in the console", name)


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic tasks. The list prices are imported with the first check (27 MiB)."""

    def check_prices() -> None:
        found = check_prices_if_due(now_ms(), settings.credits_per_usd, origin=ORIGIN)
        if found is not None and found.below:
            log.warning("%d models cost more at their providers than here", len(found.below))

    return (
        PeriodicTask("channel checks", CHANNEL_SECONDS, task_connection()(_check_channels)),
        PeriodicTask("price check", PRICE_SECONDS, task_connection()(check_prices)),
    )
