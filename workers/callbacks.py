"""Callbacks: post the end of a job to the address that its owner gave, signed, through the guard against inner addresses."""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from uuid import UUID

from shared.clock import now_ms
from shared.database import transaction
from shared.errors import OutboundFailed, OutboundRefused
from shared.media import webhooks
from shared.media.document import job_document
from shared.media.links import public_link
from shared.models import MediaJob, MediaOutput
from shared.outbound import Limits, Outbound, policy_of
from shared.settings import Settings

log = logging.getLogger("yout.worker.callbacks")

LIMITS = Limits(total_seconds=20, idle_seconds=10)
LARGEST_ANSWER = 1_000_000


def tell(job_id: UUID, settings: Settings) -> None:
    """Make one attempt to tell the owner; another follows later unless it is answered with a 2xx, or the address is refused."""
    job = MediaJob.get_or_none(MediaJob.id == job_id)
    if job is None or job.callback_url is None or job.finished_at is None:
        return
    with transaction():
        secret = webhooks.secret_of(job.__data__["account"], settings.secret_key)
    body = json.dumps(_event(job, settings)).encode()
    headers = webhooks.sign(secret, f"evt_{job.id.hex}", now_ms() // 1000, body)
    try:
        with _outbound(settings).post(
            job.callback_url,
            body,
            max_bytes=LARGEST_ANSWER,
            headers={"content-type": "application/json", **headers},
            limits=LIMITS,
        ) as reply:
            told = 200 <= reply.status < 300
    except OutboundRefused:
        log.warning("the callback of media job %s names an address that may not be used", job.id)
        told = True  # and will be refused again
    except OutboundFailed:
        told = False
    if told:
        webhooks.forget(job.id)


def _event(job: MediaJob, settings: Settings) -> dict[str, object]:
    """The message. Links are in it only where the installation knows its public address."""
    outputs = list(MediaOutput.select().where(MediaOutput.job == job.id).order_by(MediaOutput.position))
    shown = outputs if settings.public_url else []
    data = job_document(job, shown, lambda output: public_link(settings.public_url, job, output, settings))
    return {
        "id": f"evt_{job.id.hex}",
        "object": "event",
        "type": f"media.job.{job.status}",
        "created_at": (job.finished_at or 0) // 1000,
        "data": data,
    }


@lru_cache(maxsize=1)
def _outbound(settings: Settings) -> Outbound:
    return Outbound(policy_of(settings))
