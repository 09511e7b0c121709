"""Purges: carry out what an account asked for, step by step, whatever dies on the way.

The job's row is the truth. A worker takes it in hand by compare-and-set for `LEASE_MS`, which every step moves on; what a step
removed is counted in the transaction that removed it. When a worker dies, the row is due again when its lease has run out, and
the next worker goes on where it stands. A message only says which row to look at; the sweeper sends it again.
"""

from __future__ import annotations

import json
import logging
from typing import Any
from uuid import UUID

import dramatiq

from shared.certificates import sign
from shared.clock import new_id, now_ms
from shared.database import database, drop_connection, is_sqlite, transaction
from shared.jobs import Jobs
from shared.models import PurgeJob
from shared.moments import iso_moment
from shared.operations.purges import ACTOR
from shared.settings import Settings
from workers.clock import Periodic
from workers.purge_steps import STEPS, Counts, Progress, Purge, State, Step, settle_disk

log = logging.getLogger("yout.worker.purge")

LEASE_MS = 10_000
WAIT_MS = 500  # until calls that run are looked at again
RUN_MS = 60_000  # how long one message is worked on before others get their turn
SWEEP_SECONDS = 2.0
STORES = (
    *("conversations", "messages", "shares", "media_jobs", "media_files"),
    *("ledger_entries", "overage_entries", "usage_rows", "usage_sums", "holds", "idempotency_claims"),
)


class LeaseLost(Exception):
    """Another worker has the job in hand."""


def run_purge(settings: Settings, id: str) -> None:
    """Take a job in hand and bring it as far as it goes now. Does nothing when it is done, not due, or another's."""
    runner = new_id()
    if not _claim(UUID(id), runner):
        return
    ends_at = now_ms() + RUN_MS
    state = State.MORE
    try:
        while state is State.MORE and now_ms() < ends_at:
            state = _advance(UUID(id), runner, settings)
        if state is State.MORE:
            _release(UUID(id), runner)
    except LeaseLost:
        log.info("purge %s went on elsewhere", id)
    if state is State.DONE:
        settle_disk()
        log.info("purge %s is done", id)


def declare(broker: dramatiq.Broker, settings: Settings) -> None:
    """Let `broker` run this module's actor for those who send it by name."""

    def run(id: str) -> None:
        run_purge(settings, id)

    dramatiq.actor(actor_name=ACTOR, broker=broker)(run)


def periodic(jobs: Jobs) -> tuple[Periodic, ...]:
    """The sweeper: send the messages of jobs that are due and that nobody has in hand."""

    def sweep() -> None:
        try:
            due = PurgeJob.select(PurgeJob.id).where((PurgeJob.status != "done") & (PurgeJob.due_at <= now_ms())).limit(100)
            found = [str(job.id) for job in due]
        except BaseException:
            drop_connection()
            raise
        database.close()
        for id in found:
            jobs.send(ACTOR, id)

    return (Periodic("the purge sweeper", SWEEP_SECONDS, sweep),)


def _claim(id: UUID, runner: UUID) -> bool:
    now = now_ms()
    due = (PurgeJob.id == id) & (PurgeJob.status != "done") & (PurgeJob.due_at <= now)
    with transaction():
        return bool(PurgeJob.update(status="running", runner=runner, due_at=now + LEASE_MS).where(due).execute())


def _release(id: UUID, runner: UUID) -> None:
    with transaction():
        PurgeJob.update(runner=None, due_at=now_ms()).where((PurgeJob.id == id) & (PurgeJob.runner == runner)).execute()


def _advance(id: UUID, runner: UUID, settings: Settings) -> State:
    """One piece of work of the job's step. Raises `LeaseLost`."""
    job = _in_hand(id, runner)
    step = _step(job.step)
    purge = Purge(job.account.id, job.boundary)
    prepared = step.prepare(purge)
    with transaction():
        job = _in_hand(id, runner, lock=True)
        progress = step.work(purge, prepared)
        return _record(job, step, progress, settings)


def _in_hand(id: UUID, runner: UUID, *, lock: bool = False) -> PurgeJob:
    query = PurgeJob.select().where((PurgeJob.id == id) & (PurgeJob.runner == runner) & (PurgeJob.status == "running"))
    if lock and not is_sqlite():
        query = query.for_update()
    job: PurgeJob | None = query.first()
    if job is None:
        raise LeaseLost
    return job


def _step(name: str) -> Step:
    return next((step for step in STEPS if step.name == name), STEPS[0])


def _record(job: PurgeJob, step: Step, progress: Progress, settings: Settings) -> State:
    """Write down what was done, in the transaction that did it, and what follows."""
    now = now_ms()
    removed = dict(job.removed)
    for store, count in (progress.removed or {}).items():
        removed[store] = removed.get(store, 0) + count
    job.removed = removed
    job.due_at = now + LEASE_MS
    state = progress.state
    if state is State.DONE:
        following = STEPS.index(step) + 1
        if following == len(STEPS):
            job.status, job.step, job.runner, job.finished_at = "done", "", None, now
            job.certificate = json.dumps(sign(_certificate(job, progress.remains, settings), settings.secret_key))
            job.save()
            return State.DONE
        job.step, state = STEPS[following].name, State.MORE
    elif state is State.WAIT:
        job.runner, job.due_at = None, now + WAIT_MS
    job.save()
    return state


def _certificate(job: PurgeJob, remains: Counts | None, settings: Settings) -> dict[str, Any]:
    """What is signed: strings without escapes, whole numbers, and objects of these."""
    return {
        "kind": "yout-purge",
        "issuer": settings.edge_url,
        "purge": str(job.id),
        "account": str(job.account.id),
        "requested_at": iso_moment(job.created_at),
        "finished_at": iso_moment(job.finished_at),
        "removed": {store: job.removed.get(store, 0) for store in STORES},
        "remains": remains,
    }
