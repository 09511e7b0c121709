"""The edge's HTTP/1.1 client: plain and TLS, pooled connections, streaming, immediate cancellation.

It replaces a library because it relays the bytes of every metered call, and dominates the CPU cost of relaying. It does only
what a gateway needs: no redirects, cookies, compression, pipelining or proxies.

    client = HttpClient()
    response = await client.open(HttpRequest("POST", url, headers, body), first_byte_timeout=30.0)
    while chunk := await response.read(timeout=60.0):
        ...

The caller must finish each response: read it to the end, or call `release()` or `cancel()`.
"""

from transport.http_client.client import HttpClient
from transport.http_client.errors import (
    BodyTooLarge,
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    HttpClientError,
    PoolTimeout,
    ProtocolError,
    ReadTimeout,
)
from transport.http_client.request_head import ADDED_HEADERS
from transport.http_client.response import HttpResponse
from transport.http_client.types import Headers, HttpRequest

__all__ = [
    "ADDED_HEADERS",
    "BodyTooLarge",
    "ConnectFailed",
    "ConnectTimeout",
    "ConnectionLost",
    "FirstByteTimeout",
    "Headers",
    "HttpClient",
    "HttpClientError",
    "HttpRequest",
    "HttpResponse",
    "PoolTimeout",
    "ProtocolError",
    "ReadTimeout",
]
