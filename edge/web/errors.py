"""Errors as pages, for people who look at one with a browser. Programs get JSON, whatever the path."""

from __future__ import annotations

from contextlib import suppress

from quart import Response, g, request
from werkzeug.exceptions import HTTPException

from edge.http.errors import face
from edge.http.web_headers import SAFE_METHODS
from edge.web.page_request import API
from edge.web.pages import add_headers, page
from edge.web.web_session import begin_visit, end_visit
from shared.core.errors import InvalidKey, YoutError

_HEADINGS = {
    400: "That did not work",
    403: "This is closed to you",
    404: "There is no such page",
    405: "There is no such page",
    409: "That was done already",
    413: "That was too much at once",
    429: "Too many requests",
    503: "The service is not available",
}
_WORDS = {
    404: "The address is mistyped, or what it led to is gone.",
    405: "The address is there, but not for that.",
    413: "The form is larger than this service takes.",
}


def wants_page() -> bool:
    """Whether an error of this request is for a person's eyes."""
    return not request.path.startswith(API) and "text/html" in request.headers.get("accept", "")


async def error_page(error: Exception) -> Response:
    """`error` with its status and what to do about it; nothing about an error that is a mistake of ours."""
    status, words = _told(error)
    if "visit" not in g and request.method in SAFE_METHODS:  # it happened before anybody was looked up
        with suppress(YoutError):  # an error page is shown to whoever it is
            await begin_visit()
    heading = _HEADINGS.get(status, "Something went wrong here")
    response = await page("error.html", status, heading=heading, words=words, request_id=g.request_id)
    wait = face(error).retry_after_seconds
    if wait is not None:
        response.headers["retry-after"] = str(wait)
    return await add_headers(await end_visit(response))


def _told(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.code or 500, _WORDS.get(error.code or 500, "The request could not be understood.")
    if isinstance(error, InvalidKey):
        return 403, str(error)
    look = face(error)
    if isinstance(error, YoutError):
        return look.status, str(error)
    return 500, "The mistake is ours and is on record. Nothing was charged. Try again in a while."
