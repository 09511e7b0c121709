"""`/c/<slug>`: what somebody has shared, read-only, for people and (on `Accept: application/json`) for programs.

The page runs no script, loads nothing but its style sheets, and tells neither who shared it nor what the system prompt was.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

from markupsafe import Markup
from quart import Blueprint, Response, render_template, request

from edge.current import answer, read
from edge.declare import ANYBODY, HTML, JSON, MOMENT, STRING, Answer, array, declare, one_of, record
from edge.web.markdown import render
from shared.errors import NotFound
from shared.models import Share
from shared.moments import iso_moment
from shared.operations.shares import find_share, shared_messages

WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{22}")
NAMES = {"user": "User", "assistant": "Assistant"}
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "img-src data:",  # the icon, which is written into the page's head
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-robots-tag": "noindex, nofollow",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",  # revoked is revoked
    "vary": "accept",
}
# Rendering holds the interpreter for a while: a page that many open at once must not keep the API's calls waiting.
_one_at_a_time = asyncio.Semaphore(1)

share_page = Blueprint("share_page", __name__, template_folder="templates")


_SHARED = record({"title": STRING, "messages": array(record({"role": one_of(*NAMES), "content": STRING})), "created": MOMENT})


@share_page.get("/c/<slug>")
@declare(
    "Read what was shared",
    callers=ANYBODY,
    answers={
        200: Answer(_SHARED, "The page, or on `Accept: application/json` its JSON.", (HTML, JSON)),
        404: Answer(None, "", (HTML,)),
    },
    refusals=(NotFound,),
)
async def show_share(slug: str) -> Response:
    """The page, or its JSON. A revoked slug and one that never was get the same answer."""
    wants_json = _wants_json()
    try:
        if not WELL_FORMED.fullmatch(slug):
            raise NotFound("There is nothing here.")
        share = await read(partial(find_share, slug))
    except NotFound:
        return await _missing(wants_json)
    if wants_json:
        return _with_headers(answer(_document(share)))
    async with _one_at_a_time:
        messages = await asyncio.to_thread(_rendered, share)
    page = await render_template("share.html", title=share.title, messages=messages, created=iso_moment(share.created_at))
    return _with_headers(Response(page, content_type="text/html; charset=utf-8"))


async def _missing(wants_json: bool) -> Response:
    if wants_json:
        error = {"message": "There is no such share.", "type": "invalid_request_error", "param": None, "code": "not_found"}
        return _with_headers(answer({"error": error}, 404))
    page = await render_template("share_missing.html")
    return _with_headers(Response(page, status=404, content_type="text/html; charset=utf-8"))


def _wants_json() -> bool:
    offered = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(offered, default="text/html") == "application/json"


def _rendered(share: Share) -> list[dict[str, Any]]:
    return [
        {"role": message["role"], "name": NAMES[message["role"]], "html": Markup(render(message["content"]))}  # noqa: S704  (sanitised)
        for message in shared_messages(share)
    ]


def _document(share: Share) -> dict[str, Any]:
    return {"title": share.title, "messages": shared_messages(share), "created": iso_moment(share.created_at)}


def _with_headers(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response
