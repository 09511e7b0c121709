"""Creates the monthly partitions of `usage_ledger` and `ledger_entry` before they are needed, on PostgreSQL."""

from __future__ import annotations

import logging

from shared.core.clock import now_ms
from shared.ledger.partitions import create_partitions
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.partitions")

RUN_SECONDS = 600.0


def _create() -> None:
    with task_connection():
        created = create_partitions(now_ms())
    if created:
        log.info("created the partitions %s", ", ".join(created))


PERIODIC = (PeriodicTask("partitions", RUN_SECONDS, _create),)
