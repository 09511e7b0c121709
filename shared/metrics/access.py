"""Who may read `/metrics`. Pure."""

from __future__ import annotations

import hmac
from typing import Protocol

from shared.text.client_address import is_loopback

PROXY_HEADERS = ("x-forwarded-for", "forwarded", "x-real-ip")  # set by proxies


class Headers(Protocol):
    """Request headers. `name in headers` must ignore the case of the name."""

    def __contains__(self, name: str, /) -> bool: ...


def may_read(token: str, peer: str, headers: Headers, authorization: str) -> bool:
    """Return whether a request may read metrics: it needs the operator's token, or without one a direct connection from loopback.

    `peer` is the address of the connection, and `authorization` the header of that name.
    """
    if token:
        return hmac.compare_digest(authorization.encode(errors="surrogateescape"), f"Bearer {token}".encode())
    return is_loopback(peer) and not any(name in headers for name in PROXY_HEADERS)
