"""Account → Security: the identities of the signed-in person."""

from __future__ import annotations

from functools import partial

from quart import Blueprint, Response

from edge.request_context import read, services
from edge.web.pages import page
from edge.web.web_session import require_session
from shared.operations.identities import identities_of
from shared.operations.people import find_sign_in_by_id

security = Blueprint("security", __name__)


@security.get("/account/security")
async def show() -> Response:
    return await security_page()


async def security_page(status: int = 200, wrong: dict[str, str] | None = None) -> Response:
    """Return the page, with messages by the section that they belong to."""
    session = require_session()
    found = await read(partial(find_sign_in_by_id, session.person))
    context = {
        "identities": await read(partial(identities_of, session.person)),
        "has_provider": services().openid is not None,
        "has_password": found is not None and found.password_hash is not None,
        "email": session.email,
        "wrong": wrong or {},
    }
    return await page("account/security.html", status, **context)
