"""The answers this server gives by itself, before or instead of the application."""

import json
from http import HTTPStatus


class Refusal(Exception):
    """A request that gets no further: ``status`` and ``code`` for the client, ``message`` says what to change."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def bad_request(message: str) -> Refusal:
    """A 400: the bytes are not the HTTP/1.1 that this server reads."""
    return Refusal(400, "invalid_http_request", message)


def render(refusal: Refusal, server_headers: bytes, request_id: str, *, with_body: bool = True) -> bytes:
    """The whole answer, as one write; the connection is closed after it (RFC 9112, section 9.6)."""
    kind = "server_error" if refusal.status >= 500 and refusal.status != 505 else "invalid_request_error"
    error = {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}
    body = json.dumps({"error": error}).encode()
    head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n" % (
        refusal.status,
        HTTPStatus(refusal.status).phrase.encode(),
        len(body),
    )
    tail = b"x-request-id: %b\r\nconnection: close\r\n%b\r\n" % (request_id.encode(), server_headers)
    return head + tail + (body if with_body else b"")
