"""A new connection to an origin: names resolved, addresses raced, TLS shaken."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohappyeyeballs import start_connection

from transport.http_client.connection import Connection
from transport.http_client.errors import ConnectFailed, ConnectTimeout
from transport.http_client.request_head import Origin

# RFC 8305, section 5: how long one address may be tried alone. uvloop's create_connection cannot race addresses
# itself, so the socket is made here, the same way on every event loop.
_NEXT_ADDRESS_SECONDS = 0.25


async def dial(origin: Origin, make: Callable[[], Connection], *, ssl_context: ssl.SSLContext, within: float) -> Connection:
    """Connect in at most `within` seconds. Raises ConnectTimeout or ConnectFailed, with the system's error as cause."""
    where = f"{origin.host}:{origin.port}"
    try:
        async with asyncio.timeout(within):
            return await _connect(origin, make, ssl_context)
    except TimeoutError as exc:
        raise ConnectTimeout(f"no connection to {where} within {within:g} s") from exc
    except (OSError, UnicodeError) as exc:  # UnicodeError: a host name that the resolver's encoding refuses
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
    """The given context, or one that checks certificates against the system's authorities; ALPN says http/1.1 only."""
    context = context or ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
