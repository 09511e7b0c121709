"""Sign-in through an identity provider (OpenID or GitHub), and the signed-in person's identities there."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

from quart import Blueprint, Response, request

from edge.http.errors import error_spec
from edge.http.public_url import edge_url
from edge.http.web_headers import cookie_value
from edge.identity.sessions import SessionRow
from edge.request_context import read, services, write
from edge.web.confirmation import confirm_person
from edge.web.pages import page
from edge.web.password_auth import browser_label, count_flow, forget_flow
from edge.web.second_factor import ask_for_code
from edge.web.security import security_page
from edge.web.web_session import (
    address,
    clear_short_cookie,
    known_browser,
    origin_of,
    page_session,
    prefixed,
    redirect_to,
    remember_browser,
    require_session,
    set_session,
    set_short_cookie,
)
from shared.core.clock import now_ms
from shared.core.errors import (
    InvalidRequest,
    InvalidSession,
    NotFound,
    OpenIdUnavailable,
    SignInFailed,
    SignInQueueFull,
    TooManyAttempts,
)
from shared.identity.emails import normalize_for_lookup
from shared.identity.visitor_id import network_digest
from shared.openid.identity import Identity
from shared.operations import identities
from shared.operations.audit import Origin
from shared.operations.people import find_sign_in_by_id
from shared.operations.web_accounts import end_session
from shared.text.redirects import safe_redirect
from shared.text.translation import current_language, gettext

if TYPE_CHECKING:
    from shared.openid.sign_in import Flow, OpenIdSignIn

openid = Blueprint("openid", __name__)

COOKIE = "yout_openid"
COOKIE_SECONDS = 600  # a little longer than the flow that it contains
PROVIDER = "<provider_id>"
INVITATION = "/invitation/"


@openid.get(f"/sign-in/{PROVIDER}")
async def begin(provider_id: str) -> Response:
    """Redirect to the provider. The page links here, because the content security policy forbids forms that leave this site."""
    provider = _provider(provider_id)
    if page_session().session is not None:
        return redirect_to(safe_redirect(request.args.get("next"), "/account"))
    try:
        url, cookie = await asyncio.to_thread(provider.begin, _callback(provider_id), request.args.get("next"))
    except OpenIdUnavailable as error:
        return await _failed(error, request.args.get("next"))
    return set_short_cookie(Response("", 303, {"location": url}), COOKIE, cookie, COOKIE_SECONDS)


@openid.get(f"/sign-in/{PROVIDER}/callback")
async def finish(provider_id: str) -> Response:
    """Handle the provider's redirect. The cookie's flow works once."""
    provider, target = _provider(provider_id), None
    try:
        flow = provider.open(cookie_value(page_session().sent.cookie, prefixed(COOKIE)), request.args)
        target = flow.next
        await count_flow(f"openid {flow.state}")
        identity = await asyncio.to_thread(provider.finish, flow, request.args, _callback(provider_id))
        await forget_flow(f"openid {flow.state}")
        response = await (_connect(flow, identity) if flow.purpose else _sign_in(flow, identity))
    except (SignInFailed, OpenIdUnavailable, TooManyAttempts, InvalidRequest, InvalidSession) as error:
        response = await _failed(error, target)
    return clear_short_cookie(response, COOKIE)


@openid.post("/account/identities/connect")
async def connect() -> Response:
    """Begin to connect an identity. The page has the link to the provider, because forms may not leave this site."""
    session, form = require_session(), await request.form
    provider_id = form.get("provider", "oidc")
    provider = _provider(provider_id)
    try:
        wrong = await confirm_person(session, form)
    except (TooManyAttempts, SignInQueueFull) as error:
        return await security_page(error_spec(error).status, {"connect": str(error)})
    if wrong:
        return await security_page(422, {"connect": wrong})
    try:
        url, cookie = await asyncio.to_thread(provider.begin, _callback(provider_id), "/account/security", session.digest)
    except OpenIdUnavailable as error:
        return await security_page(503, {"connect": str(error)})
    return set_short_cookie(
        await page("account/connect.html", url=url, provider=provider.provider_name), COOKIE, cookie, COOKIE_SECONDS
    )


@openid.post("/account/identities/<identity_id>/disconnect")
async def disconnect(identity_id: str) -> Response:
    session = require_session()
    try:
        wrong = await confirm_person(session, await request.form)
        if not wrong:
            removal = partial(identities.unlink, session.person, _id(identity_id), session=session.digest)
            await write(partial(removal, origin=origin_of(session.account)))
    except (TooManyAttempts, SignInQueueFull) as error:
        return await security_page(error_spec(error).status, {"connect": str(error)})
    except InvalidRequest as error:
        wrong = str(error)
    if wrong:
        return await security_page(422, {"connect": wrong})
    return redirect_to("/account/security", "identity-disconnected")


async def _sign_in(flow: Flow, identity: Identity) -> Response:
    settings, target = services().settings, safe_redirect(flow.next, "/account")
    rules = identities.SignInRules(
        may_link=settings.oidc_link_email,
        may_sign_up=settings.sign_up == "open",
        may_join=settings.sign_up != "off",
        joining_domains=settings.joining_domains,
        sign_up_credits=settings.sign_up_credits,
        sends_mail=settings.sends_mail,
        network=network_digest(settings.secret_key, address(), now_ms()),
        language=current_language(),
        domains=settings.sign_up_domains,
        notifies=settings.sends_mail and not known_browser(normalize_for_lookup(identity.email)),
    )
    invitation = target.removeprefix(INVITATION) if target.startswith(INVITATION) else ""
    invitation = urlsplit(invitation).path
    origin = Origin("sign-in", address())
    signing_in = partial(identities.sign_in, identity, browser_label(), rules, invitation=invitation)
    found = await write(partial(signing_in, secret_key=settings.secret_key, origin=origin))
    if found.session is None:
        person = await read(partial(find_sign_in_by_id, found.person))
        return ask_for_code(found.person, person.password_hash if person is not None else None, target)
    current = page_session().session
    if current is not None:
        await write(partial(end_session, current.digest))
    if found.invited:
        response = redirect_to("/account", "invitation-accepted")
    elif found.is_new:
        response = redirect_to(target, "welcome" if identity.email_verified or not settings.sends_mail else "welcome-verify")
    else:
        response = redirect_to(target)
    return remember_browser(set_session(response, found.session), found.email)


async def _connect(flow: Flow, identity: Identity) -> Response:
    session: SessionRow | None = page_session().session
    if session is None or session.digest != flow.purpose:
        raise SignInFailed(gettext("You were signed out in the meantime. Sign in and try again."))
    await write(partial(identities.link, session.person, identity, origin=origin_of(session.account)))
    return redirect_to("/account/security", "identity-connected")


def _callback(provider_id: str) -> str:
    """Return the redirect address, which must be registered at the provider."""
    return f"{edge_url()}/sign-in/{provider_id}/callback"


def _provider(provider_id: str) -> OpenIdSignIn:
    """Return the provider. Raises `NotFound` if it is not configured."""
    found = services().identity_providers.get(provider_id)
    if found is None:
        raise NotFound(gettext("This service has no identity provider."))
    return found


async def _failed(error: Exception, next: str | None) -> Response:
    status = 403 if isinstance(error, SignInFailed | InvalidRequest | InvalidSession) else error_spec(error).status
    response = await page("sign_in_failed.html", status, wrong=str(error), target=safe_redirect(next, ""))
    if isinstance(error, TooManyAttempts):
        response.headers["retry-after"] = str(-(-error.wait_ms // 1000))
    return response


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(gettext("There is no such identity.")) from None
