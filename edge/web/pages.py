"""Renders pages and adds their security headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from jinja2 import StrictUndefined
from quart import Quart, Response, render_template, request

from edge.identity.route_permissions import is_allowed
from edge.request_context import services
from edge.web.assets import asset_url, module_urls
from edge.web.flash_messages import FLASH_MESSAGES
from edge.web.languages import install as install_languages
from edge.web.languages import vary_by_language
from edge.web.web_session import csrf_token, page_session
from shared.core import formats
from shared.core.settings import Settings
from shared.ledger.reasons import shown_reason
from shared.operations.form_idempotency import new_token
from shared.payments.labels import purpose_label, shown_state
from shared.payments.money import format_money, plain_money

T = TypeVar("T")
# Pages have no inline scripts or styles, so the policy allows none.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # data: for the inline icon
        "font-src 'self'",
        "media-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


async def page(template: str, status: int = 200, **context: Any) -> Response:
    """Render a page. In addition to `context`, templates get the session and the flash message that the URL names."""
    seen = page_session()
    html = await render_template(
        template,
        session=seen.session,
        status=status,
        csrf_token=csrf_token,
        form_token=new_token,
        done=FLASH_MESSAGES.get(request.args.get("done", "")),
        here=request.path.rstrip("/") or "/",
        sign_up_open=services().settings.sign_up == "open",
        trust_page=services().settings.trust_page,
        sends_mail=services().settings.sends_mail,
        identity_providers={name: one.provider_name for name, one in services().identity_providers.items()},
        allows=_allows,
        **context,
    )
    return Response(html, status=status, content_type="text/html; charset=utf-8")


def _allows(route: str) -> bool:
    """Return whether the signed-in member may use a route, such as `POST /account/redeem`."""
    session = page_session().session
    return session is not None and is_allowed(session.role, *route.split(" ", 1))


async def add_headers(response: Response) -> Response:
    """Add the security headers of all pages."""
    response.headers.setdefault("content-security-policy", CONTENT_SECURITY_POLICY)
    response.headers["x-content-type-options"] = "nosniff"
    response.headers["x-frame-options"] = "DENY"
    response.headers["cross-origin-opener-policy"] = "same-origin"
    response.headers["referrer-policy"] = "same-origin"
    response.headers.setdefault("cache-control", "no-store")
    return vary_by_language(response)


async def read_slow(query: Callable[[], T]) -> T:
    """Run a slow query, in another thread than key look-ups. Raises `DatabaseUnavailable`."""
    return await services().slow_reader.read(query)


def read_after() -> UUID | None:
    """Return the `after` id from the URL, or None if it is missing or invalid."""
    try:
        return UUID(request.args["after"])
    except (KeyError, ValueError):
        return None


def install(app: Quart, settings: Settings) -> None:
    """Configure the template engine."""
    install_languages(app)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        credits=formats.format_credits,
        signed=formats.format_signed,
        duration=formats.format_duration,
        percent=formats.format_percent,
        when=formats.time_element,
        exact=formats.format_exact_time,
        short_id=formats.short_id,
        reason=shown_reason,
        money=format_money,
        plain_money=plain_money,
        payment_purpose=purpose_label,
        payment_state=shown_state,
        usd=lambda amount: formats.format_usd(amount, settings.credits_per_usd),
    )
    app.jinja_env.globals.update(asset=asset_url, modules=module_urls)
