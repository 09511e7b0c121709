"""The client's IP address, from the ASGI server and trusted proxies."""

from __future__ import annotations

from typing import Any

from shared.text.client_address import caller_address


def client_ip(scope: dict[str, Any], forwarded_for: bytes | None, trusted: tuple[str, ...]) -> str:
    """Return the client's address as text, or "" if there is none (a Unix socket)."""
    client = scope.get("client")
    return caller_address(client[0] if client else "", (forwarded_for or b"").decode("latin-1"), trusted)
