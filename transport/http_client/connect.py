"""Opens connections: DNS, Happy Eyeballs, TLS handshake."""

import asyncio
import socket
from collections.abc import Callable

from aiohappyeyeballs import start_connection

from transport.http_client.connection import Connection
from transport.http_client.errors import ConnectFailed, ConnectTimeout
from transport.http_client.request_head import Origin
from transport.http_client.tls import TlsContext

# Delay before the next address is tried in parallel (RFC 8305, section 5). uvloop's create_connection cannot do this, so the
# socket is created here.
_NEXT_ADDRESS_SECONDS = 0.25


async def connect(
    origin: Origin, protocol_factory: Callable[[], Connection], *, tls: TlsContext, timeout_seconds: float
) -> Connection:
    """Connect within `timeout_seconds` seconds. Raises ConnectTimeout or ConnectFailed, with the system's error as the cause."""
    where = f"{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _connect(origin, protocol_factory, tls)
    except TimeoutError as exc:
        raise ConnectTimeout(f"no connection to {where} within {timeout_seconds:g} s") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: the host name cannot be encoded
        raise ConnectFailed(f"no connection to {where}: {exc or type(exc).__name__}") from exc


async def _connect(origin: Origin, make: Callable[[], Connection], tls: TlsContext) -> Connection:
    loop = asyncio.get_running_loop()
    context = await asyncio.shield(tls.prepare()) if origin.secure else None
    addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop)
    server_hostname = origin.host if origin.secure else None
    _, connection = await loop.create_connection(make, sock=sock, ssl=context, server_hostname=server_hostname)
    return connection
