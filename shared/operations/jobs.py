"""Media jobs that staff act on: look at one again, cancel it, end it as failed, or give back what a finished one cost."""

from __future__ import annotations

from uuid import UUID

import peewee

from shared import ledger
from shared.clock import now_ms
from shared.database import transaction
from shared.errors import InvalidInput, NotFound
from shared.media import ends
from shared.media.ends import CANCELLED, End
from shared.models import MediaJob
from shared.operations.audit import Origin, record
from shared.operations.validation import check_text

FAILED_BY_STAFF = End("failed", error_code="ended_by_staff", error_class="ended by staff")


def find_job(job_id: UUID) -> MediaJob:
    """The job, without what was asked for. Raises `NotFound`."""
    shown = [field for field in MediaJob._meta.sorted_fields if field.name not in ("sealed_params", "callback_url")]
    job: MediaJob | None = MediaJob.select(*shown).where(MediaJob.id == job_id).first()
    if job is None:
        raise NotFound(f"No job {job_id}.")
    return job


def poll_job(job_id: UUID, *, actor: str, address: str = "") -> MediaJob:
    """Let an open job be due now: a worker looks at it at once, or with its next sweep. Raises `InvalidInput` if it ended."""
    with transaction():
        job = find_job(job_id)
        moved = MediaJob.update(due_at=now_ms()).where((MediaJob.id == job_id) & MediaJob.finished_at.is_null()).execute()
        if not moved:
            raise InvalidInput(f"This job has ended: it is {job.status}.")
        record(Origin(actor, address), "job.poll", job_id)
        return job


def cancel_job(job_id: UUID, reason: str, *, actor: str, address: str = "") -> MediaJob:
    """End an open job as cancelled and give its hold back. Raises `InvalidInput` when it has ended."""
    return _end(job_id, CANCELLED, reason, Origin(actor, address))


def fail_job(job_id: UUID, reason: str, *, actor: str, address: str = "") -> MediaJob:
    """End an open job as failed and give its hold back; what a worker still delivers is discarded. Raises `InvalidInput` when it
    has ended."""
    return _end(job_id, FAILED_BY_STAFF, reason, Origin(actor, address))


def refund_job(job_id: UUID, reason: str, *, actor: str, address: str = "") -> int:
    """Give back what a finished job was charged, once, and give the amount. Raises `InvalidInput` where there is nothing."""
    reason = check_text("reason", reason, 500)
    with transaction():
        job = find_job(job_id)
        if not job.credits_charged:
            raise InvalidInput("This job was charged nothing: there is nothing to give back.")
        try:
            with transaction():  # a savepoint, so that the refusal leaves a transaction that can go on
                ledger.post(_owner(job), "refund", job.credits_charged, actor=actor, reason=reason, call=job.id)
        except peewee.IntegrityError:
            raise InvalidInput("This job was refunded already, and nothing was changed.") from None
        record(
            Origin(actor, address),
            "job.refund",
            job_id,
            after={"account": str(_owner(job)), "credits": job.credits_charged, "reason": reason},
        )
        return int(job.credits_charged)


def _end(job_id: UUID, end: End, reason: str, origin: Origin) -> MediaJob:
    reason = check_text("reason", reason, 500)
    with transaction():
        job = MediaJob.get_or_none(MediaJob.id == job_id)
        if job is None:
            raise NotFound(f"No job {job_id}.")
        ended = ends.finish(job, end, hand=None) if job.finished_at is None else None
        if ended is None:
            raise InvalidInput("This job has ended already, and nothing was changed.")
        record(
            origin,
            "job.cancel" if end.status == "cancelled" else "job.fail",
            job_id,
            before={"status": job.status, "held": job.credits_held},
            after={"status": ended.status, "account": str(_owner(job)), "reason": reason},
        )
        return ended


def _owner(job: MediaJob) -> UUID:
    owner: UUID = job.__data__["account"]
    return owner
