"""Waits for a media job, for OpenAI's routes whose response contains the media."""

from __future__ import annotations

import asyncio
from functools import partial

from edge.media.jobs import FoundJob, find_job
from edge.request_context import services, write
from shared import media
from shared.core.errors import (
    ModelNotFound,
    NoAvailableChannel,
    StorageUnavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    YoutError,
)
from shared.identity.payer import Payer
from shared.media import Submitted
from shared.media.failure_messages import MESSAGES, failure_message
from shared.models import MediaJob

_TIMEOUTS = ("upstream_timeout", "job_timeout")


async def wait_for_job(submitted: Submitted, payer: Payer) -> FoundJob:
    """Wait for a job and return it once it has succeeded. Raises the API error for any other outcome.

    The job is cancelled if the client disconnects, its key is revoked or the server stops, unless an earlier request
    submitted it.
    """
    job = submitted.job
    running = services().inflight.begin()
    running.payer = payer
    try:
        await services().job_poller.wait_until_ended(job.id)
    except asyncio.CancelledError:
        if submitted.is_new:
            services().spawn(_cancel(job))
        if running.abort_reason is not None:
            raise running.abort_reason from None
        raise
    finally:
        services().inflight.end(running)
    found = await find_job(job.__data__["account"], job.id)
    if found.job.status != "succeeded":
        raise job_error(found.job)
    return found


def job_error(job: MediaJob) -> YoutError:
    """Return the API error for a job that failed or was cancelled."""
    code = job.error_code
    if job.status == "cancelled" or code is None:
        return UpstreamFailed("The job was cancelled. You were not charged.")
    if code not in MESSAGES:
        return UpstreamRejected(failure_message(code), None, code)
    if code in _TIMEOUTS:
        return UpstreamTimeout(failure_message(code))
    if code == "no_upstream_available":
        return NoAvailableChannel()
    if code == "storage_unavailable":
        return StorageUnavailable()
    if code == "model_not_found":
        return ModelNotFound(job.model)
    return UpstreamFailed(failure_message(code))


async def _cancel(job: MediaJob) -> None:
    await write(partial(media.cancel_job, job.__data__["account"], job.id))
