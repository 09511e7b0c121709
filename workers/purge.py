"""Account purges, carried out in resumable steps.

The job's row is the source of truth. A worker claims it by compare-and-set for `LEASE_MS`, which every step extends; what a
step removes is counted in the same transaction. If a worker dies, the row becomes due when its lease expires, and the next
worker continues from there. A message only names the row; the sweeper sends it again.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import dramatiq

from shared.core.clock import new_id, now_ms
from shared.core.database import is_sqlite, transaction
from shared.core.errors import LedgerBroken
from shared.core.settings import Settings
from shared.core.timestamps import format_timestamp
from shared.files.certificates import sign_certificate
from shared.files.storage import open_storage
from shared.job_queue import JobQueue
from shared.models import PurgeJob
from shared.operations.purges import ACTOR
from workers.purge_media import media_step
from workers.purge_steps import STEPS, Counts, NextAction, Purge, Step, StepResult, flush_deletions, ledger_steps
from workers.scheduler import PeriodicTask
from workers.task_connection import task_connection

log = logging.getLogger("yout.worker.purge")

LEASE_MS = 10_000
WAIT_MS = 500  # between checks for calls in progress
REFUSED_MS = 600_000  # between attempts at a purge that would hide changed ledger entries
RUN_MS = 60_000  # time limit of one message, so that other messages are not delayed
SWEEP_SECONDS = 2.0
STORES = (
    *("conversations", "messages", "responses", "shares", "media_jobs", "media_files", "mails"),
    *("ledger_entries", "overage_entries", "usage_rows", "usage_sums", "holds", "idempotency_claims"),
)


class LeaseLost(Exception):
    """Another worker has claimed the job."""


class PurgeActors:
    """The purge actor and sweeper of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._jobs = JobQueue(settings.broker_url)
        self._steps = (media_step(open_storage(settings)), *STEPS, *ledger_steps(settings.secret_key))

    def register_actors(self, broker: dramatiq.Broker) -> None:
        """Register the actor with `broker`."""
        dramatiq.actor(actor_name=ACTOR, broker=broker)(self.purge)

    @property
    def periodic(self) -> tuple[PeriodicTask, ...]:
        return (PeriodicTask("purge sweeper", SWEEP_SECONDS, self.sweep),)

    def purge(self, id: str) -> None:
        """Claim a job and advance it as far as possible now. Does nothing if it is done, not due, or claimed."""
        job, runner = UUID(id), new_id()
        if not _claim(job, runner):
            return
        ends_at = now_ms() + RUN_MS
        state = NextAction.MORE
        try:
            while state is NextAction.MORE and now_ms() < ends_at:
                state = self._advance(job, runner)
            if state is NextAction.MORE:
                _release(job, runner)
        except LeaseLost:
            log.info("purge %s was taken over by another worker", id)
        except LedgerBroken as broken:
            log.error("purge %s is refused, because its account's ledger was changed: %s", id, broken)
            _refuse(job, runner, str(broken))
        if state is NextAction.DONE:
            flush_deletions()
            log.info("purge %s is done", id)

    def sweep(self) -> None:
        """Send messages for due jobs that no worker has claimed. Raises database errors."""
        with task_connection():
            due = PurgeJob.select(PurgeJob.id).where((PurgeJob.status != "done") & (PurgeJob.due_at <= now_ms())).limit(100)
            ids = [str(job.id) for job in due]
        for id in ids:
            self._jobs.send(ACTOR, id)

    def close(self) -> None:
        self._jobs.close()

    def _advance(self, id: UUID, runner: UUID) -> NextAction:
        """Do one unit of work of the job's current step. Raises `LeaseLost`."""
        job = _claimed(id, runner)
        step = next((step for step in self._steps if step.name == job.step), self._steps[0])
        purge = Purge(job.account.id, job.boundary)
        prepared = step.prepare(purge)
        with transaction():
            job = _claimed(id, runner, lock=True)
            return self._record(job, step, step.work(purge, prepared))

    def _record(self, job: PurgeJob, step: Step, progress: StepResult) -> NextAction:
        """Record the progress and the next step, in the transaction that made the progress."""
        now, state = now_ms(), progress.state
        removed = dict(job.removed)
        for store, count in (progress.removed or {}).items():
            removed[store] = removed.get(store, 0) + count
        job.removed, job.step, job.due_at, job.problem = removed, step.name, now + LEASE_MS, None
        if state is NextAction.WAIT:
            job.runner, job.due_at = None, now + WAIT_MS
        elif state is NextAction.DONE and step is self._steps[-1]:
            job.status, job.step, job.runner, job.finished_at = "done", "", None, now
            document = sign_certificate(_certificate(job, progress.remains, self._settings), self._settings.secret_key)
            job.certificate = json.dumps(document)
        elif state is NextAction.DONE:
            job.step, state = self._steps[self._steps.index(step) + 1].name, NextAction.MORE
        job.save()
        return state


def _claim(id: UUID, runner: UUID) -> bool:
    now = now_ms()
    due = (PurgeJob.id == id) & (PurgeJob.status != "done") & (PurgeJob.due_at <= now)
    with transaction():
        return bool(PurgeJob.update(status="running", runner=runner, due_at=now + LEASE_MS).where(due).execute())


def _release(id: UUID, runner: UUID) -> None:
    with transaction():
        PurgeJob.update(runner=None, due_at=now_ms()).where((PurgeJob.id == id) & (PurgeJob.runner == runner)).execute()


def _refuse(id: UUID, runner: UUID, problem: str) -> None:
    with transaction():
        claimed = (PurgeJob.id == id) & (PurgeJob.runner == runner)
        PurgeJob.update(runner=None, due_at=now_ms() + REFUSED_MS, problem=problem).where(claimed).execute()


def _claimed(id: UUID, runner: UUID, *, lock: bool = False) -> PurgeJob:
    query = PurgeJob.select().where((PurgeJob.id == id) & (PurgeJob.runner == runner) & (PurgeJob.status == "running"))
    if lock and not is_sqlite():
        query = query.for_update()
    job: PurgeJob | None = query.first()
    if job is None:
        raise LeaseLost
    return job


def _certificate(job: PurgeJob, remains: Counts | None, settings: Settings) -> dict[str, Any]:
    """Return the document to sign. Its canonical JSON form requires strings without escapes, integers, and objects of these."""
    return {
        "kind": "yout-purge",
        "issuer": settings.edge_url,
        "purge": str(job.id),
        "account": str(job.account.id),
        "requested_at": format_timestamp(job.created_at),
        "finished_at": format_timestamp(job.finished_at),
        "removed": {store: job.removed.get(store, 0) for store in STORES},
        "remains": remains,
    }
