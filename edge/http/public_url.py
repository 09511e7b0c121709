"""The edge's public base URL, for links. Headers that a client could forge are ignored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from quart import current_app, request

from shared.core.settings import Settings
from shared.text.client_address import is_trusted, normalize_address

# Underscores are allowed: container and Windows host names contain them, and nginx forwards them.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?", re.ASCII)
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104  (only compared)


def edge_url() -> str:
    """Return the base URL of this edge, without a trailing slash.

    It is `YOUT_PUBLIC_URL`, else the host from a trusted proxy, else the local address of the connection.
    """
    settings: Settings = current_app.extensions["services"].settings
    headers = {name.lower(): value for name, value in request.headers.items()}
    return public_url(settings, cast(dict[str, Any], request.scope), headers)


def public_url(settings: Settings, scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
    """Like `edge_url`, for an ASGI scope and headers with lower-case names."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    client, server = scope.get("client"), scope.get("server")
    if client and settings.trusted_proxies and is_trusted(client[0], settings.trusted_proxies):
        host = _last(headers.get("x-forwarded-host")) or headers.get("host", "")
        if _HOST.fullmatch(host):
            scheme = "https" if _last(headers.get("x-forwarded-proto")).lower() == "https" else "http"
            return f"{scheme}://{host}"
    if settings.bind_host in _EVERYWHERE and server and server[1]:
        address = normalize_address(server[0])
        if address:
            return f"http://{f'[{address}]' if ':' in address else address}:{server[1]}"
    return settings.edge_url


def _last(value: str | None) -> str:
    """Return the last entry, which the nearest proxy added."""
    return (value or "").rpartition(",")[2].strip()
