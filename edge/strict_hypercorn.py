"""What Hypercorn's own HTTP/1.1 does not do by itself, for when it serves instead of the faster connection.

It reads the names of methods in any case, which can desynchronise a proxy that does not: a `HeAd` answered like a HEAD has
no body, and the proxy waits for one. And it changes to clear-text HTTP/2 when a request offers that.
"""

from __future__ import annotations

import h11
import hypercorn.protocol
from hypercorn.events import Closed
from hypercorn.protocol.h11 import H11Protocol

from edge.entry import METHODS


class StrictH11Protocol(H11Protocol):
    """Hypercorn's connection with case-sensitive methods (RFC 9110, section 9.1) and without `Upgrade: h2c` (section 7.8)."""

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
    """Use it for the connections that are accepted from now on."""
    vars(hypercorn.protocol)["H11Protocol"] = StrictH11Protocol
