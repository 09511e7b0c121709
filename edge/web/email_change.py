"""The links that confirm or cancel a change of the email address. Opening one changes nothing, because email scanners do."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple
from uuid import UUID

from quart import Blueprint, Response

from edge.request_context import read, services, write
from edge.web.pages import page
from edge.web.web_session import address, origin_of, page_session, redirect_to, remember_browser, require_session
from shared.core.errors import InvalidInput, InvalidRequest, NotFound
from shared.identity.account_links import CANCEL_EMAIL, CONFIRM_EMAIL, read_token
from shared.operations.audit import Origin
from shared.operations.email_changes import cancel_change, confirm_change, linked_change, pending_change

email_change = Blueprint("email_change", __name__)


class _Linked(NamedTuple):
    """The pending change of a link: its person, their present address, and the new one."""

    id: UUID
    person: UUID
    former: str
    email: str


@email_change.get("/confirm-email/<link>")
async def show_confirmation(link: str) -> Response:
    return await _show(link, CONFIRM_EMAIL, "confirm")


@email_change.post("/confirm-email/<link>")
async def confirm(link: str) -> Response:
    found = await _look_up(link, CONFIRM_EMAIL)
    if found is None:
        return await _page("invalid", None, 404)
    try:
        email = await write(partial(confirm_change, found.id, origin=Origin("email-link", address())))
    except NotFound:  # cancelled in the meantime
        return await _page("invalid", None, 404)
    except InvalidRequest as error:  # the address is taken by now
        return await _page("confirm", found, 422, str(error))
    response = await _page("confirmed", found)
    session = page_session().session
    return remember_browser(response, email) if session is not None and session.person == found.person else response


@email_change.get("/cancel-email/<link>")
async def show_cancellation(link: str) -> Response:
    return await _show(link, CANCEL_EMAIL, "cancel")


@email_change.post("/cancel-email/<link>")
async def cancel(link: str) -> Response:
    found = await _look_up(link, CANCEL_EMAIL)
    if found is None:
        return await _page("invalid", None, 404)
    try:
        await write(partial(cancel_change, found.id, origin=Origin("email-link", address())))
    except NotFound:  # confirmed in the meantime
        return await _page("invalid", None, 404)
    return await _page("cancelled", found)


@email_change.post("/account/email/cancel")
async def cancel_own() -> Response:
    session = require_session()
    pending = await read(partial(pending_change, session.person))
    if pending is not None:
        await write(partial(cancel_change, pending.id, origin=origin_of(session.account)))
    return redirect_to("/account/sessions", "email-change-cancelled")


async def _show(link: str, purpose: str, state: str) -> Response:
    found = await _look_up(link, purpose)
    return await _page(state, found) if found is not None else await _page("invalid", None, 404)


async def _look_up(token: str, purpose: str) -> _Linked | None:
    try:
        link = read_token(token)
    except InvalidInput:
        return None
    row = await read(partial(linked_change, link, services().settings.secret_key, purpose))
    return _Linked(row.id, row.person.id, row.person.email, row.email) if row is not None else None


async def _page(state: str, found: _Linked | None, status: int = 200, wrong: str = "") -> Response:
    return await page("email_change.html", status, state=state, change=found, wrong=wrong)
