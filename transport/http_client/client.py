"""`HttpClient`: one per event loop, shared by all requests."""

import asyncio
import ssl
from collections.abc import Callable

from transport.http_client.connect import connect
from transport.http_client.connection import Connection
from transport.http_client.deadlines import Deadlines
from transport.http_client.errors import ConnectionLost
from transport.http_client.pool import Pool
from transport.http_client.request_head import Origin, parse_target, render_head
from transport.http_client.response import HttpResponse
from transport.http_client.tls import TlsContext
from transport.http_client.types import HttpRequest


class HttpClient:
    """An HTTP/1.1 client with a connection pool per origin.

    All times are in seconds. `connect_timeout` limits the wait for a free connection, and then the opening of a new one (DNS, TCP
    and TLS together). `ssl_context` replaces the default, which trusts the system's certificate authorities; its ALPN list is set
    to http/1.1.
    """

    def __init__(
        self,
        *,
        connect_timeout: float = 5.0,
        max_connections_per_origin: int = 2000,
        max_idle_per_origin: int = 256,
        idle_timeout: float = 55.0,
        max_header_bytes: int = 65536,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout = connect_timeout
        self._max_connections = max_connections_per_origin
        self._max_idle = max_idle_per_origin
        self._idle_timeout = idle_timeout
        self._max_header_bytes = max_header_bytes
        self._tls = TlsContext(ssl_context)
        self._pools: dict[Origin, Pool] = {}
        self._deadlines: Deadlines | None = None
        self._closed = False

    async def open(
        self, request: HttpRequest, *, first_byte_timeout: float, on_sent: Callable[[], None] | None = None
    ) -> HttpResponse:
        """Send a request and return the response once its head has arrived, with any status.

        `first_byte_timeout` starts when the request is written to the socket; `on_sent` is called then. If the upstream closed a
        kept-alive connection without a byte of response (usually an idle timeout), the request is sent once more on a new one.
        Raises ValueError for an invalid request, ConnectFailed and its subclasses, FirstByteTimeout,
        ConnectionLost, ProtocolViolation. Cancelling closes the socket.
        """
        target = parse_target(request.method, request.url)
        head = render_head(target, request)
        pool = self._pools.get(target.origin) or self._add_pool(target.origin)
        connection = pool.take_idle() or await pool.acquire()
        may_replace = connection.reused
        if on_sent is not None:
            on_sent()
        while True:
            try:
                await connection.send(head, request.body, head_only=request.method == "HEAD", timeout=first_byte_timeout)
            except BaseException:
                pool.discard(connection)
                raise
            if connection.head_done:
                return HttpResponse(connection, pool)
            error = connection.failure()
            stale = isinstance(error, ConnectionLost) and not error.response_started
            if not (may_replace and stale) or self._closed:
                pool.discard(connection)
                raise error
            may_replace = False
            connection = await pool.replace(connection)

    def prepare_tls(self) -> None:
        """Start to read the certificate authorities, so that the first TLS connection does not wait for them."""
        self._tls.prepare()

    async def close(self) -> None:
        """Close all connections, including those in use, and wait until their sockets are closed. Idempotent."""
        self._closed = True
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        if self._deadlines is not None:
            await self._deadlines.close()

    def _add_pool(self, origin: Origin) -> Pool:
        if self._closed:
            raise RuntimeError("the HTTP client is closed")
        loop = asyncio.get_running_loop()
        roster = self._deadlines = self._deadlines or Deadlines(loop)

        async def dial_origin(on_closed: Callable[[Connection], None]) -> Connection:
            def make() -> Connection:
                return Connection(loop, roster, self._max_header_bytes, on_closed)

            connection = await connect(origin, make, tls=self._tls, timeout_seconds=self._connect_timeout)
            if not connection.closed:
                # Not done in connection_made: if cancelled right after it, uvloop closes the socket without ever calling
                # connection_lost, and `close` would wait for that forever.
                roster.add(connection)
            return connection

        pool = self._pools[origin] = Pool(
            dial_origin,
            max_connections=self._max_connections,
            max_idle=self._max_idle,
            idle_timeout=self._idle_timeout,
            timeout=self._connect_timeout,
        )
        return pool
