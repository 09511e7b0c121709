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
from shared.text.translation import gettext, lazy_gettext

_HEADINGS = {
    400: lazy_gettext("Bad request"),
    403: lazy_gettext("Access denied"),
    404: lazy_gettext("Page not found"),
    405: lazy_gettext("Page not found"),
    409: lazy_gettext("Already submitted"),
    413: lazy_gettext("Request too large"),
    429: lazy_gettext("Too many requests"),
    503: lazy_gettext("Service unavailable"),
}
_MESSAGES = {
    404: lazy_gettext("Check the address. The page may have been deleted."),
    405: lazy_gettext("This address does not accept this request."),
    413: lazy_gettext("The form exceeds the size limit."),
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
    heading = _HEADINGS.get(status, gettext("Something went wrong"))
    response = await page("error.html", status, heading=heading, words=message, request_id=g.request_id)
    wait = error_spec(error).retry_after_seconds
    if wait is not None:
        response.headers["retry-after"] = str(wait)
    return await add_headers(await update_cookies(response))


def _message(error: Exception) -> tuple[int, str]:
    if isinstance(error, HTTPException):
        return error.code or 500, _MESSAGES.get(error.code or 500, gettext("The request is malformed."))
    if isinstance(error, InvalidApiKey):
        return 403, str(error)
    spec = error_spec(error)
    if isinstance(error, YoutError):
        return spec.status, str(error)
    return 500, gettext("An internal error occurred and was logged. You were not charged. Try again later.")
