"""Leases: a worker leases a job and renews the lease; if the worker dies, the lease expires.

Each function is one statement that changes the row only if it is still in the state that the caller expects.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from peewee import Case, fn

from shared.core.clock import now_ms
from shared.core.database import skip_locked
from shared.models import MediaJob

LEASE_MS = 30_000
RESEND_MS = 30_000  # a job without progress for this long gets another message
MAX_RESEND_MS = 300_000


def lease_job(job: UUID, lease_id: UUID, now: int) -> MediaJob | None:
    """Lease `job` to the worker run `lease_id` and count an attempt. Returns None if the job ended, is gone or is leased."""
    free = MediaJob.claimed_until.is_null() | (MediaJob.claimed_until < now)
    taken: Any = (
        MediaJob.update(
            status="running",
            attempts=MediaJob.attempts + 1,
            claimed_by=lease_id,
            claimed_until=now + LEASE_MS,
            started_at=fn.COALESCE(MediaJob.started_at, now),
        )
        .where((MediaJob.id == job) & MediaJob.finished_at.is_null() & free)
        .returning(MediaJob)
        .execute()
    )
    found: MediaJob | None = next(iter(taken), None)
    return found


def renew_leases(lease_ids: Iterable[UUID], now: int) -> set[UUID]:
    """Extend the leases of `lease_ids`. Returns those that still have their job."""
    rows: Any = (
        MediaJob.update(claimed_until=now + LEASE_MS)
        .where(MediaJob.claimed_by.in_(list(lease_ids)) & MediaJob.finished_at.is_null())
        .returning(MediaJob.claimed_by)
        .execute()
    )
    return {row.claimed_by for row in rows}


def store_provider_job(job: MediaJob, channel: UUID, provider_job: str) -> bool:
    """Store the id of the provider's job, so that a later worker polls it and does not create another one."""
    return _change(job, channel=channel, vendor_job=provider_job)


def store_request(job: MediaJob, sha256: bytes, shape: bytes | None) -> bool:
    """Store what identifies the request that is about to be sent: the hash of its body, and the id of its shape."""
    job.request_sha256, job.request_shape = sha256, shape
    return _change(job, request_sha256=sha256, request_shape=shape)


def store_progress(job: MediaJob, percent: int) -> bool:
    """Store the progress in percent."""
    return _change(job, progress=max(0, min(100, percent)))


def release_until(job: MediaJob, due_at: int, *, without_attempt: bool) -> bool:
    """Release a job until `due_at`. With `without_attempt` (the provider is still working), the attempt does not count."""
    attempts = MediaJob.attempts - 1 if without_attempt else MediaJob.attempts
    return _change(job, claimed_by=None, claimed_until=None, due_at=due_at, attempts=attempts)


def _change(job: MediaJob, **columns: Any) -> bool:
    mine = (MediaJob.id == job.id) & (MediaJob.claimed_by == job.claimed_by) & MediaJob.finished_at.is_null()
    return bool(MediaJob.update(**columns).where(mine).execute())


def due_for_resend(limit: int) -> list[UUID]:
    """Return up to `limit` open jobs that are due for another message. Each is returned to one caller only.

    The time until the next message grows with the job's age, so that a long queue is not filled with duplicates.
    """
    now = now_ms()
    age = now - MediaJob.created_at
    wait = Case(None, [(age > MAX_RESEND_MS, MAX_RESEND_MS), (age > RESEND_MS, age)], RESEND_MS)
    idle = MediaJob.claimed_until.is_null() | (MediaJob.claimed_until < now)
    due = MediaJob.finished_at.is_null() & (MediaJob.due_at <= now) & idle
    found = skip_locked(MediaJob.select(MediaJob.id).where(due).order_by(MediaJob.due_at).limit(limit))
    rows: Any = (
        MediaJob.update(due_at=now + wait)
        .where(MediaJob.id.in_(found) & (MediaJob.due_at <= now))
        .returning(MediaJob.id)
        .execute()
    )
    return [row.id for row in rows]
