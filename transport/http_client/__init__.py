"""The edge's own HTTP/1.1 client: plain and TLS, pooled, streamed, cancelled at once.

Why not a library: this client relays bytes for every metered call, and its CPU cost is most of what a call costs
upstream. It does only what a gateway needs. It never follows redirects, keeps no cookies, never asks for compression,
never pipelines, and has no proxy support.

    client = HttpClient()
    response = await client.open(HttpRequest("POST", url, headers, body), first_byte_timeout=30.0)
    while chunk := await response.read(timeout=60.0):
        ...

Whoever opened a response ends it: by reading to the end, by `release()`, or by `cancel()`.
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
    ProtocolViolation,
    ReadTimeout,
)
from transport.http_client.response import HttpResponse
from transport.http_client.types import Headers, HttpRequest

__all__ = [
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
    "ProtocolViolation",
    "ReadTimeout",
]
