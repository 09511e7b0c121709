"""Requests that two servers could parse differently, or that exceed a limit, are rejected and close the connection.

Each rejected request is followed by a second, well-formed one, which must never be answered.
"""

import json
import queue
from typing import Any

import pytest

from transport.fast_hypercorn import Limits

NEXT = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Host: h", *lines, b"", body))


def chunks(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


BAD = {
    "length and chunked": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"),
    "two different lengths": post(b"Content-Length: 1", b"Content-Length: 2", body=b"ab"),
    "two equal lengths": post(b"Content-Length: 2", b"Content-Length: 2", body=b"ab"),
    "list of lengths": post(b"Content-Length: 2, 2", body=b"ab"),
    "length with plus": post(b"Content-Length: +2", body=b"ab"),
    "negative length": post(b"Content-Length: -2", body=b"ab"),
    "hex length": post(b"Content-Length: 0x2", body=b"ab"),
    "length with underscore": post(b"Content-Length: 1_0", body=b"ab"),
    "length of other digits": post(b"Content-Length: \xd9\xa2", body=b"ab"),
    "empty length": post(b"Content-Length:", body=b"ab"),
    "huge length": post(b"Content-Length: 1" + b"0" * 30, body=b"ab"),
    "unknown coding": post(b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "chunked not last": post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
    "coding before chunked": post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
    "chunked twice": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "chunked twice in one": post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"),
    "identity": post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
    "almost chunked": post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
    "chunked with vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"),
    "chunked in quotes": post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"),
    "chunked in 1.0": b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": post(b"Content-Length : 2", body=b"ab"),
    "tab before colon": post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"),
    "folded line": post(b"X-A: 1", b" folded: 2"),
    "folded coding": post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "space before the first header": b"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
    "no colon": post(b"nonsense"),
    "empty name": post(b": value"),
    "NUL in name": post(b"X\x00A: 1"),
    "NUL in value": post(b"X-A: 1\x002"),
    "CR in value": post(b"X-A: 1\rX-B: 2"),
    "CR at the end of a value": post(b"X-A: 1\r"),
    "LF in value": post(b"X-A: 1\nContent-Length: 5"),
    "DEL in value": post(b"X-A: \x7f"),
    "bare LF after a header": b"GET / HTTP/1.1\r\nHost: h\n\r\n",
    "bare LF everywhere": b"GET / HTTP/1.1\nHost: h\n\n",
    "LF LF at the end": b"GET / HTTP/1.1\r\nHost: h\r\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: h\r\n\r\n",
    "bare CR after the request line": b"GET / HTTP/1.1\rHost: h\r\n\r\n",
    "name that is no token": post(b"X(A): 1"),
    "name above ASCII": post(b"X-\xc3\xa9: 1"),
    "no host": b"GET / HTTP/1.1\r\nX-A: 1\r\n\r\n",
    "two hosts": post(b"Host: other"),
    "host with a space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with an at": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "target that is no path": b"GET x HTTP/1.1\r\nHost: h\r\n\r\n",
    "target of another host": b"GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "fragment": b"GET /#x HTTP/1.1\r\nHost: h\r\n\r\n",
    "control in target": b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
    "target above ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "trailing space": b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
    "leading space": b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "lower-case version": b"GET / http/1.1\r\nHost: h\r\n\r\n",
    "long version": b"GET / HTTP/1.10\r\nHost: h\r\n\r\n",
    "method that is no token": b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
    "TLS on a clear port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two empty lines first": b"\r\n\r\n",
    "chunk size empty": chunks(b"\r\nabc"),
    "chunk size not hex": chunks(b"g\r\nabc"),
    "chunk size with 0x": chunks(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "chunk size negative": chunks(b"-3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with plus": chunks(b"+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with underscore": chunks(b"1_0\r\nabc"),
    "chunk size with space before": chunks(b" 3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with space after": chunks(b"3 \r\nabc\r\n0\r\n\r\n"),
    "chunk size too long": chunks(b"0" * 20 + b"3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with bare LF": chunks(b"3\nabc\r\n0\r\n\r\n"),
    "chunk size with bare CR": chunks(b"3\rabc\r\n0\r\n\r\n"),
    "chunk extension with bare LF": chunks(b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "chunk extension without end": chunks(b"3;" + b"a" * 5000),
    "chunk longer than its size": chunks(b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk ended by LF": chunks(b"3\r\nabc\n0\r\n\r\n"),
    "chunk ended by CR": chunks(b"3\r\nabc\r0\r\n\r\n"),
    "chunk ended by nothing": chunks(b"3\r\nabc0\r\n\r\n"),
    "last chunk ended by LF": chunks(b"3\r\nabc\r\n0\n\n"),
    "trailer without colon": chunks(b"0\r\nnonsense\r\n\r\n"),
    "trailer folded": chunks(b"0\r\nX: 1\r\n y\r\n\r\n"),
    "trailer with NUL": chunks(b"0\r\nX: \x00\r\n\r\n"),
    "trailer ended by LF": chunks(b"0\r\nX: 1\n\r\n"),
}


def refused(server: Any, request: bytes) -> Any:
    """The only response to ``request``; asserts its format and that nothing after the request was processed."""
    wire = server.connect()
    wire.send(request)
    reply = wire.answer()
    assert reply.headers["connection"] == "close"
    error = json.loads(reply.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert wire.read_to_end() == b""
    return reply


@pytest.mark.parametrize("name", BAD)
def test_malformed_and_ambiguous_requests_get_400(start_fast: Any, echo: Any, name: str) -> None:
    assert refused(start_fast(echo), BAD[name] + NEXT).status == 400


STOCK_REFUSES_TOO = [
    "two different lengths",
    "length with plus",
    "chunked not last",
    "space before colon",
    "NUL in value",
    "no host",
    "two hosts",
    "chunk size not hex",
    "chunk longer than its size",
]


@pytest.mark.parametrize("name", STOCK_REFUSES_TOO)
def test_requests_that_stock_rejects_too(start: Any, echo: Any, name: str) -> None:
    wire = start(echo).connect()
    wire.send(BAD[name] + NEXT)
    received = wire.read_to_end()
    assert b"/smuggled" not in received
    assert b" 200 " not in received


@pytest.mark.parametrize("name", BAD)
def test_sending_byte_by_byte_changes_nothing(start_fast: Any, echo: Any, name: str) -> None:
    wire = start_fast(echo).connect()
    try:
        for byte in (BAD[name] + NEXT)[:400]:
            wire.send(bytes([byte]))
    except (BrokenPipeError, ConnectionResetError):
        pass  # it had answered and closed before the rest was sent
    else:
        wire.send(b"a" * 1000 + b"\r\n\r\n")
    assert wire.line().startswith(b"HTTP/1.1 400 ")


def test_other_http_versions_get_505(start_fast: Any, echo: Any) -> None:
    server = start_fast(echo)
    assert refused(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT).status == 505
    assert refused(server, b"GET / HTTP/1.2\r\nHost: h\r\n\r\n" + NEXT).status == 505
    assert refused(server, b"GET / HTTP/3.0\r\nHost: h\r\n\r\n" + NEXT).status == 505


def test_other_expectations_get_417(start_fast: Any, echo: Any) -> None:
    assert refused(start_fast(echo), post(b"Expect: 200-ok", b"Content-Length: 2", body=b"ab") + NEXT).status == 417


def test_oversized_heads_get_431(start_fast: Any, echo: Any) -> None:
    server = start_fast(echo, limits=Limits(head_bytes=2000, head_fields=10))
    fits = b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 9 + b"\r\n"
    wire = server.connect()
    wire.send(fits)
    assert wire.answer().status == 200
    wire.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"a" * 1960 + b"\r\n\r\n")
    assert wire.answer().status == 200
    assert refused(server, fits.replace(b"Host", b"A: b\r\nHost") + NEXT).status == 431
    assert refused(server, b"GET / HTTP/1.1\r\nHost: h\r\nX-Long: " + b"a" * 2000 + b"\r\n\r\n" + NEXT).status == 431
    assert refused(server, b"GET /" + b"a" * 5000).status == 431


def test_default_head_limit_holds_against_a_flood(start_fast: Any, echo: Any) -> None:
    assert refused(start_fast(echo), b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X-A: b\r\n" * 20_000).status == 431


def test_oversized_trailers_get_431(start_fast: Any, echo: Any) -> None:
    request = chunks(b"0\r\n" + b"X-A: 0123456789\r\n" * 1000 + b"\r\n")
    assert refused(start_fast(echo), request + NEXT).status == 431


def test_a_bad_request_after_a_good_one_is_answered_in_order(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo).connect()
    wire.send(b"GET /good HTTP/1.1\r\nHost: h\r\n\r\n" + BAD["two hosts"] + NEXT)
    assert wire.answer().body == b"GET /good "
    assert wire.answer().status == 400
    assert wire.read_to_end() == b""


def test_the_error_for_a_head_request_has_no_body(start_fast: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    wire = start_fast(app).connect()
    wire.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert wire.read_to_end().endswith(b"\r\n\r\n")


def test_a_malformed_chunk_disconnects_the_application(start_fast: Any) -> None:
    received_events: queue.Queue[str] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        received_events.put((await receive())["body"])
        received_events.put((await receive())["type"])

    wire = start_fast(app).connect()
    wire.send(chunks(b"3\r\nabc\r\n"))
    assert received_events.get(timeout=10) == b"abc"
    wire.send(b"bad\r\n" + b"z" * 3000)  # a chunk of 0xbad bytes without its final line end
    assert wire.answer().status == 400
    assert received_events.get(timeout=10) == "http.disconnect"
