"""Account → Emails: which optional emails a person gets, in all their accounts."""

from __future__ import annotations

from functools import partial

from quart import Blueprint, Response, request

from edge.request_context import read, write
from edge.web.pages import page
from edge.web.web_session import redirect_to, require_person
from shared.mail.preferences import OPTIONAL_KINDS, muted_kinds, set_muted_kinds

emails = Blueprint("emails", __name__)


@emails.get("/account/emails")
async def show_emails() -> Response:
    session = require_person()
    muted = await read(partial(muted_kinds, session.person))
    return await page("account/emails.html", email=session.email, kinds=OPTIONAL_KINDS, muted=muted)


@emails.post("/account/emails")
async def choose() -> Response:
    session, form = require_person(), await request.form
    wanted = set(form.getlist("kind"))
    await write(partial(set_muted_kinds, session.person, [kind for kind in OPTIONAL_KINDS if kind not in wanted]))
    return redirect_to("/account/emails", "emails-changed")
