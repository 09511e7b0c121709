"""`python -m workers`: run the periodic tasks and the Dramatiq actors in one process.

Dramatiq's own command forks a parent, a worker and a middleware process. A single process with threads uses a third of the
memory, leaves nothing behind when it is killed, and runs each sweeper once. To scale out, start more processes.
"""

from __future__ import annotations

import logging
import signal
import sys
from queue import SimpleQueue

import dramatiq

from shared.core.database import bind, database, open_database
from shared.core.database_errors import may_pass
from shared.core.process_main import exit_after, run
from shared.core.settings import Settings
from shared.startup import log_notices, require_usable
from workers import billing, mail, rollup
from workers.broker import is_news, make_broker
from workers.media_actors import MediaWork
from workers.purge import PurgeWork
from workers.scheduler import Clock

log = logging.getLogger("yout.worker")

CLOCK_STOP_SECONDS = 5.0
ANSWER_SECONDS = 120  # database timeout; a step of a purge or a rollup can take a while


def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code. Raises if the database or a setting is unusable."""
    _open_database(settings)
    _work(settings)
    return 0


def _open_database(settings: Settings) -> None:
    """Open and bind the database, with a connection for each worker thread, the six schedulers and the main thread."""
    target = open_database(settings.database_url, max_connections=settings.worker_threads + 7, answer_seconds=ANSWER_SECONDS)
    bind(target)
    require_usable(settings, target, media=True)
    log_notices(settings)


def _work(settings: Settings) -> None:
    signals: SimpleQueue[int] = SimpleQueue()  # unlike an Event, safe to fill from a signal handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: signals.put(caught))
    broker = make_broker(settings.redis_url)
    billing.declare(broker)
    media = MediaWork(settings)
    media.declare(broker)
    purges = PurgeWork(settings)
    purges.declare(broker)
    worker = dramatiq.Worker(broker, worker_threads=settings.worker_threads)
    schedulers = (
        Clock((*billing.periodic(settings), *rollup.PERIODIC), is_outage=may_pass),
        Clock(media.periodic, is_outage=may_pass),
        Clock(purges.periodic, is_outage=may_pass),
        Clock((media.callbacks,), is_outage=may_pass),
        Clock(mail.periodic(settings), is_outage=may_pass),
        Clock((media.leases,), is_outage=may_pass),
    )
    broker.emit_after("process_boot")  # starts Dramatiq's time-limit thread
    worker.start()
    for scheduler in schedulers:
        scheduler.start()
    log.info("Worker process is ready for action.")
    log.info("stopping on %s", signal.Signals(signals.get()).name)
    exit_after(settings.drain_seconds)
    *others, leases = schedulers
    stopped = [scheduler.stop(CLOCK_STOP_SECONDS) for scheduler in others]
    if not all(stopped):
        log.warning("periodic work did not finish in time and was aborted; its transaction is rolled back")
    worker.stop(timeout=settings.drain_seconds * 1000)
    leases.stop(CLOCK_STOP_SECONDS)
    media.close()
    purges.close()
    database.close()


if __name__ == "__main__":
    sys.exit(run("workers", serve, is_news))
