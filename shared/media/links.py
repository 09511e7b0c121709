"""Links to media: good for a while and no longer than the file, for whoever has them."""

from __future__ import annotations

from shared.clock import now_ms
from shared.links import sign
from shared.models import MediaJob, MediaOutput
from shared.settings import Settings


def public_link(base: str, job: MediaJob, output: MediaOutput, settings: Settings) -> str:
    """The address of an output, at an edge that is reached at `base`."""
    expires_at = now_ms() + settings.media_link_seconds * 1000
    if job.files_expire_at is not None:
        expires_at = min(expires_at, job.files_expire_at)
    return base.rstrip("/") + sign(f"/api/media/files/{output.id}", expires_at, settings.secret_key)
