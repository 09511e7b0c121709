"""Account → Sessions: signed-in browsers, password and email address."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_spec
from edge.identity.sessions import SessionRow
from edge.request_context import read, services, write
from edge.web.confirmation import confirm_person, confirm_with_hash, required_of
from edge.web.pages import page
from edge.web.password_auth import browser_label, check_new, hash_new
from edge.web.web_session import address, origin_of, redirect_to, remember_browser, require_session, set_session
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, InvalidRequest, SignInQueueFull, TooManyAttempts
from shared.identity.emails import normalize_email
from shared.models import WebSession
from shared.operations.accounts import change_person_email
from shared.operations.audit import Origin
from shared.operations.verification import request_verification
from shared.operations.web_accounts import change_password, end_own_session, sessions_of
from shared.text.translation import current_language, gettext

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
    """Change the email address. It is entered twice, so that a typo cannot lock the member out."""
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
        mails = services().settings.sends_mail
        change = partial(_change_email, session, email, current_language(), origin_of(session.account), mails)
        verifying = await write(change)
    except InvalidRequest as error:
        return await _page(422, {"email": str(error)}, email)
    return remember_browser(redirect_to("/account/sessions", "email-changed-verify" if verifying else "email-changed"), email)


def _change_email(session: SessionRow, email: str, language: str, origin: Origin, sends_mail: bool) -> bool:
    """Change the address and return whether a verification email is sent. It needs no throttle, because it has a daily limit."""
    owned = change_person_email(session.person, email, notifies=sends_mail, origin=origin)
    return owned is not None and sends_mail and request_verification(owned, language=language, origin=origin)


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
        "wrong": wrong or {},
    }
    return await page("account/sessions.html", status, **context)


def _open_sessions(person: UUID) -> list[WebSession]:
    active = WebSession.revoked_at.is_null() & (WebSession.expires_at > now_ms())
    query = WebSession.select().where(sessions_of(person) & active)
    return list(query.order_by(WebSession.seen_at.desc()).limit(SESSIONS_SHOWN))
