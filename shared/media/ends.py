"""The end of a job: one transaction that charges or gives back, erases the prompt and records what was delivered.

The ledger goes first, for it locks the account; the job's row decides by compare-and-set whether this end is the one that
counts. Where it isn't, everything is rolled back: whoever comes second changes nothing. A hold that staff gave back by hand is
not charged any more; its job still ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import NotFound
from shared.ledger import Settlement, settle
from shared.models import MediaJob, MediaOutput

NO_SUCH_JOB = "There is no such job. GET /api/media/jobs/ lists yours."
LONGEST_MS = 2**31 - 1
USAGE_STATUS = {"succeeded": "completed", "failed": "failed", "cancelled": "cancelled"}


class Output(NamedTuple):
    """A stored file."""

    storage_key: str
    media_type: str
    size_bytes: int


class End(NamedTuple):
    """How a job ended. `cost` in credits is charged when it is above 0; codes are words of our own, or checked ones."""

    status: str
    error_code: str | None = None
    error_class: str | None = None
    outputs: Sequence[Output] = ()
    cost: int = 0
    keep_until: int | None = None


CANCELLED = End("cancelled")


class _Late(Exception):
    """Somebody else ended the job, or has it in hand."""


def finish(job: MediaJob, end: End, *, hand: UUID | None) -> MediaJob | None:
    """End `job`; give its row as it is now, or None where it has ended before, is gone, or (with a `hand`) is in another one.

    Raises what the database raises; then nothing has changed.
    """
    try:
        with transaction():
            return _finish(job, end, hand, now_ms())
    except _Late:
        return None


def cancel(account: UUID, job_id: UUID) -> MediaJob:
    """Cancel an account's job; a job that has ended stays as it is. Raises `NotFound`, also for somebody else's."""
    own = (MediaJob.id == job_id) & (MediaJob.account == account)
    job = MediaJob.get_or_none(own)
    if job is None:
        raise NotFound(NO_SUCH_JOB)
    ended = finish(job, CANCELLED, hand=None) or MediaJob.get_or_none(own)
    if ended is None:
        raise NotFound(NO_SUCH_JOB)
    return ended


def _finish(job: MediaJob, end: End, hand: UUID | None, now: int) -> MediaJob:
    [settled] = settle([_settlement(job, end, now)], now)
    open_job = (MediaJob.id == job.id) & MediaJob.finished_at.is_null()
    rows = (
        MediaJob.update(
            status=end.status,
            progress=100 if end.status == "succeeded" else MediaJob.progress,
            sealed_params=None,
            options={**job.options, "delivered": len(end.outputs)},
            claimed_by=None,
            claimed_until=None,
            credits_charged=settled.credits,
            error_code=end.error_code,
            error_class=end.error_class,
            callback_due_at=now if job.callback_url else None,
            files_expire_at=end.keep_until if end.outputs else None,
            finished_at=now,
        )
        .where(open_job if hand is None else open_job & (MediaJob.claimed_by == hand))
        .returning(MediaJob)
        .execute()
    )
    ended: MediaJob | None = next(iter(rows), None)
    if ended is None:
        raise _Late
    for position, output in enumerate(end.outputs):
        MediaOutput.create(job=job.id, position=position, created_at=now, **output._asdict())
    return ended


def _settlement(job: MediaJob, end: End, now: int) -> Settlement:
    row = job.__data__
    return Settlement(
        call=job.id,
        account=row["account"],
        cost=end.cost,
        status=USAGE_STATUS[end.status],
        api_key=row["api_key"],
        model=job.model,
        price=job.price,
        channel=job.channel,
        cap=job.credits_held,
        error_code=end.error_code or ("cancelled" if end.status == "cancelled" else None),
        attempts=job.attempts,
        duration_ms=min(now - job.created_at, LONGEST_MS),
        created_at=job.created_at,
    )
