"""Errors of the HTTP client.

`retry_safe` is true only if no byte of the request can have reached the upstream, so that a retry cannot be charged twice.
"""


class HttpClientError(Exception):
    """Base class of all upstream errors. Invalid arguments raise `ValueError` instead."""

    retry_safe = False


class ConnectFailed(HttpClientError):
    """No connection: DNS, TCP or TLS failed. Nothing was sent."""

    retry_safe = True


class ConnectTimeout(ConnectFailed):
    """DNS, TCP and TLS together took longer than `connect_timeout`."""


class PoolTimeout(ConnectFailed):
    """All connections to the origin stayed busy for `connect_timeout`."""


class FirstByteTimeout(HttpClientError):
    """The request was sent, but no complete response head arrived in time. The upstream may still be processing it."""


class ReadTimeout(HttpClientError):
    """No body bytes arrived within the read timeout."""


class ConnectionLost(HttpClientError):
    """The connection closed before the response was complete.

    `sent`: the request, or a part of it, may have reached the upstream.
    `response_started`: at least one byte of the response had arrived.
    """

    def __init__(self, message: str, *, sent: bool, response_started: bool) -> None:
        super().__init__(message)
        self.sent = sent
        self.response_started = response_started
        self.retry_safe = not sent


class ProtocolError(HttpClientError):
    """The response is malformed, its head is too large, or its encoding is unsupported."""


class BodyTooLarge(HttpClientError):
    """The body exceeds the limit of `read_all`."""
