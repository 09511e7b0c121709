"""Error responses that the server sends itself, instead of the application."""

import json
import secrets
from http import HTTPStatus


class ProtocolError(Exception):
    """A rejected request, with the status, error code and message for the client. ``retry_after`` is in seconds."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status
        self.code = code
        self.message = message


def bad_request(message: str) -> ProtocolError:
    """Return a 400 for a malformed HTTP/1.1 request."""
    return ProtocolError(400, "invalid_http_request", message)


TOO_MANY_CONNECTIONS = ProtocolError(
    503, "too_many_connections", "The server has too many open connections. Try again shortly.", retry_after=5
)


def render(refusal: ProtocolError, server_headers: bytes, request_id: str, *, with_body: bool = True) -> bytes:
    """Return the complete response; the connection is closed after it (RFC 9112, section 9.6).

    An empty ``request_id`` is replaced with a new one.
    """
    request_id = request_id or "req_" + secrets.token_hex(12)
    kind = "server_error" if refusal.status >= 500 and refusal.status != 505 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (
        refusal.status,
        HTTPStatus(refusal.status).phrase.encode(),
        len(body),
    )
    if refusal.retry_after is not None:
        head += b"retry-after: %d\r\n" % refusal.retry_after
    tail = b"x-request-id: %b\r\nconnection: close\r\n%b\r\n" % (request_id.encode(), server_headers)
    return head + tail + (body if with_body else b"")
