"""The web session of a page request, and CSRF protection.

Forms carry a token derived from a cookie: the session cookie, or a separate form cookie if no one is signed in. Other sites
know neither.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple, cast
from urllib.parse import quote
from uuid import UUID

from quart import Response, g, request

from edge.call.web_auth import client_address, require_own_origin
from edge.http.headers import Scope
from edge.http.web_headers import SAFE_METHODS, WebHeaders, cookie_value, read_web_headers
from edge.identity.sessions import SessionRow, require_active
from edge.request_context import refuse_unstorable, require_role, services
from edge.web.page_request import MAX_FORM_BYTES
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InvalidSession, RequestTooLarge, YoutError
from shared.identity.attempt_limits import BROWSER_COOKIE, BROWSER_MS, browser_cookie
from shared.identity.attempt_limits import read_browser_cookie as read_browser
from shared.identity.web_sessions import MAX_LIFETIME_MS, NewSession
from shared.operations.audit import Origin
from shared.operations.web_accounts import account_actor
from shared.text.plain_text import truncate
from shared.text.translation import gettext

KIND = "member"  # distinguishes members from staff in throttle keys and browser cookies


class SignInRequired(YoutError):
    """The page requires a signed-in member."""


class PageSession(NamedTuple):
    """The session of a request. CSRF tokens derive from `secret`; `ended` is true if the cookie's session is invalid."""

    session: SessionRow | None
    secret: str
    sent: WebHeaders
    ended: bool


NO_SESSION = PageSession(None, "", WebHeaders(*[""] * len(WebHeaders._fields)), False)  # the value until the cookies are read


def page_session() -> PageSession:
    """Return the web session of the current request."""
    found: PageSession = g.get("visit", NO_SESSION)
    return found


async def load_session() -> None:
    """Read the cookies before a request, and check the CSRF token of unsafe ones.

    Raises `AccessDenied`, `RequestTooLarge`, `DatabaseUnavailable`, and `InvalidRequest` for text that cannot be stored.
    """
    sent = read_web_headers(cast(Scope, request.scope))
    secret = cookie_value(sent.cookie, services().sessions.cookie)
    session = None
    if secret:
        try:
            session = await services().sessions.look_up(secret)
        except InvalidSession:
            g.visit = PageSession(None, _form_secret(sent), sent, True)
    if not secret or session is not None:
        g.visit = PageSession(session, secret or _form_secret(sent), sent, False)
    if request.method not in SAFE_METHODS:
        await _check_form(sent)


async def _check_form(sent: WebHeaders) -> None:
    """Raise `AccessDenied` for a form from another site or with an invalid token, `InvalidRequest` for NUL characters."""
    if (request.content_length or 0) > MAX_FORM_BYTES:
        raise RequestTooLarge(MAX_FORM_BYTES)
    require_own_origin(sent, services().settings)
    form = await request.form
    refuse_unstorable(form.items(multi=True))
    if not services().sessions.verify_csrf_token(page_session().secret, form.get("csrf_token", "")):
        raise AccessDenied(_why_refused(sent), "csrf_failed")


def _why_refused(sent: WebHeaders) -> str:
    if services().sessions.secure and sent.origin.startswith("http://"):
        return gettext(
            "This site requires HTTPS for its cookies, but this form was sent over plain HTTP to"
            " {host}. Nothing was changed. Open the site's https:// address. If you run this service, make"
            " its proxy redirect HTTP to HTTPS.",
            host=truncate(sent.host, 100),
        )
    return gettext("The form has expired or is not from this site. Nothing was changed. Reload the page, and allow cookies.")


async def update_cookies(response: Response) -> Response:
    """Set the form cookie for browsers without a session, and delete invalid session cookies, after a request."""
    seen: PageSession | None = g.get("visit")
    if seen is None:
        return response
    if seen.ended and "set_session" not in g:
        clear_session(response)
    if seen.session is None and cookie_value(seen.sent.cookie, services().sessions.form_cookie) != seen.secret:
        _set_cookie(response, services().sessions.form_cookie, seen.secret, None)
    return response


