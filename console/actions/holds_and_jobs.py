"""Staff actions on holds and media jobs, one function each."""

from __future__ import annotations

from uuid import UUID

from flask import current_app

from console.actions.origin import origin
from console.metrics import current_metrics
from shared.core.formats import format_credits
from shared.core.settings import Settings
from shared.job_queue import MEDIA_QUEUE, JobQueue
from shared.operations import holds, media_jobs
from shared.text.translation import gettext


def release_hold(call: UUID, reason: str) -> str:
    closed = holds.release_hold(call, reason, origin=origin())
    return gettext(
        "{held} credits released to {email}. The call is not charged.",
        held=format_credits(closed.held),
        email=closed.account.email,
    )


def settle_hold(call: UUID, amount: int, reason: str) -> str:
    closed = holds.settle_hold(call, amount, reason, origin=origin())
    released = format_credits(closed.held - closed.credits)
    return gettext(
        "{credits} credits charged to {email}, {released} released.",
        credits=format_credits(closed.credits),
        email=closed.account.email,
        released=released,
    )


def poll_job(job: UUID) -> str:
    """Make the job due now and notify the workers. If the broker is unavailable, their next sweep finds the job."""
    media_jobs.poll_job(job, origin=origin())
    settings: Settings = current_app.extensions["yout_settings"]
    queue = JobQueue(settings.broker_url)
    sent = queue.send("make_media", str(job), queue=MEDIA_QUEUE)
    queue.close()
    return (
        gettext("A worker is checking the job now.")
        if sent
        else gettext("{server} is unavailable. A worker will check the job in its next sweep.", server=settings.broker_name)
    )


def cancel_job(job: UUID, reason: str) -> str:
    media_jobs.cancel_job(job, reason, origin=origin())
    return gettext("Job cancelled and its hold released. Any output that still arrives is discarded.")


def fail_job(job: UUID, reason: str) -> str:
    media_jobs.fail_job(job, reason, origin=origin())
    return gettext("Job marked as failed and its hold released. Any output that still arrives is discarded.")


def refund_job(job: UUID, reason: str) -> str:
    credits = media_jobs.refund_job(job, reason, origin=origin())
    current_metrics().record_refund(credits)
    return gettext("{credits} credits refunded.", credits=format_credits(credits))
