"""Responses that the client receives, on stock Hypercorn and on the fast connection alike."""

import asyncio
import logging
import queue
from http.client import IncompleteRead
from typing import Any

import pytest

GET = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n"


def responding(status: int, headers: list[Any], *bodies: Any) -> Any:
    """An application that sends one response start and then these bodies; the last one ends the response."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1]})

    return app


def test_content_length(start: Any) -> None:
    wire = start(responding(201, [(b"content-length", b"5"), (b"x-own", b"1")], b"he", b"llo")).connect()
    for _ in range(2):
        wire.send(GET % b"/")
        reply = wire.answer()
        assert (reply.status, reply.body) == (201, b"hello")
        assert reply.headers["content-length"] == "5"
        assert reply.headers["x-own"] == "1"
        assert reply.headers["server"] == "hypercorn-h11"
        assert "date" in reply.headers
        assert "transfer-encoding" not in reply.headers
        assert "connection" not in reply.headers


def test_stream_is_chunked_and_reusable(start: Any) -> None:
    wire = start(responding(200, [], b"one", b"", bytearray(b"two"), b"")).connect()
    for _ in range(2):
        wire.send(GET % b"/")
        reply = wire.answer()
        assert reply.body == b"onetwo"
        assert reply.headers["transfer-encoding"] == "chunked"
        assert "content-length" not in reply.headers


def test_large_response(start: Any) -> None:
    body = bytes(range(256)) * 20_000
    wire = start(responding(200, [(b"content-length", b"%d" % len(body))], body)).connect()
    wire.send(GET % b"/")
    assert wire.answer().body == body


@pytest.mark.parametrize("status", [204, 304])
def test_204_and_304_have_no_body(start: Any, status: int) -> None:
    wire = start(responding(status, [(b"x-a", b"b")], b"")).connect()
    for _ in range(2):
        wire.send(GET % b"/")
        reply = wire.answer()
        assert (reply.status, reply.body) == (status, b"")
        assert "transfer-encoding" not in reply.headers


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_for_204_and_304_is_not_sent(start_fast: Any, status: int) -> None:
    wire = start_fast(responding(status, [(b"content-length", b"4")], b"body")).connect()
    wire.send((GET % b"/") * 2)
    assert [wire.answer().status for _ in range(2)] == [status, status]


def test_head_has_the_length_and_no_body(start: Any) -> None:
    wire = start(responding(200, [(b"content-length", b"4")], b"body")).connect()
    for _ in range(2):
        wire.send(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        reply = wire.answer("HEAD")
        assert (reply.headers["content-length"], reply.body) == ("4", b"")


def test_http_1_0_bodies_end_with_the_connection(start: Any) -> None:
    server = start(responding(200, [], b"one", b"two"))
    wire = server.connect()
    wire.send(b"GET / HTTP/1.0\r\n\r\n")
    reply = wire.answer()
    assert reply.body == b"onetwo"
    assert "transfer-encoding" not in reply.headers
    assert wire.read_to_end() == b""


def test_the_client_requests_close(start: Any) -> None:
    wire = start(responding(200, [(b"content-length", b"2")], b"ok")).connect()
    wire.send(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Close\r\n\r\n")
    reply = wire.answer()
    assert (reply.body, reply.headers["connection"]) == (b"ok", "close")
    assert wire.read_to_end() == b""


def test_the_application_requests_close(start: Any) -> None:
    wire = start(responding(200, [(b"content-length", b"2"), (b"connection", b"close")], b"ok")).connect()
    wire.send(GET % b"/")
    assert wire.answer().body == b"ok"
    assert wire.read_to_end() == b""


def test_keep_alive_max_requests(start: Any, echo: Any) -> None:
    wire = start(echo, keep_alive_max_requests=2).connect()
    wire.send((GET % b"/") * 3)
    assert "connection" not in wire.answer().headers
    assert wire.answer().headers["connection"] == "close"
    assert wire.read_to_end() == b""


def test_messages_sent_without_a_pause_are_one_write(start_fast: Any) -> None:
    """Head, body pieces and end together: a client that reads once gets everything."""
    server = start_fast(responding(200, [], b"first", b"second", b"last"))
    wire = server.connect()
    for _ in range(20):
        wire.send(GET % b"/")
        received = wire.sock.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK\r\n")
        assert received.endswith(b"\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n4\r\nlast\r\n0\r\n\r\n")


def test_an_empty_first_body_flushes_the_head(start: Any) -> None:
    go: queue.Queue[None] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        await asyncio.get_running_loop().run_in_executor(None, go.get)
        await send({"type": "http.response.body", "body": b"late"})

    wire = start(app).connect()
    wire.send(GET % b"/")
    response = wire.start()
    assert response.status == 200
    go.put(None)
    assert response.read() == b"late"


def test_a_response_before_the_upload_ends(start_fast: Any) -> None:
    """The response is readable although the server closes while an upload is running."""
    server = start_fast(responding(413, [], b"too big"))
    wire = server.connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 400000\r\n\r\n" + bytes(200_000))
    reply = wire.answer()
    assert (reply.status, reply.body, reply.headers["connection"]) == (413, b"too big", "close")
    wire.send(bytes(200_000))
    assert wire.read_to_end() == b""


def test_an_error_before_the_head_is_a_500(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        raise ValueError("broken on purpose")

    wire = start(app).connect()
    wire.send(GET % b"/")
    reply = wire.answer()
    assert (reply.status, reply.headers["connection"]) == (500, "close")
    assert wire.read_to_end() == b""
    assert "broken on purpose" in caplog.text
    assert "Error in ASGI Framework" in caplog.text


def test_return_before_the_head_is_a_500(start: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError

    wire = start(app).connect()
    wire.send(GET % b"/")
    assert wire.answer().status == 500


def test_an_error_after_the_head_cuts_the_stream(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
        raise ValueError("broken on purpose")

    wire = start(app).connect()
    wire.send(GET % b"/")
    response = wire.start()
    with pytest.raises(IncompleteRead) as cut:
        response.read()
    assert cut.value.partial == b"some"
    assert "broken on purpose" in caplog.text


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-a", b"1\r\nx-b: 2")],
        [(b"x-a", b"1\nx-b: 2")],
        [(b"x-a", b"\x00")],
        [(b"x-a\r\nx-b", b"1")],
        [(b"x a", b"1")],
        [(b"", b"1")],
        [(b"content-length", b"5"), (b"content-length", b"2")],
        [(b"content-length", b"+2")],
        [("x-a", "text")],
    ],
)
def test_invalid_response_heads_are_not_sent(start_fast: Any, headers: list[Any]) -> None:
    wire = start_fast(responding(200, headers, b"ok")).connect()
    wire.send(GET % b"/")
    reply = wire.answer()
    assert reply.status == 500
    assert "x-b" not in reply.headers


@pytest.mark.parametrize("bodies", [[b"too long"], [b"no"], [b"ok!", b"!"], [b"n", b"o"]])
def test_a_body_that_mismatches_content_length_closes_the_connection(start: Any, bodies: list[bytes]) -> None:
    """None of it can be mistaken for the start of the next response."""
    wire = start(responding(200, [(b"content-length", b"3")], *bodies)).connect()
    wire.send((GET % b"/") * 2)
    received = wire.read_to_end()
    assert received.count(b"HTTP/1.1") == 1
    assert received.startswith(b"HTTP/1.1 500") or len(received.split(b"\r\n\r\n", 1)[1]) <= 3


def test_server_errors_use_our_error_format(start_fast: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    wire = start_fast(app).connect()
    wire.send(GET % b"/")
    reply = wire.answer()
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"].startswith("req_")
    assert reply.body.startswith(b'{"error": {"message": "')
    assert b'"type": "server_error", "param": null, "code": "internal_error"}}' in reply.body


def test_messages_out_of_order_are_rejected(start: Any) -> None:
    errors: queue.Queue[Exception] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        for message in ({"type": "http.response.body", "body": b""}, {"type": "websocket.accept"}):
            try:
                await send(message)
            except Exception as error:
                errors.put(error)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    wire = start(app).connect()
    wire.send(GET % b"/")
    assert wire.answer().body == b"ok"
    assert errors.qsize() == 2


def test_access_log(start: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "test.hypercorn.access")
    app = responding(200, [(b"content-length", b"2")], b"ok")
    wire = start(app, accesslog=logging.getLogger("test.hypercorn.access"), access_log_format="%(m)s %(U)s %(s)s").connect()
    for path in (b"/logged", b"/again"):  # the second response proves that the first request is finished
        wire.send(GET % path)
        wire.answer()
    assert "GET /logged 200" in caplog.text
