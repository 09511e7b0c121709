"""Deletes expired media files, input images of jobs that have ended, and orphans.

Orphans are files without a row, left by a process that died while writing them.
"""

from __future__ import annotations

import itertools
from uuid import UUID

from shared.core.clock import now_ms
from shared.files.storage import THUMBNAIL_SUFFIX, Storage
from shared.media.inputs import delete_inputs
from shared.media.thumbnails import delete_output_file
from shared.models import MediaJob, MediaOutput

MAX_JOBS_PER_RUN = 200  # per run
ORPHAN_AGE_MS = 24 * 3_600_000  # longer than any job runs
_folders = itertools.cycle(f"{number:02x}" for number in range(256))


def delete_expired(storage: Storage) -> int:
    """Delete the outputs of jobs whose files have expired. Returns the number of jobs. Raises `StorageUnavailable`."""
    expired = MediaJob.files_expire_at.is_null(False) & (MediaJob.files_expire_at <= now_ms())
    jobs = list(MediaJob.select(MediaJob.id).where(expired).order_by(MediaJob.files_expire_at).limit(MAX_JOBS_PER_RUN))
    for job in jobs:
        delete_files(job, storage)
    return len(jobs)


def delete_ended_inputs(storage: Storage) -> int:
    """Delete the input images of jobs that ended without a worker. Returns the number of jobs. Raises `StorageUnavailable`."""
    ended = MediaJob.input_key.is_null(False) & MediaJob.finished_at.is_null(False)
    jobs = list(MediaJob.select(MediaJob.id, MediaJob.input_key).where(ended).limit(MAX_JOBS_PER_RUN))
    for job in jobs:
        delete_inputs(job, storage)
    return len(jobs)


def delete_files(job: MediaJob, storage: Storage) -> int:
    """Delete a job's outputs, files before rows, so that failures can be retried. Returns the number of files."""
    outputs = list(MediaOutput.select().where(MediaOutput.job == job.id))
    for output in outputs:
        delete_output_file(storage, output)
    MediaOutput.delete().where(MediaOutput.job == job.id).execute()
    MediaJob.update(files_expire_at=None).where(MediaJob.id == job.id).execute()
    return len(outputs)


def delete_job(job: UUID) -> None:
    """Delete the rows of a job that has ended and has no files. Run inside a transaction."""
    MediaJob.delete().where((MediaJob.id == job) & MediaJob.finished_at.is_null(False)).execute()


def delete_orphans(storage: Storage) -> int:
    """Delete old files without a row in the next of the storage's 256 folders. Returns their number."""
    old = now_ms() - ORPHAN_AGE_MS
    keys = [found.key for found in storage.list(next(_folders)) if found.modified_at < old]
    files = {key.removesuffix(THUMBNAIL_SUFFIX) for key in keys}
    known = {row.storage_key for row in MediaOutput.select(MediaOutput.storage_key).where(MediaOutput.storage_key.in_(files))}
    known |= {str(row.input_key) for row in MediaJob.select(MediaJob.input_key).where(MediaJob.input_key.in_(keys))}
    orphans = [key for key in keys if key.removesuffix(THUMBNAIL_SUFFIX) not in known]
    for key in orphans:
        storage.delete(key)
    return len(orphans)
