"""Usage rollups: aggregates usage periodically for the console's charts and totals."""

from __future__ import annotations

import logging

from shared.core.clock import now_ms
from shared.rollup import merge_failover_costs, update_sums
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.rollup")

ROLL_SECONDS = 30.0
MERGE_SECONDS = 1_800.0
MAX_SECONDS = 5.0  # the scheduler has other tasks; the rest is done in the next run


def _roll() -> None:
    with task_connection():
        rolled = update_sums(now_ms(), MAX_SECONDS)
    if not rolled.up_to_date:
        log.info("aggregated %d hours of usage; more remain", rolled.hours)


def _merge() -> None:
    with task_connection():
        merge_failover_costs(now_ms(), MAX_SECONDS)


PERIODIC = (
    PeriodicTask("usage rollup", ROLL_SECONDS, _roll),
    PeriodicTask("failover cost retention", MERGE_SECONDS, _merge),
)
