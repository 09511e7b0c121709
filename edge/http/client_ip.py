"""The caller's address, as an ASGI server and a trusted proxy tell it."""

from __future__ import annotations

from typing import Any

from shared.text.client_address import caller_address


def peer_address(scope: dict[str, Any], forwarded_for: bytes | None, trusted: tuple[str, ...]) -> str:
    """The address that a call came from, as text; "" when there is none (a Unix socket)."""
    client = scope.get("client")
    return caller_address(client[0] if client else "", (forwarded_for or b"").decode("latin-1"), trusted)
