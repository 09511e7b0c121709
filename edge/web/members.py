"""Account → Members: invite, change, suspend and remove members, and transfer ownership."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response, request
from werkzeug.datastructures import MultiDict

from edge.http.public_url import edge_url
from edge.request_context import read, services, write
from edge.web.confirmation import confirm_person, required_of
from edge.web.pages import page, read_slow
from edge.web.web_session import origin_of, redirect_to, require_session
from shared.core.errors import InvalidRequest, SignInQueueFull, TooManyAttempts
from shared.identity.roles import ASSIGNABLE_ROLES, OWNER
from shared.models import Invitation
from shared.operations.invitations import (
    invitation_token,
    invite,
    open_invitations,
    resend_invitation,
    revoke_invitation,
)
from shared.operations.members import (
    MemberRow,
    MemberTerms,
    change_member,
    find_member,
    list_members,
    remove_member,
    set_member_suspended,
    transfer_ownership,
)
from shared.text.translation import current_language, gettext

members = Blueprint("members", __name__)
_MAX_DIGITS = 15


class _People(NamedTuple):
    rows: list[MemberRow]
    invitations: list[Invitation]


@members.get("/account/members")
async def show_members() -> Response:
    return await _page()


@members.post("/account/members/invite")
async def send_invitation() -> Response:
    session, form = require_session(), await request.form
    options = {"language": current_language(), "inviter": session.member, "sends_mail": services().settings.sends_mail}
    try:
        job = partial(invite, session.account, form.get("email", ""), _terms(form), origin=origin_of(session.account))
        await write(partial(job, **options))
    except InvalidRequest as error:
        return await _page(422, form, str(error))
    return redirect_to("/account/members", "invited" if services().settings.sends_mail else "invited-link")


@members.post("/account/members/invitations/<invitation_id>/resend")
async def resend(invitation_id: str) -> Response:
    session, mails = require_session(), services().settings.sends_mail
    origin = origin_of(session.account)
    job = partial(resend_invitation, session.account, invitation_id, inviter=session.member, sends_mail=mails, origin=origin)
    try:
        await write(job)
    except InvalidRequest as error:
        return await _page(422, wrong=str(error))
    return redirect_to("/account/members", "invited" if mails else "invited-link")


@members.post("/account/members/invitations/<invitation_id>/revoke")
async def revoke(invitation_id: str) -> Response:
    session = require_session()
    await write(partial(revoke_invitation, session.account, invitation_id, origin=origin_of(session.account)))
    return redirect_to("/account/members", "invitation-revoked")


@members.get("/account/members/<member_id>")
async def show_member(member_id: str) -> Response:
    return await _member_page(member_id)


@members.post("/account/members/<member_id>")
async def change(member_id: str) -> Response:
    session, form = require_session(), await request.form
    try:
        job = partial(change_member, session.account, member_id, _terms(form), origin=origin_of(session.account))
        await write(job)
    except InvalidRequest as error:
        return await _member_page(member_id, 422, form, str(error))
    return redirect_to("/account/members", "member-changed")


@members.post("/account/members/<member_id>/suspend")
async def suspend(member_id: str) -> Response:
    return await _set_suspended(member_id, True)


@members.post("/account/members/<member_id>/resume")
async def resume(member_id: str) -> Response:
    return await _set_suspended(member_id, False)


@members.post("/account/members/<member_id>/remove")
async def remove(member_id: str) -> Response:
    session = require_session()
    try:
        await write(partial(remove_member, session.account, member_id, origin=origin_of(session.account)))
    except InvalidRequest as error:
        return await _member_page(member_id, 422, wrong=str(error))
    return redirect_to("/account/members", "member-removed")


@members.post("/account/members/<member_id>/transfer")
async def transfer(member_id: str) -> Response:
    """Transfer ownership. Signs the former owner out of the account."""
    session, form = require_session(), await request.form
    try:
        wrong = await confirm_person(session, form, field="password_now")
    except (TooManyAttempts, SignInQueueFull) as error:
        return await _member_page(member_id, 429, wrong=str(error))
    if wrong:
        return await _member_page(member_id, 422, wrong=wrong)
    try:
        await write(partial(transfer_ownership, session.account, member_id, origin=origin_of(session.account)))
    except InvalidRequest as error:
        return await _member_page(member_id, 422, wrong=str(error))
    return redirect_to("/sign-in", "ownership-transferred")


async def _set_suspended(member_id: str, suspended: bool) -> Response:
    session = require_session()
    try:
        job = partial(set_member_suspended, session.account, member_id, suspended, origin=origin_of(session.account))
        await write(job)
    except InvalidRequest as error:
        return await _member_page(member_id, 422, wrong=str(error))
    return redirect_to("/account/members", "member-suspended" if suspended else "member-resumed")


async def _page(status: int = 200, form: MultiDict[str, str] | None = None, wrong: str = "") -> Response:
    found = await read_slow(partial(_read, require_session().account))
    links = {} if services().settings.sends_mail else {row.id: _link(row) for row in found.invitations}
    context = {"rows": found.rows, "invitations": found.invitations, "links": links, "roles": ASSIGNABLE_ROLES}
    return await page("account/members.html", status, form=form or MultiDict(), wrong=wrong, owner=OWNER, **context)


async def _member_page(member_id: str, status: int = 200, form: MultiDict[str, str] | None = None, wrong: str = "") -> Response:
    session = require_session()
    row = await read(partial(find_member, session.account, member_id))
    if form is None:
        limits = {name: str(getattr(row, name) or "") for name in ("monthly_credit_limit", "daily_credit_limit")}
        form = MultiDict({"role": row.role, **limits})
    required = await required_of(session.person)
    context = {"row": row, "roles": ASSIGNABLE_ROLES, "owner": OWNER, "form": form, "wrong": wrong, "required": required}
    return await page("account/member.html", status, **context)


def _read(account: UUID) -> _People:
    return _People(list_members(account), open_invitations(account))


def _link(row: Invitation) -> str:
    return f"{edge_url()}/invitation/{invitation_token(row, services().settings.secret_key)}"


def _terms(form: MultiDict[str, str]) -> MemberTerms:
    """Read a role and limits. Raises `InvalidRequest` for a limit that is not a whole number."""
    return MemberTerms(form.get("role", ""), _limit(form, "monthly_credit_limit"), _limit(form, "daily_credit_limit"))


def _limit(form: MultiDict[str, str], name: str) -> int | None:
    text = "".join(form.get(name, "").split())
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidRequest(gettext("Limits must be whole numbers of credits. Leave them empty for no limit."), name)
    return int(text)
