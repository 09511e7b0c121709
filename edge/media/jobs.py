"""Reads an account's media jobs, with links to their outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from edge.http.public_url import edge_url
from edge.request_context import read, services, write
from shared.core.errors import NotFound
from shared.files.storage import Storage
from shared.media.finish_job import NO_SUCH_JOB, cancel_job
from shared.media.job_json import job_document
from shared.media.output_urls import signed_output_url
from shared.media.retention import delete_job as delete_row
from shared.models import MEDIA_KINDS, MEDIA_STATES, MediaJob, MediaOutput

__all__ = ["MEDIA_KINDS", "MEDIA_STATES", "FoundJob", "delete_job", "document", "find_job", "list_jobs", "parse_job_id"]


class FoundJob(NamedTuple):
    """A job with its outputs in order; empty once they are deleted."""

    job: MediaJob
    outputs: list[MediaOutput]


def parse_job_id(text: str) -> UUID:
    """Parse a job id from a path. Raises `NotFound`, so that an invalid id looks like an unknown one."""
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(NO_SUCH_JOB) from None


async def find_job(account: UUID, id: UUID, kind: str | None = None) -> FoundJob:
    """Return a job of the account, optionally of this `kind`. Raises `NotFound`."""
    found = await read(partial(_find, account, id))
    if found is None or (kind is not None and found.job.kind != kind):
        raise NotFound(NO_SUCH_JOB)
    return found


async def list_jobs(
    account: UUID,
    *,
    limit: int,
    after: UUID | None = None,
    ascending: bool = False,
    kind: str | None = None,
    status: str | None = None,
) -> list[FoundJob]:
    """Return a page of the account's jobs, newest first unless `ascending`, starting after the job `after`."""
    return await read(partial(_list, account, limit, after, ascending, kind, status))


async def delete_job(found: FoundJob) -> None:
    """Cancel a job if it is running, and delete it with its files. Raises `Unavailable`."""
    await write(partial(cancel_job, found.job.__data__["account"], found.job.id))
    await asyncio.to_thread(_delete_files, services().storage, found)
    await write(partial(delete_row, found.job.id))


def document(found: FoundJob) -> dict[str, Any]:
    """Return the API's document of a job, with signed links that expire."""
    settings, base = services().settings, edge_url()
    return job_document(found.job, found.outputs, lambda output: signed_output_url(base, found.job, output, settings))


def _find(account: UUID, id: UUID) -> FoundJob | None:
    job = MediaJob.get_or_none((MediaJob.id == id) & (MediaJob.account == account))
    return FoundJob(job, _outputs([job])[0]) if job is not None else None


def _delete_files(storage: Storage, found: FoundJob) -> None:
    inputs = [] if found.job.input_key is None else [found.job.input_key]
    for key in (*(output.storage_key for output in found.outputs), *inputs):
        storage.delete(key)


def _list(account: UUID, limit: int, after: UUID | None, ascending: bool, kind: str | None, status: str | None) -> list[FoundJob]:
    query = MediaJob.select().where(MediaJob.account == account)
    if after is not None:
        query = query.where(MediaJob.id > after if ascending else MediaJob.id < after)
    if kind is not None:
        query = query.where(MediaJob.kind == kind)
    if status is not None:
        query = query.where(MediaJob.status == status)
    jobs = list(query.order_by(MediaJob.id if ascending else MediaJob.id.desc()).limit(limit))
    return [FoundJob(job, outputs) for job, outputs in zip(jobs, _outputs(jobs), strict=True)]


def _outputs(jobs: Sequence[MediaJob]) -> list[list[MediaOutput]]:
    """Return the outputs of each job, with one query."""
    found: dict[UUID, list[MediaOutput]] = {job.id: [] for job in jobs}
    for output in MediaOutput.select().where(MediaOutput.job.in_(list(found))).order_by(MediaOutput.position):
        found[output.__data__["job"]].append(output)
    return [found[job.id] for job in jobs]
