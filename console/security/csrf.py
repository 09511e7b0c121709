"""Rejects cross-site form submissions and submissions without this console's cookies.

The CSRF token alone would be enough. The browser's headers are checked first, so that a leaked token is useless on other sites.
"""

from __future__ import annotations

from flask import Flask, current_app, request
from flask_wtf.csrf import CSRFError

from console.security.access_control import SAFE_METHODS
from shared.text.origins import is_cross_origin
from shared.text.plain_text import truncate
from shared.text.translation import gettext


def install(app: Flask) -> None:
    """Check the origin of every form before its CSRF token."""
    app.before_request(_check)


def rejection_reason() -> str:
    """Return the message for a rejected form: the cause, if known, and what to do."""
    host, origin = truncate(request.host, 100), truncate(request.headers.get("Origin", ""), 100)
    if _foreign():
        return gettext(
            "It was sent from {origin} to {host}, which is a different site."
            " If you run this console behind a proxy, the proxy must pass on the original Host header.",
            origin=origin or gettext("another site"),
            host=host,
        )
    if current_app.config["SESSION_COOKIE_SECURE"] and not request.is_secure and not origin.startswith("https://"):
        return gettext(
            "In production this console requires HTTPS, because its cookies are Secure."
            " The form was sent over plain HTTP to {host}. Open the console's https:// address, or put it behind a proxy"
            " that terminates TLS.",
            host=host,
        )
    return gettext("It expired, or cookies are blocked. Go back, reload the page, and submit it again.")


def _check() -> None:
    if request.method not in SAFE_METHODS and _foreign():
        raise CSRFError(gettext("The form came from another site."))


def _foreign() -> bool:
    return is_cross_origin(request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site", ""), (request.host,))
