"""Passkeys: sign in with one, and add and remove one's own under Account → Security."""

from __future__ import annotations

import asyncio
from functools import partial
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_spec
from edge.http.public_url import edge_url
from edge.request_context import read, services, write
from edge.web.confirmation import confirm_person
from edge.web.pages import page
from edge.web.password_auth import browser_label, count_flow, forget_flow
from edge.web.security import PASSKEY_MS, PASSKEY_PURPOSE, passkey_site, security_page, unseal_values
from edge.web.web_session import (
    address,
    known_browser,
    origin_of,
    page_session,
    redirect_to,
    remember_browser,
    require_session,
    set_session,
)
from shared.core.errors import InvalidRequest, InvalidSession, NotFound, SignInQueueFull, TooManyAttempts
from shared.identity.passkeys import origin_of as origin_of_url
from shared.operations.audit import Origin
from shared.operations.identities import remove_passkey
from shared.operations.passkeys import PEOPLE, Site, load_library
from shared.operations.people import current_sign_in, find_sign_in_by_id
from shared.operations.web_accounts import create_session, end_session
from shared.text.redirects import safe_redirect
from shared.text.translation import gettext

passkeys = Blueprint("passkeys", __name__)


@passkeys.post("/sign-in/passkey")
async def sign_in() -> Response:
    form = await request.form
    next = safe_redirect(request.args.get("next"), "")
    site = _site(form.get("challenge", ""))
    failed = gettext("The passkey could not be verified. Try again.")
    if site is None:
        return await page("sign_in_failed.html", 403, wrong=failed, target=next)
    name = f"passkey {site.challenge}"
    try:
        await count_flow(name)
    except TooManyAttempts as error:
        response = await page("sign_in_failed.html", 429, wrong=str(error), target=next)
        response.headers["retry-after"] = str(-(-error.wait_ms // 1000))
        return response
    await asyncio.to_thread(load_library)
    person = await write(partial(PEOPLE.verify, form.get("credential", ""), site))
    found = await read(partial(find_sign_in_by_id, person)) if person is not None else None
    if person is None or found is None:
        return await page("sign_in_failed.html", 403, wrong=failed, target=next)
    await forget_flow(name)
    signing_in = partial(create_session, person, browser_label(), password_hash=found.password_hash, address=address())
    settings = services().settings
    notifies = settings.sends_mail and not known_browser(found.email)
    try:
        session = await write(partial(signing_in, creates_account=settings.sign_up == "open", notifies=notifies))
    except (InvalidRequest, InvalidSession) as error:
        return await page("sign_in_failed.html", 403, wrong=str(error), target=next)
    current = page_session().session
    if current is not None:
        await write(partial(end_session, current.digest))
    return remember_browser(set_session(redirect_to(next or "/account"), session), found.email)


@passkeys.post("/account/passkeys")
async def add() -> Response:
    session = require_session()
    form = await request.form
    site = _site(form.get("challenge", ""))
    if site is None:
        return await security_page(422, {"passkeys": gettext("The page has expired. Try again.")})
    adding = partial(_add, session.person, form.get("credential", ""), site, browser_label(), origin_of(session.account))
    try:
        wrong = await confirm_person(session, form)
        if not wrong:
            await asyncio.to_thread(load_library)
            await write(adding)
    except (TooManyAttempts, SignInQueueFull) as error:
        return await security_page(error_spec(error).status, {"passkeys": str(error)})
    except InvalidRequest as error:
        wrong = str(error)
    return await security_page(422, {"passkeys": wrong}) if wrong else redirect_to("/account/security", "passkey-added")


@passkeys.post("/account/passkeys/<passkey_id>/remove")
async def remove(passkey_id: str) -> Response:
    session = require_session()
    try:
        id = UUID(passkey_id)
    except ValueError:
        raise NotFound(gettext("There is no such passkey.")) from None
    try:
        wrong = await confirm_person(session, await request.form)
        if not wrong:
            removal = partial(remove_passkey, session.person, id, session=session.digest)
            await write(partial(removal, origin=origin_of(session.account)))
    except (TooManyAttempts, SignInQueueFull) as error:
        return await security_page(error_spec(error).status, {"passkeys": str(error)})
    except InvalidRequest as error:
        wrong = str(error)
    return await security_page(422, {"passkeys": wrong}) if wrong else redirect_to("/account/security", "passkey-removed")


def _add(person: UUID, credential: str, site: Site, name: str, origin: Origin) -> None:
    current_sign_in(person)  # adds the person if the previous release created their account
    PEOPLE.add(person, credential, site, name, origin=origin)


def _site(sealed: str) -> Site | None:
    """Return where the passkey was used, with the challenge of the page, or None if it has expired."""
    values = unseal_values(sealed, PASSKEY_PURPOSE, PASSKEY_MS)
    rp_id = passkey_site()
    return Site(rp_id, origin_of_url(edge_url()), values[0], int(values[1])) if values is not None and rp_id else None
