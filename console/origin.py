"""Forms that are not ours: sent by a page of another site, or without the cookie that this console's forms are tied to.

The token alone would do against other sites. A browser's own word comes first: a token that leaked is worth nothing elsewhere.
"""

from __future__ import annotations

from flask import Flask, current_app, request
from flask_wtf.csrf import CSRFError

from console.gate import SAFE_METHODS
from shared.origins import is_foreign
from shared.text import cut


def install(app: Flask) -> None:
    """Check every form before its token is looked at."""
    app.before_request(_check)


def why_refused() -> str:
    """What a person reads whose form was refused: the cause where it can be seen, and what to do."""
    host, origin = cut(request.host, 100), cut(request.headers.get("Origin", ""), 100)
    if _foreign():
        return (
            f"It came from {origin or 'another site'} and arrived for the host {host}, which is not the same site."
            " If you run this console behind a proxy, the proxy must pass on the Host header that it was sent."
        )
    if current_app.config["SESSION_COOKIE_SECURE"] and not request.is_secure and not origin.startswith("https://"):
        return (
            f"In production this console needs HTTPS: browsers keep its cookies only there, and the form came by plain HTTP"
            f" to {host}. Open the console's https:// address, or put it behind a proxy that ends TLS."
        )
    return "It is out of date, or cookies are not allowed. Go back, reload the page and send it again."


def _check() -> None:
    if request.method not in SAFE_METHODS and _foreign():
        raise CSRFError("The form came from another site.")


def _foreign() -> bool:
    return is_foreign(request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site", ""), (request.host,))
