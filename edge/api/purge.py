"""`/api/chat/purge/`: delete an account's data, poll the progress, and get the signed certificate."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import orjson
from quart import Blueprint, Response

from edge.call.web_auth import visitor_limits
from edge.http.api_spec import (
    ANYBODY,
    ID,
    OPEN_OBJECT,
    STRING,
    TIMESTAMP,
    WEB,
    ResponseSpec,
    describe_route,
    enum,
    nullable,
    response_schema,
)
from edge.request_context import (
    account_caller,
    caller,
    count_request,
    read,
    require_manager,
    services,
    uncached_json,
    write,
)
from shared.core.clock import new_id, now_ms
from shared.core.errors import NotFound, RateLimited
from shared.core.timestamps import format_timestamp
from shared.files.certificates import public_pem, sign_certificate
from shared.identity.payer import VisitorPayer
from shared.models import PURGE_STATUSES, PurgeJob
from shared.operations.purges import ACTOR, begin_purge, find_purge, purge_visitor

purge_routes = Blueprint("purging", __name__)
_PURGE = response_schema(
    {
        "id": ID,
        "status": enum(*PURGE_STATUSES),
        "step": nullable(STRING),
        "created": TIMESTAMP,
        "finished": nullable(TIMESTAMP),
        "removed": OPEN_OBJECT,
        "certificate": nullable(OPEN_OBJECT),
    }
)


@purge_routes.post("/api/chat/purge/")
@describe_route(
    "Delete the account's data",
    callers=WEB,
    responses={202: ResponseSpec(_PURGE, "The purge. Poll it until it is done; a visitor's purge is done at once.")},
    errors=(RateLimited,),
    notes="Deletes conversations, messages, stored responses, shares, media and all records of individual calls."
    " This cannot be undone. An API key needs `can_manage`.",
)
async def start_purge() -> Response:
    """Start a purge and return the job to poll, or the running one. A visitor's purge finishes within the request."""
    found = await caller()
    if isinstance(found, VisitorPayer):
        await count_request(visitor_limits(services().settings, found))
        return uncached_json(await _purge_visitor(found.digest), 202)
    require_manager(found)
    await count_request(found.limits)
    job = await write(partial(begin_purge, found.account, origin=found.origin))
    if job.status == "queued":
        services().spawn(asyncio.to_thread(services().job_queue.send, ACTOR, str(job.id)))
    return uncached_json(_document(job), 202)


@purge_routes.get("/api/chat/purge/<purge_id>/")
@describe_route(
    "Retrieve a purge",
    path={"purge_id": ID},
    responses={200: ResponseSpec(_PURGE, "Its progress and, when done, its signed certificate.")},
    errors=(NotFound,),
)
async def show_purge(purge_id: str) -> Response:
    """Return a purge's progress and, when done, its certificate."""
    account = (await account_caller()).account
    return uncached_json(_document(await read(partial(find_purge, account, purge_id))))


@purge_routes.get("/.well-known/yout-purge-key.pem")
@describe_route(
    "Retrieve the public key for purge certificates",
    callers=ANYBODY,
    responses={200: ResponseSpec(None, "An Ed25519 public key in PEM.", ("application/x-pem-file",))},
)
async def show_key() -> Response:
    """Return the public key that verifies purge certificates."""
    return Response(public_pem(services().settings.secret_key), content_type="application/x-pem-file")


async def _purge_visitor(visitor: str) -> dict[str, Any]:
    """Purge a visitor's data and return the purge document. No row is kept, and the certificate names no account."""
    id, now, settings = new_id(), now_ms(), services().settings
    done = await write(partial(purge_visitor, visitor, services().visitors, now))
    moment = format_timestamp(now)
    removed = {"usage_rows": done.removed.usage, "holds": done.removed.holds, "idempotency_claims": done.removed.claims}
    certificate = {
        "kind": "yout-purge-visitor",
        "issuer": settings.edge_url,
        "purge": str(id),
        "requested_at": moment,
        "finished_at": moment,
        "removed": removed,
        "remains": {"allowance_used_until_midnight": done.allowance.used},
    }
    return {
        "id": str(id),
        "status": "done",
        "step": None,
        "created": moment,
        "finished": moment,
        "removed": removed,
        "certificate": sign_certificate(certificate, settings.secret_key),
    }


def _document(job: PurgeJob) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "status": job.status,
        "step": job.step or None,
        "created": format_timestamp(job.created_at),
        "finished": format_timestamp(job.finished_at),
        "removed": job.removed,
        "certificate": orjson.loads(job.certificate) if job.certificate is not None else None,
    }
