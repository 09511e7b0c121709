"""Waits for a media job, for OpenAI's routes whose response contains the media."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

from edge.media.jobs import FoundJob, find
from edge.request_context import read, services, write
from shared import media
from shared.core.errors import (
    ModelNotFound,
    NoUpstream,
    StorageUnavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    YoutError,
)
from shared.media import Submitted
from shared.media.failure_messages import REASONS, reason
from shared.models import Account, MediaJob

_TIMEOUTS = ("upstream_timeout", "job_timeout")


async def made(submitted: Submitted) -> FoundJob:
    """Wait for a job and return it once it has succeeded. Raises the API error for any other outcome.

    The job is cancelled if the client disconnects, its key is revoked or the server stops, unless an earlier request
    submitted it.
    """
    job = submitted.job
    running = services().calls.begin()
    running.payer = job.__data__["api_key"]
    try:
        await services().watch.end(job.id)
    except asyncio.CancelledError:
        if submitted.fresh:
            services().spawn(_cancel(job))
        if running.cut_by is not None:
            raise running.cut_by from None
        raise
    finally:
        services().calls.end(running)
    found = await find(job.__data__["account"], job.id)
    if found.job.status != "succeeded":
        raise failure(found.job)
    return found


def failure(job: MediaJob) -> YoutError:
    """Return the API error for a job that failed or was cancelled."""
    code = job.error_code
    if job.status == "cancelled" or code is None:
        return UpstreamFailed("The job was cancelled. You were not charged.")
    if code not in REASONS:
        return UpstreamRejected(reason(code), None, code)
    if code in _TIMEOUTS:
        return UpstreamTimeout(reason(code))
    if code == "no_upstream_available":
        return NoUpstream()
    if code == "storage_unavailable":
        return StorageUnavailable()
    if code == "model_not_found":
        return ModelNotFound(job.model)
    return UpstreamFailed(reason(code))


async def balance_of(account: UUID) -> int:
    """Return the account's current balance in credits."""
    return await read(lambda: int(Account.get_by_id(account).balance))


async def _cancel(job: MediaJob) -> None:
    await write(partial(media.cancel, job.__data__["account"], job.id))
