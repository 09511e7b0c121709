"""Error pages for browsers. Other clients get JSON on all paths."""

from __future__ import annotations

from contextlib import suppress

from quart import Response, g, request
from werkzeug.exceptions import HTTPException

from edge.http.errors import error_spec
from edge.http.web_headers import SAFE_METHODS
from edge.web.page_request import API
from edge.web.pages import add_headers, page
from edge.web.web_session import load_session, update_cookies
from shared.core.errors import InvalidApiKey, YoutError

_HEADINGS = {
    400: "Bad request",
    403: "Access denied",
    404: "Page not found",
    405: "Page not found",
    409: "Already submitted",
    413: "Request too large",
    429: "Too many requests",
    503: "Service unavailable",
}
_MESSAGES = {
    404: "Check the address. The page may have been deleted.",
    405: "This address does not accept this request.",
    413: "The form exceeds the size limit.",
}


def wants_page() -> bool:
    """Return whether to render errors of this request as a page."""
    return not request.path.startswith(API) and "text/html" in request.headers.get("accept", "")


async def error_page(error: Exception) -> Response:
    """Render `error` as a page with its status and advice. Internal errors show no details."""
    status, message = _message(error)
    if "visit" not in g and request.method in SAFE_METHODS:  # the error was raised before the session look-up
        with suppress(YoutError):  # show the page even if the look-up fails
            await load_session()
    heading = _HEADINGS.get(status, "Something went wrong")
    response = await page("error.html", status, heading=heading, words=message, request_id=g.request_id)
    wait = error_spec(error).retry_after_seconds
    if wait is not None:
        response.headers["retry-after"] = str(wait)
    return await add_headers(await update_cookies(response))


def _message(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.code or 500, _MESSAGES.get(error.code or 500, "The request is malformed.")
    if isinstance(error, InvalidApiKey):
        return 403, str(error)
    spec = error_spec(error)
    if isinstance(error, YoutError):
        return spec.status, str(error)
    return 500, "An internal error occurred and was logged. You were not charged. Try again later."
