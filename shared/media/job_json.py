"""JSON representation of a media job, the same in the API, its event stream and webhooks. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from shared.core.timestamps import format_timestamp
from shared.media.failure_messages import failure_message
from shared.media.submission import REQUESTED_MODEL
from shared.models import MediaJob, MediaOutput


def requested_model(job: MediaJob) -> str:
    """Return the model's id or alias, as the caller named it."""
    return str(job.options.get(REQUESTED_MODEL) or job.model)


def job_document(job: MediaJob, outputs: Sequence[MediaOutput], link: Callable[[MediaOutput], str]) -> dict[str, Any]:
    """Return the job as JSON. `link` returns the URL of an output."""
    files = [{"url": link(output), "content_type": output.media_type, "size_bytes": output.size_bytes} for output in outputs]
    return {
        "job_uuid": str(job.id),
        "kind": job.kind,
        "model": requested_model(job),
        "status": job.status,
        "progress": job.progress,
        "output_url": files[0]["url"] if files else None,
        "outputs": files,
        "error": {"code": job.error_code, "message": failure_message(job.error_code)} if job.error_code else None,
        "credits_cost": job.credits_held if job.credits_charged is None else job.credits_charged,
        "created": format_timestamp(job.created_at),
        "finished": format_timestamp(job.finished_at),
    }
