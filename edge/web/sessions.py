"""Account → Sessions: signed-in browsers, password and email address."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_spec
from edge.request_context import read, services, write
from edge.web.confirmation import confirm_person, confirm_with_hash, required_of
from edge.web.pages import page
from edge.web.password_auth import browser_label, check_new, count_verification_mail, hash_new
from edge.web.web_session import address, origin_of, redirect_to, remember_browser, require_session, set_session
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, InvalidRequest, SignInQueueFull, TooManyAttempts
from shared.identity.emails import normalize_email
from shared.models import WebSession
from shared.operations.accounts import change_person_email
from shared.operations.email_changes import pending_change, request_change
from shared.operations.web_accounts import change_password, end_own_session, sessions_of
from shared.text.translation import gettext

sessions = Blueprint("sessions", __name__)
SESSIONS_SHOWN = 50  # the most recently used ones


@sessions.get("/account/sessions")
async def show_sessions() -> Response:
    return await _page()


@sessions.post("/account/sessions/<digest>/end")
async def end(digest: str) -> Response:
    session = require_session()
    await write(partial(end_own_session, session.person, digest))
    return redirect_to("/account/sessions", "session-ended")


@sessions.post("/account/password")
async def new_password() -> Response:
    session = require_session()
    form = await request.form
    try:
        check_new(form.get("password", ""), session.email)
    except InvalidInput as error:
        return await _page(422, {"password": str(error)})
    try:
        wrong, former_hash = await confirm_with_hash(session, form, field="current")
    except (TooManyAttempts, SignInQueueFull) as error:
        return await _page(error_spec(error).status, {"current": str(error)})
    if wrong:
        return await _page(422, {"current": wrong})
    try:
        password_hash = await hash_new(form.get("password", ""), session.email)
    except SignInQueueFull as error:
        return await _page(503, {"password": str(error)})
    hashes = (former_hash, password_hash)
    change = partial(change_password, session.person, *hashes, browser_label(), account=session.account, address=address())
    response = set_session(redirect_to("/account/sessions", "password-changed"), await write(change))
    return remember_browser(response, session.email)


@sessions.post("/account/email")
async def new_email() -> Response:
    """Change the email address: with a mail server once the new one is confirmed. It is entered twice, to catch typos."""
    session = require_session()
    form = await request.form
    try:
        email = normalize_email(form.get("email", ""))
        if normalize_email(form.get("again", "")) != email:
            return await _page(422, {"again": gettext("The addresses do not match.")}, email)
    except InvalidInput as error:
        return await _page(422, {"email": str(error)}, form.get("email", ""))
    try:
        wrong = await confirm_person(session, form, field="password_now")
    except (TooManyAttempts, SignInQueueFull) as error:
        return await _page(error_spec(error).status, {"password_now": str(error)}, email)
    if wrong:
        return await _page(422, {"password_now": wrong}, email)
    try:
        if services().settings.sends_mail:
            await count_verification_mail(session.account)
            pending = await write(partial(request_change, session.person, email, origin=origin_of(session.account)))
            done = "email-change-requested" if pending is not None else "email-change-cancelled"
            return redirect_to("/account/sessions", done)
        await write(partial(change_person_email, session.person, email, origin=origin_of(session.account)))
    except TooManyAttempts as error:
        return await _page(429, {"email": str(error)}, email)
    except InvalidRequest as error:
        return await _page(422, {"email": str(error)}, email)
    return remember_browser(redirect_to("/account/sessions", "email-changed"), email)


async def _page(status: int = 200, wrong: dict[str, str] | None = None, new_email: str = "") -> Response:
    session = require_session()
    rows = await read(partial(_open_sessions, session.person))
    context = {
        "rows": rows,
        "required": await required_of(session.person),
        "most": SESSIONS_SHOWN,
        "own": session.digest,
        "email": session.email,
        "new_email": new_email,
        "pending": await read(partial(pending_change, session.person)),
        "wrong": wrong or {},
    }
    return await page("account/sessions.html", status, **context)


def _open_sessions(person: UUID) -> list[WebSession]:
    active = WebSession.revoked_at.is_null() & (WebSession.expires_at > now_ms())
    query = WebSession.select().where(sessions_of(person) & active)
    return list(query.order_by(WebSession.seen_at.desc()).limit(SESSIONS_SHOWN))
