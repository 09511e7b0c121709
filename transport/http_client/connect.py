"""Opens connections: DNS, Happy Eyeballs, TLS handshake."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohappyeyeballs import start_connection

from transport.http_client.connection import Connection
from transport.http_client.errors import ConnectFailed, ConnectTimeout
from transport.http_client.request_head import Origin

# Delay before the next address is tried in parallel (RFC 8305, section 5). uvloop's create_connection cannot do this, so the
# socket is created here.
_NEXT_ADDRESS_SECONDS = 0.25


async def connect(
    origin: Origin, protocol_factory: Callable[[], Connection], *, ssl_context: ssl.SSLContext, timeout_seconds: float
) -> Connection:
    """Connect within `timeout_seconds` seconds. Raises ConnectTimeout or ConnectFailed, with the system's error as the cause."""
    where = f"{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _connect(origin, protocol_factory, ssl_context)
    except TimeoutError as exc:
        raise ConnectTimeout(f"no connection to {where} within {timeout_seconds:g} s") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: the host name cannot be encoded
        raise ConnectFailed(f"no connection to {where}: {exc or type(exc).__name__}") from exc


async def _connect(origin: Origin, make: Callable[[], Connection], ssl_context: ssl.SSLContext) -> Connection:
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    sock = await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, loop=loop)
    if origin.secure:
        _, connection = await loop.create_connection(make, sock=sock, ssl=ssl_context, server_hostname=origin.host)
    else:
        _, connection = await loop.create_connection(make, sock=sock)
    return connection


def prepare_tls(context: ssl.SSLContext | None) -> ssl.SSLContext:
    """Return `context`, or a default one that trusts the system's certificate authorities, with ALPN set to http/1.1."""
    context = context or ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
