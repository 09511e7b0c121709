"""Email verification: the page that the email links to, and requests for a new link."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.password_auth import count_verification_mail
from edge.web.web_session import origin_of, page_session, redirect_to, require_session
from shared.core.clock import now_ms
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, TooManyAttempts
from shared.identity.account_links import VERIFY_EMAIL, is_genuine, read_token
from shared.models import Account
from shared.operations.verification import confirm_email, request_verification
from shared.text.translation import current_language, gettext

verification = Blueprint("verification", __name__)


class _Linked(NamedTuple):
    """An authentic link, with the current state of its account."""

    token: str
    expired: bool
    account: UUID
    email: str
    verified: bool
    pending_credits: int


@verification.get("/verify-email/<link>")
async def show_link(link: str) -> Response:
    """Show the page with the button. Opening the link changes nothing, because email scanners open links too."""
    found = await _look_up(link)
    if found is None:
        return await _invalid()
    return await _page("verified" if found.verified else "expired" if found.expired else "confirm", found)


@verification.post("/verify-email/<link>")
async def confirm(link: str) -> Response:
    found = await _look_up(link)
    if found is None:
        return await _invalid()
    if found.expired and not found.verified:
        return await _page("expired", found, 410)
    try:
        done = await write(partial(confirm_email, found.account, found.email, origin=origin_of(found.account)))
    except NotFound:  # the address was changed or the account closed in the meantime
        return await _invalid()
    return await _page("verified", found, credits=done.credits)


@verification.post("/verify-email/<link>/resend")
async def resend_expired(link: str) -> Response:
    """Send a new email for an expired link. No sign-in is needed: it goes to the address of the link."""
    found = await _look_up(link)
    if found is None:
        return await _invalid()
    wrong = await _request(found.account)
    return await _page("expired" if wrong else "sent", found, 429 if wrong else 200, wrong=wrong)


@verification.post("/account/verify-email")
async def resend() -> Response:
    session = require_session()
    wrong = await _request(session.account)
    if wrong:
        return await _page("refused", None, 429, wrong=wrong)
    return redirect_to("/account", "verification-sent")


async def _request(account: UUID) -> str:
    """Queue a verification email. Return an error message, or "" if it was queued or is not needed."""
    if not services().settings.sends_mail:
        raise NotFound(gettext("This service sends no email."))
    try:
        await count_verification_mail(account)
        queued = await write(partial(request_verification, account, language=current_language(), origin=origin_of(account)))
    except (TooManyAttempts, InvalidRequest) as problem:
        return str(problem)
    return "" if queued else gettext("We sent several emails today. Check your spam folder, or try again tomorrow.")


async def _look_up(token: str) -> _Linked | None:
    """Return the account of a link, or None if the link is not authentic or is for another address than the account's."""
    try:
        link = read_token(token)
    except InvalidInput:
        return None
    row = await read(partial(_find, link.account))
    if row is None or not is_genuine(link, services().settings.secret_key, VERIFY_EMAIL, row.email):
        return None
    return _Linked(token, now_ms() >= link.expires_at, row.id, row.email, row.email_verified_at is not None, row.pending_credits)


def _find(account: UUID) -> Account | None:
    row: Account | None = Account.get_or_none((Account.id == account) & (Account.status != "closed"))
    return row


async def _invalid() -> Response:
    """Show the page for an invalid link, where a signed-in member can request a new one."""
    session = page_session().session
    own = await read(partial(_find, session.account)) if session is not None else None
    can_resend = own is not None and own.email_verified_at is None and services().settings.sends_mail
    return await _page("invalid", None, 404, can_resend=can_resend)


async def _page(
    state: str, found: _Linked | None, status: int = 200, *, wrong: str = "", credits: int = 0, can_resend: bool = False
) -> Response:
    session = page_session().session
    is_own = session is not None and found is not None and session.account == found.account
    context = {"state": state, "link": found, "credits": credits, "wrong": wrong, "can_resend": can_resend, "is_own": is_own}
    return await page("verify_email.html", status, **context)
