"""Security headers of every response. Pages contain no inline scripts or styles, so the policy needs no nonces."""

from __future__ import annotations

from flask import Flask, Response, request

from console.security.access_control import ENDPOINTS_WITHOUT_DATABASE

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # data: for the inline favicon
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def install(app: Flask) -> None:
    """Add the headers to every response of `app`, error pages included."""
    app.after_request(_add)


def _add(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)  # an email has its own
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    # Not no-referrer: over HTTPS the CSRF check compares the Referer with our origin.
    response.headers["Referrer-Policy"] = "same-origin"
    if request.endpoint not in ENDPOINTS_WITHOUT_DATABASE or response.status_code >= 400:
        response.headers["Cache-Control"] = "no-store"
    return response
