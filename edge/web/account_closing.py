"""Account → Close your account, and the page with the certificate, which needs no sign-in."""

from __future__ import annotations

import asyncio
from functools import partial

from quart import Blueprint, Response, request

from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.web_session import clear_session, origin_of, redirect_to, require_session
from shared.core.errors import InvalidInput, NotFound
from shared.identity.account_links import read_token
from shared.identity.emails import normalize_for_lookup
from shared.models import Account, PurgeJob
from shared.operations.account_closing import LINK_LASTS_MS, certificate_token, close_account, linked_purge
from shared.operations.purges import ACTOR
from shared.text.translation import gettext

account_closing = Blueprint("account_closing", __name__)
LINK_DAYS = LINK_LASTS_MS // 86_400_000


@account_closing.get("/account/close")
async def show_close() -> Response:
    return await _page()


@account_closing.post("/account/close")
async def close() -> Response:
    """Close the account, sign out, and show the progress of the purge."""
    session = require_session()
    typed = (await request.form).get("confirmation", "")
    if normalize_for_lookup(typed) != session.email:
        return await _page(422, gettext("Enter the email address of your account exactly as shown above."))
    job = await write(partial(close_account, session.account, origin=origin_of(session.account)))
    services().spawn(asyncio.to_thread(services().job_queue.send, ACTOR, str(job.id)))
    return clear_session(redirect_to(f"/closed/{certificate_token(job, services().settings.secret_key)}"))


@account_closing.get("/closed/<proof>")
async def show_closed(proof: str) -> Response:
    return await page("closed.html", job=await _linked(proof), proof=proof, days=LINK_DAYS)


@account_closing.get("/closed/<proof>/certificate.json")
async def closed_certificate(proof: str) -> Response:
    job = await _linked(proof)
    response = Response(job.certificate or "null", content_type="application/json")
    response.headers["content-disposition"] = f'attachment; filename="yout-purge-{job.id}.json"'
    return response


async def _linked(proof: str) -> PurgeJob:
    """Return the purge of a closed account. Raises `NotFound` for an invalid or expired link."""
    try:
        job = await read(partial(linked_purge, read_token(proof), services().settings.secret_key))
    except InvalidInput as error:
        raise NotFound(str(error)) from None
    if job is None:
        raise NotFound(gettext("This link has expired. Ask the operator of this service for the certificate."))
    return job


async def _page(status: int = 200, wrong: str = "") -> Response:
    session = require_session()
    account = await read(lambda: Account.get_by_id(session.account))
    return await page("account/close.html", status, account=account, wrong=wrong, days=LINK_DAYS)
