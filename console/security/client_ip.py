"""The client address of a request, for the audit log and login throttling."""

from __future__ import annotations

from flask import current_app, request

from shared.text.client_address import caller_address


def client_address() -> str:
    """Return the client's address, or "" if there is none (a Unix socket)."""
    trusted = current_app.extensions["yout_settings"].trusted_proxies
    return caller_address(request.remote_addr or "", request.headers.get("X-Forwarded-For", ""), trusted)
