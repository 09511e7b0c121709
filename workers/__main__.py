"""`python -m workers`: run the periodic tasks and the Dramatiq actors in one process.

Dramatiq's own command forks a parent, a worker and a middleware process. A single process with threads uses a third of the
memory, leaves nothing behind when it is killed, and runs each sweeper once. To scale out, start more processes.
"""

from __future__ import annotations

import logging
import signal
import sys
from queue import SimpleQueue
from typing import Any

import dramatiq

from shared.core.availability import DATABASE
from shared.core.database import bind_database, database, open_database
from shared.core.database_errors import is_temporary
from shared.core.process_main import run_process, start_exit_timer
from shared.core.settings import Settings
from shared.startup import log_setting_warnings, require_port, run_startup_checks
from workers import (
    alerts,
    billing,
    budgets,
    ledger_seals,
    mail,
    margins,
    partitions,
    payments,
    probes,
    rollup,
    usage_retention,
)
from workers.broker import is_not_repeated_outage, make_broker
from workers.media_actors import MediaActors
from workers.metrics import CountMessages, MetricsServer, WorkerMetrics
from workers.purge import PurgeActors
from workers.scheduler import Scheduler

log = logging.getLogger("yout.worker")

CLOCK_STOP_SECONDS = 5.0
ANSWER_SECONDS = 120  # database timeout; a step of a purge or a rollup can take a while


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code. Raises if the database or a setting is unusable."""
    _open_database(settings)
    _work(settings)
    return 0


def _open_database(settings: Settings) -> None:
    """Open and bind the database, with a connection for each worker thread, the nine schedulers and the main thread."""
    target = open_database(
        settings.database_url, max_connections=settings.worker_threads + 10, statement_timeout_seconds=ANSWER_SECONDS
    )
    bind_database(target)
    run_startup_checks(settings, target, media=True)
    if settings.metrics_port:
        require_port(settings, settings.metrics_port, "YOUT_METRICS_PORT")
    log_setting_warnings(settings)


def _work(settings: Settings) -> None:
    signals: SimpleQueue[int] = SimpleQueue()  # unlike an Event, safe to fill from a signal handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: signals.put(caught))
    metrics = WorkerMetrics()
    server = MetricsServer(settings, metrics) if settings.metrics_port else None
    broker = make_broker(settings.broker_url, CountMessages(metrics))
    billing.register_actors(broker)
    media = MediaActors(settings, metrics)
    media.register_actors(broker)
    purges = PurgeActors(settings)
    purges.register_actors(broker)
    budget_work = budgets.BudgetWork(settings)
    worker = dramatiq.Worker(broker, worker_threads=settings.worker_threads)
    database_work = (
        *billing.periodic_tasks(settings),
        *rollup.PERIODIC,
        *partitions.PERIODIC,
        *usage_retention.periodic_tasks(settings),
        *ledger_seals.periodic_tasks(settings),
        *margins.periodic_tasks(settings),
    )
    watched: dict[str, Any] = {"is_outage": is_temporary, "observe": metrics.record_task, "database": DATABASE}
    schedulers = (
        Scheduler(database_work, **watched),
        Scheduler(media.periodic, **watched),
        Scheduler(purges.periodic, **watched),
        Scheduler((media.callbacks, budget_work.webhooks), **watched),
        Scheduler(mail.periodic(settings), **watched),
        Scheduler((*alerts.periodic_tasks(settings), *budget_work.periodic), **watched),
        Scheduler(probes.periodic_tasks(settings), **watched),
        *(Scheduler(tasks, **watched) for tasks in [payments.periodic_tasks(settings)] if tasks),
        Scheduler((media.leases,), **watched),
    )
    broker.emit_after("process_boot")  # starts Dramatiq's time-limit thread
    worker.start()
    for scheduler in schedulers:
        scheduler.start()
    log.info("Worker process is ready for action.")
    log.info("stopping on %s", signal.Signals(signals.get()).name)
    start_exit_timer(settings.drain_seconds)
    *others, leases = schedulers
    stopped = [scheduler.stop(CLOCK_STOP_SECONDS) for scheduler in others]
    if not all(stopped):
        log.warning("periodic work did not finish in time and was aborted; its transaction is rolled back")
    worker.stop(timeout=settings.drain_seconds * 1000)
    leases.stop(CLOCK_STOP_SECONDS)
    broker.close()
    media.close()
    budget_work.close()
    purges.close()
    if server is not None:
        server.close()
    database.close()


if __name__ == "__main__":
    sys.exit(run_process("workers", serve, is_not_repeated_outage))
