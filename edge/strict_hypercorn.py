"""A stricter HTTP/1.1 protocol for Hypercorn's own connection, used if the fast connection is disabled.

Hypercorn accepts method names in any case, which can desynchronize a proxy: it may wait for the body of a `HeAd` request that
was answered like a HEAD. Hypercorn also switches to clear-text HTTP/2 if a request asks for it.
"""

from __future__ import annotations

import h11
import hypercorn.protocol
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from edge.http.asgi_entry import METHODS


class StrictH11Protocol(H11Protocol):
    """Hypercorn's protocol with case-sensitive methods (RFC 9110, section 9.1) and without `Upgrade: h2c` (section 7.8)."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.method.decode("latin-1") in METHODS:
            await super()._create_stream(request)
            return
        await self._send_error_response(501)
        await self.send(Closed())

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI":
            await super()._check_protocol(event)


def install() -> None:
    """Use the strict protocol for new connections."""
    vars(hypercorn.protocol)["H11Protocol"] = StrictH11Protocol
