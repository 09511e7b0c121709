"""The accounts of the signed-in person: switch between them, accept an invitation, leave an account."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from uuid import UUID

from quart import Blueprint, Response, request

from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.password_auth import browser_label, hash_new
from edge.web.web_session import (
    address,
    clear_session,
    page_session,
    redirect_to,
    remember_browser,
    require_person,
    set_session,
)
from shared.core.errors import InvalidInput, InvalidRequest, NotFound, SignInQueueFull
from shared.identity.emails import require_domain
from shared.identity.roles import OWNER
from shared.identity.web_sessions import NewSession
from shared.models import Invitation, Member
from shared.operations.audit import Origin
from shared.operations.invitations import accept, accept_as_new, find_invitation
from shared.operations.members import remove_member
from shared.operations.people import SignIn, find_sign_in, memberships
from shared.operations.web_accounts import end_session, open_session, switch_account
from shared.text.translation import current_language, gettext

accounts = Blueprint("accounts", __name__)


@accounts.get("/accounts")
async def show_accounts() -> Response:
    session = require_person()
    return await page("accounts.html", rows=await read(partial(memberships, session.person)), current=session.account)


@accounts.post("/accounts/<account_id>/switch")
async def switch(account_id: str) -> Response:
    session = require_person()
    try:
        account = UUID(account_id)
    except ValueError:
        raise NotFound(gettext("There is no such account.")) from None
    job = partial(switch_account, session.digest, session.person, account, browser_label(), address=address())
    return set_session(redirect_to("/account", "account-switched"), await write(job))


@accounts.get("/account/leave")
async def show_leave() -> Response:
    session = require_person()
    return await page("account/leave.html", is_owner=session.role == OWNER)


@accounts.post("/account/leave")
async def leave() -> Response:
    """Leave the account, and continue in another one, if there is any."""
    session = require_person()
    origin = Origin(session.actor, address())
    try:
        await write(partial(remove_member, session.account, session.member, origin=origin))
    except InvalidRequest:  # the owner; the page says so
        return await page("account/leave.html", 422, is_owner=True)
    try:
        fresh = await write(partial(_open, session.person, browser_label()))
    except InvalidRequest:  # it was their only account
        return clear_session(redirect_to("/sign-in", "account-left"))
    return set_session(redirect_to("/account", "account-left"), fresh)


@accounts.get("/invitation/<invitation_token>")
async def show_invitation(invitation_token: str) -> Response:
    found = await _look_up(invitation_token)
    return await _invitation_page(*found) if found else await page("invitation_invalid.html", 404)


@accounts.post("/invitation/<invitation_token>")
async def accept_invitation(invitation_token: str) -> Response:
    """Accept an invitation: as the signed-in person with the invited address, or as a new one with a password."""
    found = await _look_up(invitation_token)
    if found is None:
        return await page("invitation_invalid.html", 404)
    row, person = found
    session = page_session().session
    origin = Origin(f"invitation:{row.id}", address())
    accepting: Callable[[], Member]
    try:
        if person is None:
            if services().settings.sign_up == "off":
                return await _invitation_page(row, person, 403)
            require_domain(row.email, services().settings.joining_domains)
            password_hash = await hash_new((await request.form).get("password", ""), row.email)
            verified, language = services().settings.sends_mail, current_language()
            accepting = partial(accept_as_new, row.id, password_hash, verified=verified, language=language, origin=origin)
        elif session is None or session.person != person.person:
            return await _invitation_page(row, person)
        else:
            accepting = partial(accept, row.id, person.person, origin=origin)
        fresh = await write(partial(_accept, accepting, row.account.id, session.digest if session else "", browser_label()))
    except (InvalidInput, InvalidRequest) as error:
        return await _invitation_page(row, person, 422, str(error))
    except SignInQueueFull as error:
        return await _invitation_page(row, person, 503, str(error))
    except NotFound:
        return await page("invitation_invalid.html", 404)
    return remember_browser(set_session(redirect_to("/account", "invitation-accepted"), fresh), row.email)


def _accept(accepting: Callable[[], Member], account: UUID, former: str, agent: str) -> NewSession:
    member = accepting()
    if former:
        end_session(former)
    return open_session(member.person.id, agent, account)[0]


def _open(person: UUID, agent: str) -> NewSession:
    return open_session(person, agent)[0]


async def _look_up(token: str) -> tuple[Invitation, SignIn | None] | None:
    """Return the open invitation of a link, and the person with its address, if there is one."""
    return await read(partial(_find, token, services().settings.secret_key))


def _find(token: str, secret_key: str) -> tuple[Invitation, SignIn | None] | None:
    row = find_invitation(token, secret_key)
    return (row, find_sign_in(row.email)) if row is not None else None


async def _invitation_page(row: Invitation, person: SignIn | None, status: int = 200, wrong: str = "") -> Response:
    session = page_session().session
    if person is None:
        state = "closed" if services().settings.sign_up == "off" else "new"
    elif session is None:
        state = "sign-in"
    else:
        state = "accept" if session.person == person.person else "other"
    return await page("invitation.html", status, row=row, account=row.account.name or row.account.email, state=state, wrong=wrong)
