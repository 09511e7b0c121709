"""The browsers that are signed in, and the password."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response, request

from edge.current import read, write
from edge.errors import face
from edge.web.pages import page
from edge.web.proof import agent, confirm, hash_new
from edge.web.visit import address, go, remember_browser, set_session, signed_in
from shared.clock import now_ms
from shared.errors import Busy, InvalidInput, TooManyAttempts
from shared.models import WebSession
from shared.operations.web_accounts import change_password, end_own_session

sessions = Blueprint("sessions", __name__)


@sessions.get("/account/sessions")
async def show_sessions() -> Response:
    return await _page()


@sessions.post("/account/sessions/<digest>/end")
async def end(digest: str) -> Response:
    session = signed_in()
    await write(partial(end_own_session, session.account, digest))
    return go("/account/sessions", "session-ended")


@sessions.post("/account/password")
async def new_password() -> Response:
    session = signed_in()
    form = await request.form
    try:
        proven = await confirm(session, form.get("current", ""))
    except (TooManyAttempts, Busy) as problem:
        return await _page(face(problem).status, {"current": str(problem)})
    if proven is None:
        return await _page(422, {"current": "This is not your password."})
    try:
        password_hash = await hash_new(form.get("password", ""), session.email)
    except (InvalidInput, Busy) as problem:
        return await _page(503 if isinstance(problem, Busy) else 422, {"password": str(problem)})
    change = partial(change_password, session.account, proven.password_hash, password_hash, agent(), address=address())
    response = set_session(go("/account/sessions", "password-changed"), await write(change))
    return remember_browser(response, session.email)


async def _page(status: int = 200, wrong: dict[str, str] | None = None) -> Response:
    session = signed_in()
    rows = await read(partial(_open_sessions, session.account))
    return await page("account/sessions.html", status, rows=rows, own=session.digest, email=session.email, wrong=wrong or {})


def _open_sessions(account: UUID) -> list[WebSession]:
    unended = WebSession.revoked_at.is_null() & (WebSession.expires_at > now_ms())
    return list(WebSession.select().where((WebSession.account == account) & unended).order_by(WebSession.seen_at.desc()))
