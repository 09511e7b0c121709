"""What staff do about a hold, a job or the ledger, one function an action, as in `console/actions/`."""

from __future__ import annotations

from uuid import UUID

from flask import current_app

from console.actions.origin import by
from shared.core.formats import credits
from shared.job_queue import MEDIA_QUEUE, Jobs
from shared.operations import holds, media_jobs


def release_hold(call: UUID, reason: str) -> str:
    closed = holds.release_hold(call, reason, **by())
    return f"{credits(closed.held)} credits given back to {closed.account.email}. The call costs nothing."


def settle_hold(call: UUID, amount: int, reason: str) -> str:
    closed = holds.settle_hold(call, amount, reason, **by())
    back = credits(closed.held - closed.credits)
    return f"{credits(closed.credits)} credits charged to {closed.account.email}, {back} given back."


def poll_job(job: UUID) -> str:
    """Make the job due, and tell the workers. Where Redis is away, their next sweep finds it."""
    media_jobs.poll_job(job, **by())
    queue = Jobs(current_app.extensions["yout_settings"].redis_url)
    told = queue.send("make_media", str(job), queue=MEDIA_QUEUE)
    queue.close()
    return "A worker looks at the job now." if told else "Redis does not answer; a worker finds the job with its next sweep."


def cancel_job(job: UUID, reason: str) -> str:
    media_jobs.cancel_job(job, reason, **by())
    return "The job is cancelled, and its hold given back. What is still delivered for it is discarded."


def fail_job(job: UUID, reason: str) -> str:
    media_jobs.fail_job(job, reason, **by())
    return "The job has failed, and its hold is given back. What is still delivered for it is discarded."


def refund_job(job: UUID, reason: str) -> str:
    return f"{credits(media_jobs.refund_job(job, reason, **by()))} credits refunded."
