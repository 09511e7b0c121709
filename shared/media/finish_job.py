"""Ends media jobs: one transaction charges or releases the hold, erases the prompt and records the outputs.

The ledger comes first, because it locks the account. Then a compare-and-set on the job's row lets only one of several attempts to
end it succeed; the others are rolled back. A hold that staff released by hand is not charged, but its job still ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import NotFound
from shared.ledger import Settlement, UsageDetails, settle
from shared.media.submission import REQUESTED_MODEL
from shared.models import MediaJob, MediaOutput

NO_SUCH_JOB = "No such job. List your jobs with GET /api/media/jobs/."
MAX_DURATION_MS = 2**31 - 1
USAGE_STATUS = {"succeeded": "completed", "failed": "failed", "cancelled": "cancelled"}


class Output(NamedTuple):
    """A stored file."""

    storage_key: str
    media_type: str
    size_bytes: int


class JobResult(NamedTuple):
    """How a job ended. `cost` in credits is charged if above 0. The codes are ours, or a provider's that we have checked.

    `provider_cost` is what the provider charges us, in credits; None if it is unknown.
    """

    status: str
    error_code: str | None = None
    error_class: str | None = None
    outputs: Sequence[Output] = ()
    cost: int = 0
    files_expire_at: int | None = None
    provider_cost: int | None = None


CANCELLED = JobResult("cancelled")


class _AlreadyEnded(Exception):
    """The job has ended already, or another worker has its lease."""


def finish(job: MediaJob, end: JobResult, *, lease_id: UUID | None) -> MediaJob | None:
    """End `job` and return its row. Returns None if it has ended, does not exist, or (if given) `lease_id` no longer has its
    lease.

    Raises database errors; then nothing has changed.
    """
    try:
        with transaction():
            return _finish(job, end, lease_id, now_ms())
    except _AlreadyEnded:
        return None


def cancel_job(account: UUID, job_id: UUID) -> MediaJob:
    """Cancel an account's job and return it; a job that has ended is unchanged. Raises `NotFound`, also for another account's."""
    own = (MediaJob.id == job_id) & (MediaJob.account == account)
    job = MediaJob.get_or_none(own)
    if job is None:
        raise NotFound(NO_SUCH_JOB)
    ended = finish(job, CANCELLED, lease_id=None) or MediaJob.get_or_none(own)
    if ended is None:
        raise NotFound(NO_SUCH_JOB)
    return ended


def _finish(job: MediaJob, end: JobResult, hand: UUID | None, now: int) -> MediaJob:
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
            files_expire_at=end.files_expire_at if end.outputs else None,
            finished_at=now,
        )
        .where(open_job if hand is None else open_job & (MediaJob.claimed_by == hand))
        .returning(MediaJob)
        .execute()
    )
    ended: MediaJob | None = next(iter(rows), None)
    if ended is None:
        raise _AlreadyEnded
    for position, output in enumerate(end.outputs):
        MediaOutput.create(job=job.id, position=position, created_at=now, **output._asdict())
    return ended


def _settlement(job: MediaJob, end: JobResult, now: int) -> Settlement:
    row, requested = job.__data__, job.options.get(REQUESTED_MODEL)
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
        duration_ms=min(now - job.created_at, MAX_DURATION_MS),
        created_at=job.created_at,
        details=UsageDetails(asked_model=requested, tag=job.tag) if requested or job.tag else None,
        provider_cost=end.provider_cost,
        request_sha256=job.request_sha256,
        request_shape=job.request_shape,
    )
