"""What can go wrong between the edge and an upstream, told apart by what the caller may do next.

`retry_safe` is True only when no byte of the request can have reached the upstream, so that sending it again, there
or elsewhere, cannot make the upstream work (and charge) twice.
"""


class HttpClientError(Exception):
    """Base of everything `HttpClient` and `HttpResponse` raise about the upstream. Bad arguments are `ValueError`."""

    retry_safe = False


class ConnectFailed(HttpClientError):
    """No connection: the name did not resolve, nobody listens, or TLS was refused. Nothing was sent."""

    retry_safe = True


class ConnectTimeout(ConnectFailed):
    """Resolving, connecting and the TLS handshake together took longer than `connect_timeout`."""


class PoolTimeout(ConnectFailed):
    """Every connection allowed to this origin stayed busy for `connect_timeout`."""


class FirstByteTimeout(HttpClientError):
    """The request was sent and no complete response head came in time. The upstream may still be working on it."""


class ReadTimeout(HttpClientError):
    """The body stood still for longer than the reader was willing to wait."""


class ConnectionLost(HttpClientError):
    """The connection ended before the response did, a body cut short of its announced length included.

    `sent`: the request, or a part of it, may have reached the upstream.
    `response_started`: at least one byte of the response had arrived.
    """

    def __init__(self, message: str, *, sent: bool, response_started: bool) -> None:
        super().__init__(message)
        self.sent = sent
        self.response_started = response_started
        self.retry_safe = not sent


class ProtocolViolation(HttpClientError):
    """What came back is not HTTP/1.x as we asked for it: malformed, oversized head, or an encoding we cannot undo."""


class BodyTooLarge(HttpClientError):
    """The body is longer than the limit given to `read_all`."""
