"""Media jobs: the actor that runs a job, and the periodic tasks that keep jobs from getting lost.

make_media(job)      run a job as far as possible now
every second         enqueue due jobs, end expired ones
every second         deliver webhooks (webhook_delivery.py)
every five seconds   renew the leases of the jobs that this process runs
every minute         delete input images of ended jobs, expired files, and some of the files that no row references
"""

from __future__ import annotations

import logging
import threading
from uuid import UUID, uuid4

import dramatiq
import peewee

from shared import media
from shared.core.clock import now_ms
from shared.core.database_errors import describe_error, is_temporary
from shared.core.settings import Settings
from shared.files.storage import open_storage
from shared.job_queue import MEDIA_QUEUE, JobQueue
from shared.media import JobResult, retention
from shared.models import MediaJob
from workers.media_jobs import JobRunner
from workers.metrics import WorkerMetrics
from workers.provider_client import ProviderClient
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection
from workers.webhook_delivery import INTERVAL_SECONDS, LIMITS, WebhookDeliverer

log = logging.getLogger("yout.worker.media")

SWEEP_SECONDS = 1.0
RENEW_SECONDS = 5.0
TIDY_SECONDS = 60.0
MAX_MESSAGES = 500
MAX_TIMED_OUT = 100


class MediaActors:
    """The media actor and periodic tasks of one worker process."""

    def __init__(self, settings: Settings, metrics: WorkerMetrics | None = None) -> None:
        self._settings = settings
        self._metrics = metrics or WorkerMetrics()
        self._jobs = JobQueue(settings.broker_url)
        self._storage = open_storage(settings)
        self._maker = JobRunner(settings, self._storage, ProviderClient(settings), self._metrics)
        self._callbacks = WebhookDeliverer(settings)
        self._hands: set[UUID] = set()
        self._lock = threading.Lock()

    def register_actors(self, broker: dramatiq.Broker) -> None:
        """Register the actor with `broker`."""
        # Normally the deadline in the row ends a job; this limit is for a thread that hangs where no timeout applies.
        limit = (self._settings.media_answer_seconds * 4 + 60) * 1000
        declare = dramatiq.actor(actor_name="make_media", broker=broker, queue_name=MEDIA_QUEUE, time_limit=limit)
        declare(self.run_media_job)

    def run_media_job(self, job_id: str) -> None:
        """Claim a job, unless another worker has it, and run it as far as possible now."""
        hand = uuid4()
        with self._lock:
            self._hands.add(hand)
        try:
            job = media.lease_job(UUID(job_id), hand, now_ms())
            if job is not None:
                self._maker.run(job, hand)
        finally:
            with self._lock:
                self._hands.discard(hand)

    @property
    def leases(self) -> PeriodicTask:
        """Renews leases. It has its own scheduler, so that a slow task cannot delay it until a lease expires."""
        return PeriodicTask("media lease renewal", RENEW_SECONDS, task_connection()(self._renew))

    @property
    def callbacks(self) -> PeriodicTask:
        """Delivers webhooks. It has its own scheduler, because it waits for running deliveries."""
        return PeriodicTask("callback delivery", INTERVAL_SECONDS, task_connection()(self._callbacks.deliver_due))

    @property
    def periodic(self) -> tuple[PeriodicTask, ...]:
        return (
            PeriodicTask("media job sweeper", SWEEP_SECONDS, task_connection()(self.sweep)),
            PeriodicTask("media retention", TIDY_SECONDS, task_connection()(self._tidy)),
        )

    def sweep(self) -> None:
        """End overdue jobs and enqueue due ones. Raises database errors."""
        for job in _overdue(now_ms()):
            ended = media.finish(job, JobResult("failed", "job_timeout", "deadline"), lease_id=None)
            if ended is not None:
                self._metrics.record_media_job(ended)
                log.info("media job %s: failed job_timeout", job.id)
        if not self._jobs.is_available():  # the broker logs the outage; due jobs stay due
            return
        for job_id in media.due_for_resend(MAX_MESSAGES):
            self._jobs.send("make_media", str(job_id), queue=MEDIA_QUEUE)

    def _renew(self) -> None:
        with self._lock:
            hands = set(self._hands)
        if hands:
            media.renew_leases(hands, now_ms())

    def _tidy(self) -> None:
        retention.delete_ended_inputs(self._storage)
        retention.delete_expired(self._storage)
        retention.delete_orphans(self._storage)

    def close(self) -> None:
        """Wait briefly for running callbacks, and close the Redis connection. Call after the schedulers have stopped."""
        try:
            self._callbacks.finish(LIMITS.idle_seconds)
        except peewee.PeeweeException as error:
            if not is_temporary(error):
                raise
            log.warning("delivered callbacks may be delivered again: %s", describe_error(error))
        self._jobs.close()


def _overdue(now: int) -> list[MediaJob]:
    late = MediaJob.finished_at.is_null() & (MediaJob.deadline_at < now)
    return list(MediaJob.select().where(late).order_by(MediaJob.deadline_at, MediaJob.id).limit(MAX_TIMED_OUT))
