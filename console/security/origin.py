"""Refuses forms from pages of other sites, and forms without this console's CSRF cookie.

The token alone would be enough. The browser's headers are checked first, so that a leaked token is useless on other sites.
"""

from __future__ import annotations

from flask import Flask, current_app, request
from flask_wtf.csrf import CSRFError

from console.security.access_control import SAFE_METHODS
from shared.text.origins import is_foreign
from shared.text.plain_text import cut


def install(app: Flask) -> None:
    """Check the origin of every form before its token."""
    app.before_request(_check)


def why_refused() -> str:
    """The message for a refused form: the cause, if known, and what to do."""
    host, origin = cut(request.host, 100), cut(request.headers.get("Origin", ""), 100)
    if _foreign():
        return (
            f"It came from {origin or 'another site'} and arrived for the host {host}, which is not the same site."
            " If you run this console behind a proxy, the proxy must pass on the original Host header."
        )
    if current_app.config["SESSION_COOKIE_SECURE"] and not request.is_secure and not origin.startswith("https://"):
        return (
            f"In production this console needs HTTPS, because its cookies work only there, and the form came by plain HTTP"
            f" to {host}. Open the console's https:// address, or put it behind a proxy that ends TLS."
        )
    return "It has expired, or cookies are blocked. Go back, reload the page and submit it again."


def _check() -> None:
    if request.method not in SAFE_METHODS and _foreign():
        raise CSRFError("The form came from another site.")


def _foreign() -> bool:
    return is_foreign(request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site", ""), (request.host,))
