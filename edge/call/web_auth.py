"""Callers without a key: web sessions and visitors, told from the request's headers. A plain call with a key never comes here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edge.call.admission import Caller
from edge.http.client_ip import peer_address
from edge.http.web_headers import SAFE_METHODS, Sent, cookie_value, read_sent
from edge.identity.sessions import SessionRow, check_active
from edge.services import Services
from shared.core.clock import now_ms
from shared.core.errors import AccessDenied
from shared.core.settings import Settings
from shared.core.token_bucket import KeyLimits, Limits
from shared.identity.visitor_id import visitor_digest
from shared.text.origins import host_of, is_foreign
from shared.text.plain_text import cut


async def session_of(services: Services, sent: Sent, method: str) -> SessionRow | None:
    """The session that the request is made with, or None when it brings no cookie of one.

    Raises `InvalidSession`; `AccessDenied` for a suspended account, and for a request that would change something and lacks the
    proof that a page of ours sent it.
    """
    secret = cookie_value(sent.cookie, services.sessions.cookie)
    if not secret:
        return None
    row = await services.sessions.look_up(secret)
    check_active(row)
    if method not in SAFE_METHODS:
        require_own_origin(sent, services.settings)
        if not services.sessions.proves(secret, sent.csrf_token):
            raise AccessDenied("Send the page's token in 'x-csrf-token' with a request that a cookie pays for.", "csrf_failed")
    return row


def require_own_origin(sent: Sent, settings: Settings) -> None:
    """Refuse what a browser says comes from another site's page. Programs that send neither header have no such page."""
    if is_foreign(sent.origin, sent.fetch_site, (sent.host, host_of(settings.public_url))):
        seen = (
            f"from {cut(sent.origin, 100)} and arrived for the host {cut(sent.host, 100)}" if sent.origin else "from another site"
        )
        raise AccessDenied(
            f"This request came {seen}, which is not the same site. Pages of other sites need an API key. If you run this"
            " service, its proxy must pass on the Host header, or YOUT_PUBLIC_URL must be its public address.",
            "foreign_origin",
        )


def session_limits(services: Services, row: SessionRow) -> KeyLimits:
    """The rate limits of a session: its account's, which all its keys share."""
    return services.keys.in_force(row.account, row.account, row.own)


def visitor_of(services: Services, scope: dict[str, Any], sent: Sent) -> str:
    """The digest of today that a caller with neither key nor session is known by."""
    settings, address = services.settings, address_of(services, scope, sent)
    return visitor_digest(settings.secret_key, address, sent.user_agent, now_ms(), settings.visitors_per_network)


def visitor_limits(settings: Settings, visitor: str) -> KeyLimits:
    """A visitor's rate limits. Tokens are bounded by the daily allowance, so their rate is left as it is for accounts."""
    limits = Limits(settings.visitor_rpm, settings.default_tpm, settings.visitor_concurrency)
    scope = UUID(visitor[:32])  # where an account's id stands for others
    return KeyLimits(scope, scope, limits, limits)


def address_of(services: Services, scope: dict[str, Any], sent: Sent) -> str:
    """Where the request came from, as far as proxies are trusted."""
    return peer_address(scope, sent.forwarded_for.encode("latin-1"), services.settings.trusted_proxies)


async def web_caller(services: Services, scope: dict[str, Any]) -> Caller:
    """Who makes a call without a key: a session, else a visitor. Raises as `session_of`."""
    sent = read_sent(scope)
    address = address_of(services, scope, sent)
    row = await session_of(services, sent, scope["method"])
    if row is not None:
        return Caller("", session_limits(services, row), address, session=row.digest)
    require_own_origin(sent, services.settings)
    visitor = visitor_of(services, scope, sent)
    return Caller("", visitor_limits(services.settings, visitor), address, visitor=visitor)
