"""Seals the ledger once a day (UTC), soon after midnight."""

from __future__ import annotations

import logging

from shared.core.billing_periods import day_of
from shared.core.clock import now_ms
from shared.core.errors import StorageUnavailable
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.ledger.seal import last_sealed_at
from shared.operations.ledger_seals import seal_and_store, store_seals
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.ledger_seals")

CHECK_SECONDS = 300.0


def seal_if_due(settings: Settings, now: int) -> bool:
    """Seal the ledger unless it was already sealed on the day of `now` (ms UTC). Returns whether it was sealed now."""
    if day_of(last_sealed_at()) >= day_of(now):
        return False
    head = seal_and_store(settings, now)["head"]
    log.info("sealed the ledger: number %d, %d leaves", head["number"], head["leaves"])
    return True


def periodic_tasks(settings: Settings) -> tuple[PeriodicTask, ...]:
    """Return the periodic task."""

    storage = open_storage(settings)
    stored = False  # whether the media store has all seals; checked once by each process, and again after an error

    def run() -> None:
        nonlocal stored
        try:
            seal_if_due(settings, now_ms())
            stored = stored or store_seals(storage) >= 0
        except StorageUnavailable:
            stored = False
            raise

    return (PeriodicTask("ledger seals", CHECK_SECONDS, task_connection()(run)),)
