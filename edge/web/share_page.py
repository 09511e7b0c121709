"""`/c/<slug>`: a shared conversation, read-only, as a page or (with `Accept: application/json`) as JSON.

The page is complete without scripts. If it has code or formulas, a script highlights and typesets them as the chat does. It loads
only our own assets, and reveals neither the owner nor the system prompt.
"""

from __future__ import annotations

import hmac
import re
from functools import partial
from typing import Any, cast
from uuid import UUID

from markupsafe import Markup
from quart import Blueprint, Response, render_template, request

from edge.call.web_auth import client_address
from edge.http.api_spec import ANYBODY, HTML, JSON, STRING, TIMESTAMP, ResponseSpec, array, describe_route, enum, response_schema
from edge.http.errors import error_document
from edge.http.headers import Scope
from edge.http.web_headers import read_web_headers
from edge.request_context import count_request, json_response, read, services
from edge.web.share_renderer import ShareRenderer
from shared.core.errors import NotFound, RateLimited
from shared.core.formats import format_date
from shared.core.timestamps import format_timestamp
from shared.core.token_bucket import KeyLimits, RateLimits
from shared.models import Share
from shared.operations.shares import find_share, shared_messages
from shared.text.client_address import network_of
from shared.text.translation import lazy_gettext

WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{22}")
NAMES = {"user": lazy_gettext("User"), "assistant": lazy_gettext("Assistant")}
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src data:",  # the inline icon
        "base-uri 'none'",
        "form-action 'self'",  # the language switch
        "frame-ancestors 'none'",
    )
)
# For pages with code or formulas; `connect-src` is for the translations of the script.
SCRIPT_POLICY = "; ".join((CONTENT_SECURITY_POLICY, "script-src 'self'", "font-src 'self'", "connect-src 'self'"))
_IMPROVED = ('<figure class="code">', '<code class="math')  # what the script changes
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-robots-tag": "noindex, nofollow",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",  # so that a revocation takes effect immediately
    "vary": "accept, accept-language, cookie",
}
READS_PER_MINUTE = 120  # requests per minute and network, for all shares together
_renderer = ShareRenderer()

share_page = Blueprint("share_page", __name__, template_folder="templates")


_SHARED = response_schema(
    {"title": STRING, "messages": array(response_schema({"role": enum(*NAMES), "content": STRING})), "created": TIMESTAMP}
)


@share_page.get("/c/<slug>")
@describe_route(
    "Retrieve a shared conversation",
    callers=ANYBODY,
    responses={
        200: ResponseSpec(_SHARED, "The page, or JSON with `Accept: application/json`.", (HTML, JSON)),
        404: ResponseSpec(None, "", (HTML,)),
    },
    errors=(NotFound, RateLimited),
)
async def show_share(slug: str) -> Response:
    """Return the share as a page or JSON. Revoked and unknown slugs get the same response."""
    wants_json = _wants_json()
    try:
        if not WELL_FORMED.fullmatch(slug):
            raise NotFound("Not found.")
        await _count_read()
        share = await read(partial(find_share, slug))
    except NotFound:
        return await _missing(wants_json)
    if wants_json:
        return _with_headers(json_response(_document(share)))
    messages = await _rendered(share)
    created = {"created": format_timestamp(share.created_at), "day": format_date(share.created_at)}
    scripted = any(part in message["html"] for message in messages for part in _IMPROVED)
    page = await render_template("share.html", title=share.title, slug=slug, messages=messages, scripted=scripted, **created)
    response = _with_headers(Response(page, content_type="text/html; charset=utf-8"))
    if scripted:
        response.headers["content-security-policy"] = SCRIPT_POLICY
    return response


async def _missing(wants_json: bool) -> Response:
    if wants_json:
        return _with_headers(json_response(error_document(NotFound("No such share.")), 404))
    page = await render_template("share_missing.html", scripted=False)
    return _with_headers(Response(page, status=404, content_type="text/html; charset=utf-8"))


def _wants_json() -> bool:
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered, default="text/html") == "application/json"


async def _rendered(share: Share) -> list[dict[str, Any]]:
    messages = shared_messages(share)
    pages = await _renderer.render(share.id, [(message["role"], message["content"]) for message in messages])
    return [
        {"role": message["role"], "name": NAMES[message["role"]], "html": Markup(html)}  # noqa: S704  (sanitized)
        for message, html in zip(messages, pages, strict=True)
    ]


async def _count_read() -> None:
    """Count one read for the reader's network. Raises `RateLimited`."""
    scope = cast(Scope, request.scope)
    settings = services().settings
    network = network_of(client_address(services(), scope, read_web_headers(scope)))
    reader = UUID(bytes=hmac.digest(settings.secret_key.encode(), f"share-reader/{network}".encode(), "sha256")[:16])
    limits = RateLimits(READS_PER_MINUTE, settings.default_tpm, settings.default_concurrency)
    await count_request(KeyLimits(reader, reader, limits, limits))


def _document(share: Share) -> dict[str, Any]:
    return {"title": share.title, "messages": shared_messages(share), "created": format_timestamp(share.created_at)}


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