def csrf_token() -> str:
    """Return the CSRF token for the page's forms and scripts."""
    return services().sessions.csrf_token(page_session().secret)


def require_session() -> SessionRow:
    """Return the session of a member who may use the route.

    Raises `SignInRequired`, and `AccessDenied` for a suspended account or member, and for other roles.
    """
    session = require_person()
    require_active(session)
    require_role(session.role)
    return session


def require_person() -> SessionRow:
    """Return the session, whatever the state of its account. Raises `SignInRequired`."""
    session = page_session().session
    if session is None:
        raise SignInRequired
    return session


def address() -> str:
    """Return the client's IP address."""
    return client_address(services(), cast(Scope, request.scope), page_session().sent)


def origin_of(account: UUID) -> Origin:
    """Return the origin for the audit log when the signed-in member of `account`, or by a link its owner, acts on a page."""
    session = page_session().session
    return Origin(session.actor if session is not None and session.account == account else account_actor(account), address())


def set_session(response: Response, session: NewSession) -> Response:
    """Set the session cookie. Its secret is always new, which prevents session fixation."""
    g.set_session = True
    _set_cookie(response, services().sessions.cookie, session.secret, MAX_LIFETIME_MS // 1000)
    return response


def remember_browser(response: Response, email: str) -> Response:
    """Mark the browser as known, so that its sign-ins for this account are counted separately."""
    value = browser_cookie(services().settings.secret_key, KIND, email, now_ms())
    _set_cookie(response, prefixed(BROWSER_COOKIE), value, BROWSER_MS // 1000)
    return response


def known_browser(email: str) -> str:
    """The token of a browser that has signed in to this account before, or ""."""
    held = cookie_value(page_session().sent.cookie, prefixed(BROWSER_COOKIE))
    return read_browser(held, services().settings.secret_key, KIND, email, now_ms())


def clear_session(response: Response) -> Response:
    """Sign the browser out."""
    sessions = services().sessions
    response.delete_cookie(sessions.cookie, path="/", secure=sessions.secure, httponly=True, samesite="Lax")
    return response


def set_short_cookie(response: Response, name: str, value: str, seconds: int) -> Response:
    """Set a cookie for a sign-in that is under way."""
    _set_cookie(response, prefixed(name), value, seconds)
    return response


def clear_short_cookie(response: Response, name: str) -> Response:
    """Delete such a cookie."""
    response.delete_cookie(prefixed(name), path="/", secure=services().sessions.secure, httponly=True, samesite="Lax")
    return response


def redirect_to(path: str, done: str = "") -> Response:
    """Redirect to a page, with the name of a flash message in `flash_messages.DONE`."""
    if done:
        path += f"{'&' if '?' in path else '?'}done={done}"
    return Response("", 303, {"location": path})


def redirect_to_sign_in() -> Response:
    """Redirect to the sign-in page, and from there back to the requested page."""
    target = request.full_path.rstrip("?") if request.method in SAFE_METHODS else "/account"
    return redirect_to(f"/sign-in?next={quote(target, safe='/')}")


def _form_secret(sent: WebHeaders) -> str:
    held = cookie_value(sent.cookie, services().sessions.form_cookie)
    return held if 20 <= len(held) <= 64 and held.isascii() else secrets.token_urlsafe(24)


def prefixed(name: str) -> str:
    """Return a cookie's name. With HTTPS its prefix binds it to this host (RFC 6265bis, 4.1.3.2)."""
    return f"__Host-{name}" if services().sessions.secure else name


def _set_cookie(response: Response, name: str, value: str, seconds: int | None) -> None:
    response.set_cookie(name, value, max_age=seconds, path="/", secure=services().sessions.secure, httponly=True, samesite="Lax")
