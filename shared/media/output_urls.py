"""Signed URLs of media outputs. They expire with the file at the latest."""

from __future__ import annotations

from shared.core.clock import now_ms
from shared.core.settings import Settings
from shared.files.signed_urls import sign_url
from shared.models import MediaJob, MediaOutput

PREVIEW_MS = 3_600_000  # links of thumbnails change only this often, so that browsers can cache them


def signed_thumbnail_url(job: MediaJob, output: MediaOutput, settings: Settings) -> str:
    """Return the signed path of an output's thumbnail: of the image itself, if it has none."""
    expires_at = (now_ms() // PREVIEW_MS + 2) * PREVIEW_MS
    if job.files_expire_at is not None:
        expires_at = min(expires_at, job.files_expire_at)
    return sign_url(f"/api/media/files/{output.id}/thumbnail", expires_at, settings.secret_key)


def signed_output_url(base: str, job: MediaJob, output: MediaOutput, settings: Settings) -> str:
    """Return the signed URL of an output. `base` is the edge's base URL."""
    expires_at = now_ms() + settings.media_link_seconds * 1000
    if job.files_expire_at is not None:
        expires_at = min(expires_at, job.files_expire_at)
    return base.rstrip("/") + sign_url(f"/api/media/files/{output.id}", expires_at, settings.secret_key)
