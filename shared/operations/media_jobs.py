"""Media jobs: staff actions to poll, cancel, fail and refund a job."""

from __future__ import annotations

from uuid import UUID

import peewee

from shared import ledger
from shared.core.clock import now_ms
from shared.core.database import transaction
from shared.core.errors import InvalidInput, NotFound
from shared.media import finish_job
from shared.media.finish_job import CANCELLED, JobResult
from shared.models import MediaJob
from shared.operations.audit import Origin, record_audit_entry
from shared.operations.validation import check_text
from shared.text.translation import lazy_gettext

FAILED_BY_STAFF = JobResult("failed", error_code="ended_by_staff", error_class="ended by staff")


def find_job(job_id: UUID) -> MediaJob:
    """Return the job without its request and callback URL. Raises `NotFound`."""
    shown = [field for field in MediaJob._meta.sorted_fields if field.name not in ("sealed_params", "callback_url")]
    job: MediaJob | None = MediaJob.select(*shown).where(MediaJob.id == job_id).first()
    if job is None:
        raise NotFound(lazy_gettext("No job {job_id}.", job_id=job_id))
    return job


def poll_job(job_id: UUID, *, origin: Origin) -> MediaJob:
    """Make an open job due now, so that a worker or the next sweep polls it. Raises `InvalidInput` if it has ended."""
    with transaction():
        job = find_job(job_id)
        moved = MediaJob.update(due_at=now_ms()).where((MediaJob.id == job_id) & MediaJob.finished_at.is_null()).execute()
        if not moved:
            raise InvalidInput(lazy_gettext("This job has already ended: it is {status}.", status=job.status))
        record_audit_entry(origin, "job.poll", job_id)
        return job


def cancel_job(job_id: UUID, reason: str, *, origin: Origin) -> MediaJob:
    """Cancel an open job and release its hold. Raises `InvalidInput` if it has ended."""
    return _end(job_id, CANCELLED, reason, origin)


def fail_job(job_id: UUID, reason: str, *, origin: Origin) -> MediaJob:
    """Fail an open job and release its hold; later outputs are discarded. Raises `InvalidInput` if it has ended."""
    return _end(job_id, FAILED_BY_STAFF, reason, origin)


def refund_job(job_id: UUID, reason: str, *, origin: Origin) -> int:
    """Refund a finished job's charge once. Returns the amount. Raises `InvalidInput` if there was no charge."""
    reason = check_text("reason", reason, 500)
    with transaction():
        job = find_job(job_id)
        if not job.credits_charged:
            raise InvalidInput(lazy_gettext("This job was not charged; there is nothing to refund."))
        try:
            with transaction():  # a savepoint, so that the outer transaction survives an error
                ledger.post_entry(_owner(job), "refund", job.credits_charged, actor=origin.actor, reason=reason, call=job.id)
        except peewee.IntegrityError:
            raise InvalidInput(lazy_gettext("This job was already refunded. Nothing was changed.")) from None
        record_audit_entry(
            origin,
            "job.refund",
            job_id,
            after={"account": str(_owner(job)), "credits": job.credits_charged, "reason": reason},
        )
        return int(job.credits_charged)


def _end(job_id: UUID, end: JobResult, reason: str, origin: Origin) -> MediaJob:
    reason = check_text("reason", reason, 500)
    with transaction():
        job = MediaJob.get_or_none(MediaJob.id == job_id)
        if job is None:
            raise NotFound(lazy_gettext("No job {job_id}.", job_id=job_id))
        ended = finish_job.finish(job, end, lease_id=None) if job.finished_at is None else None
        if ended is None:
            raise InvalidInput(lazy_gettext("This job has already ended. Nothing was changed."))
        record_audit_entry(
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
