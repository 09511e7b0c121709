"""The TLS context of a client, which is prepared at its first use."""

import asyncio
import ssl


class TlsContext:
    """`context`, or a default one that trusts the system's certificate authorities, with ALPN set to http/1.1.

    Use it on only one event loop. Reading the authorities takes 20 ms and 1 MB, so a thread does it.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._given = context
        self._prepared: asyncio.Future[ssl.SSLContext] | None = None

    def prepare(self) -> asyncio.Future[ssl.SSLContext]:
        """Return the future of the context. It is shared by all callers, so they must shield it from their cancellation."""
        if self._prepared is None:
            self._prepared = asyncio.get_running_loop().run_in_executor(None, _prepare, self._given)
        return self._prepared


def _prepare(context: ssl.SSLContext | None) -> ssl.SSLContext:
    context = context or ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
