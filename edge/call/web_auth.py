"""Callers without an API key, identified by the request's headers: web sessions and visitors."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edge.call.admission import Caller
from edge.http.client_ip import client_ip
from edge.http.web_headers import SAFE_METHODS, WebHeaders, cookie_value, read_web_headers
from edge.identity.sessions import SessionRow, require_active
from edge.services import Services
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied, InvalidSession
from shared.core.settings import Settings
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.identity.payer import VisitorPayer
from shared.identity.visitor_id import visitor_digest
from shared.text.origins import host_of, is_cross_origin
from shared.text.plain_text import truncate


async def authenticate_session(services: Services, sent: WebHeaders, method: str) -> SessionRow | None:
    """Return the request's web session, or None if it has no session cookie.

    Raises `InvalidSession`, also for the CSRF token of a page whose session is gone: the page must not continue as a visitor.
    Raises `AccessDenied` for a suspended account and for an unsafe request without a valid CSRF token.
    """
    secret = cookie_value(sent.cookie, services.sessions.cookie)
    if not secret:
        form_secret = cookie_value(sent.cookie, services.sessions.form_cookie)
        if sent.csrf_token and not services.sessions.verify_csrf_token(form_secret, sent.csrf_token):
            raise InvalidSession
        return None
    row = await services.sessions.look_up(secret)
    require_active(row)
    if method not in SAFE_METHODS:
        require_own_origin(sent, services.settings)
        if not services.sessions.verify_csrf_token(secret, sent.csrf_token):
            raise AccessDenied("Cookie-authenticated requests require the page's CSRF token in 'x-csrf-token'.", "csrf_failed")
    return row


def require_own_origin(sent: WebHeaders, settings: Settings) -> None:
    """Raise `AccessDenied` for a browser's request from another site's page. Other clients send neither header."""
    if is_cross_origin(sent.origin, sent.fetch_site, (sent.host, host_of(settings.public_url))):
        seen = (
            f"The origin {truncate(sent.origin, 100)} does not match the host {truncate(sent.host, 100)}. " if sent.origin else ""
        )
        raise AccessDenied(
            f"Cross-site request blocked. {seen}Pages of other sites need an API key. If you run this service, make its proxy"
            " forward the Host header, or set YOUT_PUBLIC_URL to its public URL.",
            "foreign_origin",
        )


def session_limits(services: Services, row: SessionRow) -> KeyLimits:
    """Return the rate limits of a session: those of its account, shared with all its keys."""
    return services.keys.effective_limits(row.account, row.account, row.own_limits)


def visitor_payer(services: Services, scope: dict[str, Any], sent: WebHeaders) -> VisitorPayer:
    """Return the visitor of a request without a key or a session."""
    settings, address = services.settings, client_address(services, scope, sent)
    return VisitorPayer(visitor_digest(settings.secret_key, address, sent.user_agent, now_ms(), settings.visitors_per_network))


def visitor_limits(settings: Settings, visitor: VisitorPayer) -> KeyLimits:
    """Return a visitor's rate limits. The daily allowance bounds tokens, so their rate limit is the default."""
    limits = RateLimits(settings.visitor_rpm, settings.default_tpm, settings.visitor_concurrency)
    scope = UUID(visitor.digest[:32])  # takes the place of an account id
    return KeyLimits(scope, scope, limits, limits)


def client_address(services: Services, scope: dict[str, Any], sent: WebHeaders) -> str:
    """Return the client's IP address, behind trusted proxies."""
    return client_ip(scope, sent.forwarded_for.encode("latin-1"), services.settings.trusted_proxies)


def is_from_page(scope: dict[str, Any]) -> bool:
    """Return whether a request has the header that scripts of our pages send. `web_caller` checks its value."""
    return any(name == b"x-csrf-token" for name, _ in scope["headers"])


async def web_caller(services: Services, scope: dict[str, Any]) -> Caller:
    """Return the caller of a request without a key: a session, else a visitor. Raises like `authenticate_session`."""
    sent = read_web_headers(scope)
    address = client_address(services, scope, sent)
    row = await authenticate_session(services, sent, scope["method"])
    if row is not None:
        return Caller(row.payer, session_limits(services, row), address)
    require_own_origin(sent, services.settings)
    visitor = visitor_payer(services, scope, sent)
    return Caller(visitor, visitor_limits(services.settings, visitor), address)
