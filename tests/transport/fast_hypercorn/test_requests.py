"""The scope and messages that the application receives, on stock Hypercorn and on the fast connection alike."""

import asyncio
import queue
from typing import Any

import pytest

from transport.fast_hypercorn import DISCONNECT

GET = b"GET /a%20b/%C3%A9?x=1&y=%2F HTTP/1.1\r\nHost: example.org:80\r\nX-Mixed: One \r\nx-mixed:two\r\n\r\n"


def test_scope(start: Any) -> None:
    seen: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["built"] = "at start"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        seen.put(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    server = start(app, root_path="/root")
    wire = server.connect()
    wire.send(GET)
    assert wire.answer().status == 200
    scope = seen.get(timeout=10)
    assert scope["type"] == "http"
    assert scope["asgi"] == {"spec_version": "2.1", "version": "3.0"}
    assert scope["http_version"] == "1.1"
    assert scope["method"] == "GET"
    assert scope["scheme"] == "http"
    assert scope["path"] == "/a b/é"
    assert scope["raw_path"] == b"/a%20b/%C3%A9"
    assert scope["query_string"] == b"x=1&y=%2F"
    assert scope["root_path"] == "/root"
    assert list(scope["headers"]) == [(b"host", b"example.org:80"), (b"x-mixed", b"One"), (b"x-mixed", b"two")]
    assert tuple(scope["client"]) == wire.sock.getsockname()
    assert tuple(scope["server"]) == ("127.0.0.1", server.port)
    assert scope["state"] == {"built": "at start"}
    assert set(scope["extensions"]) <= {DISCONNECT}


def test_state_is_a_copy_for_each_request(start: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        fresh = "mark" not in scope["state"]
        scope["state"]["mark"] = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fresh" if fresh else b"used"})

    wire = start(app).connect()
    for _ in range(2):
        wire.send(GET)
        assert wire.answer().body == b"fresh"


def test_a_request_sent_byte_by_byte(start: Any, echo: Any) -> None:
    wire = start(echo).connect()
    for byte in b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc":
        wire.send(bytes([byte]))
    assert wire.answer().body == b"POST /p abc"
    for byte in b"POST /q HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n":
        wire.send(bytes([byte]))
    assert wire.answer().body == b"POST /q def"


def test_keep_alive_and_pipelining_in_order(start: Any, echo: Any) -> None:
    wire = start(echo).connect()
    many = [b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n%02d" % (n, n) for n in range(30)]
    chunked = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n"
    wire.send(b"".join(many) + chunked + many[0])
    expected = [b"POST /%d %02d" % (n, n) for n in range(30)] + [b"POST /c z", b"POST /0 00"]
    assert [wire.answer().body for _ in expected] == expected


def test_pipelined_requests_may_be_many(start: Any, echo: Any) -> None:
    wire = start(echo, keep_alive_max_requests=10_000).connect()
    count = 3000  # far more bytes than are buffered, so the socket is paused and resumed
    wire.sock.setblocking(True)
    wire.send(b"GET /some/longer/path/to/fill/the/buffer HTTP/1.1\r\nHost: h\r\n\r\n" * count)
    assert all(wire.answer().status == 200 for _ in range(count))


@pytest.mark.parametrize("trailer", [b"", b"X-Checksum: 1\r\n"])
def test_chunked_upload_with_extensions_and_trailers(start: Any, echo: Any, trailer: bytes) -> None:
    wire = start(echo).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n")
    wire.send(b"A;name=value\r\n0123456789\r\n0000\r\n" + trailer + b"\r\n")
    assert wire.answer().body == b"POST / 0123456789"
    wire.send(b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n")
    assert wire.answer().body == b"GET /next "


def _send_until_stalled(wire: Any, size: int) -> int:
    wire.sock.settimeout(1)
    sent = 0
    while sent < size:
        try:
            sent += wire.sock.send(bytes(min(65536, size - sent)))
        except TimeoutError:
            break
    return sent


def test_large_body_with_back_pressure(start: Any) -> None:
    go: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await asyncio.get_running_loop().run_in_executor(None, go.get)
        total, largest, more = 0, 0, True
        while more:
            message = await receive()
            total += len(message["body"])
            largest = max(largest, len(message["body"]))
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d %d" % (total, largest)})

    wire = start(app).connect()
    size = 40 * 1024 * 1024
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size)
    sent = _send_until_stalled(wire, size)
    assert sent < size, "the server kept reading a body that nobody consumed"
    wire.sock.settimeout(30)
    go.put(None)
    wire.send(bytes(size - sent))
    total, largest = wire.answer().body.split()
    assert int(total) == size
    assert int(largest) <= 1024 * 1024


def test_expect_100_continue_is_answered_on_first_receive(start_fast: Any) -> None:
    asked: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        if scope["path"] == "/refuse":
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        asked.put("receive")
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"]})

    server = start_fast(app)
    head = b"POST %b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    wire = server.connect()
    wire.send(head % b"/")
    assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
    assert wire.line() == b"\r\n"
    wire.send(b"ok")
    assert wire.answer().body == b"ok"
    wire.send(head % b"/" + b"go")  # a client that sends the body at once gets no 100
    assert wire.line() == b"HTTP/1.1 200 OK\r\n"

    refused = server.connect()
    refused.send(head % b"/refuse")
    reply = refused.answer()
    assert reply.status == 403
    assert reply.headers["connection"] == "close"
    assert refused.read_to_end() == b""


def test_expect_100_continue_with_stock_too(start: Any, echo: Any) -> None:
    wire = start(echo).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert wire.line().startswith(b"HTTP/1.1 100")
    while wire.line() != b"\r\n":
        pass
    wire.send(b"ok")
    assert wire.answer().body == b"POST / ok"


def test_absolute_form(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo).connect()
    wire.send(b"GET http://Example.org/x?y HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert wire.answer().body == b"GET /x "
    wire.send(b"GET http://example.org HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert wire.answer().body == b"GET / "
    wire.send(b"OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert wire.answer().body == b"OPTIONS * "


def test_one_empty_line_before_a_request_is_accepted(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo).connect()
    wire.send(b"\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert wire.answer().body == b"GET /x "


def test_upgrade_is_ignored(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo).connect()
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    for name in (b"h2c", b"websocket"):
        wire.send(b"GET /x HTTP/1.1\r\nHost: h\r\n" + upgrade % name + b"\r\n")
        assert wire.answer().body == b"GET /x "


def test_server_names(start: Any, echo: Any) -> None:
    server = start(echo, server_names=["good.example"])
    wire = server.connect()
    wire.send(b"GET /x HTTP/1.1\r\nHost: good.example\r\n\r\n")
    assert wire.answer().status == 200
    wire.send(b"GET /x HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert wire.answer().status == 404
