"""Hands: a job is in the hand of one worker at a time, under a lease that it renews and that ends by itself when it dies.

Every function is one statement that changes the row only where it is still as the caller believes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from peewee import Case, fn

from shared.clock import now_ms
from shared.database import unlocked
from shared.models import MediaJob

LEASE_MS = 30_000
RESEND_MS = 30_000  # a job whose message has moved nothing for so long gets another one
LONGEST_RESEND_MS = 300_000


def claim(job: UUID, hand: UUID, now: int) -> MediaJob | None:
    """Take `job` into `hand`, and count the attempt. None when it has ended, is gone, or is in another hand."""
    free = MediaJob.claimed_until.is_null() | (MediaJob.claimed_until < now)
    taken: Any = (
        MediaJob.update(
            status="running",
            attempts=MediaJob.attempts + 1,
            claimed_by=hand,
            claimed_until=now + LEASE_MS,
            started_at=fn.COALESCE(MediaJob.started_at, now),
        )
        .where((MediaJob.id == job) & MediaJob.finished_at.is_null() & free)
        .returning(MediaJob)
        .execute()
    )
    found: MediaJob | None = next(iter(taken), None)
    return found


def renew(hands: Iterable[UUID], now: int) -> set[UUID]:
    """Hold on to what is in `hands`; give those that still hold their job."""
    rows: Any = (
        MediaJob.update(claimed_until=now + LEASE_MS)
        .where(MediaJob.claimed_by.in_(list(hands)) & MediaJob.finished_at.is_null())
        .returning(MediaJob.claimed_by)
        .execute()
    )
    return {row.claimed_by for row in rows}


def note_vendor(job: MediaJob, channel: UUID, vendor_job: str) -> bool:
    """Remember the vendor's own job, so that a later hand asks after it and doesn't order a second one."""
    return _change(job, channel=channel, vendor_job=vendor_job)


def note_progress(job: MediaJob, percent: int) -> bool:
    """Show how far the vendor is."""
    return _change(job, progress=max(0, min(100, percent)))


def pause(job: MediaJob, due_at: int, *, orderly: bool) -> bool:
    """Let go of a job that has to wait, until `due_at`. An `orderly` pause (the vendor works on) takes its attempt back."""
    attempts = MediaJob.attempts - 1 if orderly else MediaJob.attempts
    return _change(job, claimed_by=None, claimed_until=None, due_at=due_at, attempts=attempts)


def _change(job: MediaJob, **columns: Any) -> bool:
    mine = (MediaJob.id == job.id) & (MediaJob.claimed_by == job.claimed_by) & MediaJob.finished_at.is_null()
    return bool(MediaJob.update(**columns).where(mine).execute())


def resend(limit: int) -> list[UUID]:
    """The open jobs that are due for a message, each given to one caller only; their next one is due after a while.

    The wait grows with the job's age: a long queue is not filled with messages about what waits in it.
    """
    now = now_ms()
    age = now - MediaJob.created_at
    wait = Case(None, [(age > LONGEST_RESEND_MS, LONGEST_RESEND_MS), (age > RESEND_MS, age)], RESEND_MS)
    idle = MediaJob.claimed_until.is_null() | (MediaJob.claimed_until < now)
    due = MediaJob.finished_at.is_null() & (MediaJob.due_at <= now) & idle
    found = unlocked(MediaJob.select(MediaJob.id).where(due).order_by(MediaJob.due_at).limit(limit))
    rows: Any = (
        MediaJob.update(due_at=now + wait)
        .where(MediaJob.id.in_(found) & (MediaJob.due_at <= now))
        .returning(MediaJob.id)
        .execute()
    )
    return [row.id for row in rows]
