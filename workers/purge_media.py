"""The purge step for media: cancels and refunds unfinished jobs, then deletes files, then rows.

A worker that is still running such a job finds it ended and deletes what it stored (`shared.media.finish_job`). If it dies before
that, the files have no row, and the retention task deletes them after a day.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from shared.files.storage import Storage
from shared.media.finish_job import CANCELLED, finish
from shared.media.inputs import delete_inputs
from shared.media.thumbnails import delete_output_file
from shared.models import MediaJob, MediaOutput
from workers.purge_steps import NextAction, Purge, Step, StepResult

MAX_JOBS = 20  # per batch; each job can have several files in a remote store


class DeletedMedia(NamedTuple):
    """Jobs that have ended, and their outputs whose files were deleted."""

    jobs: list[UUID]
    files: list[UUID]


def media_step(storage: Storage) -> Step:
    """Return the step for files in `storage`. It raises `StorageUnavailable`, and is then retried."""
    return Step("media", _forget, _emptier(storage))


def _emptier(storage: Storage) -> Callable[[Purge], DeletedMedia]:
    def empty(purge: Purge) -> DeletedMedia:
        own = (MediaJob.account == purge.account) & (MediaJob.created_at <= purge.boundary)
        jobs = list(MediaJob.select().where(own).order_by(MediaJob.id).limit(MAX_JOBS))
        for job in jobs:
            if job.finished_at is None:
                finish(job, CANCELLED, lease_id=None)
            delete_inputs(job, storage)
        ids = [job.id for job in jobs]
        outputs = list(MediaOutput.select().where(MediaOutput.job.in_(ids)))  # includes a job that ended concurrently
        for output in outputs:
            delete_output_file(storage, output)
        return DeletedMedia(ids, [output.id for output in outputs])

    return empty


def _forget(_: Purge, emptied: DeletedMedia) -> StepResult:
    files = MediaOutput.delete().where(MediaOutput.id.in_(emptied.files)).execute() if emptied.files else 0
    with_files = MediaOutput.select(MediaOutput.job).where(MediaOutput.job.in_(emptied.jobs))
    done = MediaJob.id.in_(emptied.jobs) & MediaJob.finished_at.is_null(False) & MediaJob.id.not_in(with_files)
    jobs = MediaJob.delete().where(done).execute() if emptied.jobs else 0
    return StepResult(NextAction.MORE if emptied.jobs else NextAction.DONE, {"media_jobs": jobs, "media_files": files})
