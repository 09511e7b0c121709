"""`/api/chat/purge/`: empty the account, see how far that is, and get its certificate."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson
from quart import Blueprint, Response

from edge.current import account_caller, count_request, private, read, services, write
from shared.certificates import public_pem
from shared.models import PurgeJob
from shared.moments import iso_moment
from shared.operations.purges import ACTOR, begin_purge, find_purge

purging = Blueprint("purging", __name__)


@purging.post("/api/chat/purge/")
async def start_purge() -> Response:
    """Begin, and answer at once with the job to poll; one that is under way is given again."""
    caller = await account_caller()
    await count_request(caller.limits)
    job = await write(partial(begin_purge, caller.account, actor=caller.actor, address=caller.address))
    if job.status == "queued":
        services().spawn(asyncio.to_thread(services().jobs.send, ACTOR, str(job.id)))
    return private(_document(job), 202)


@purging.get("/api/chat/purge/<purge_id>/")
async def show_purge(purge_id: str) -> Response:
    """How far it is; when it is done, the certificate."""
    caller = await account_caller()
    return private(_document(await read(partial(find_purge, caller.account, purge_id))))


@purging.get("/.well-known/yout-purge-key.pem")
async def show_key() -> Response:
    """The public key that certificates are verified with."""
    return Response(public_pem(services().settings.secret_key), content_type="application/x-pem-file")


def _document(job: PurgeJob) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "status": job.status,
        "step": job.step or None,
        "created": iso_moment(job.created_at),
        "finished": iso_moment(job.finished_at),
        "removed": job.removed,
        "certificate": orjson.loads(job.certificate) if job.certificate is not None else None,
    }
