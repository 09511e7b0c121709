"""Disconnects, slow peers, timeouts and graceful shutdown."""

import asyncio
import contextlib
import queue
import socket
import struct
import sys
import time
from typing import Any, cast

import pytest
import uvloop
from quart import Quart, request

from transport.fast_hypercorn import DISCONNECT, Limits
from transport.fast_hypercorn.minimum_rate import MinimumRate
from transport.fast_hypercorn.write_buffer import WriteBuffer

GET = b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n"
WAIT = 10.0


def _require_timely_close(server: Any) -> None:
    """Skip a loop whose servers wait for open connections before Hypercorn's `graceful_timeout` begins.

    asyncio's own loop does so since Python 3.12.1. The edge runs on uvloop, whose servers do not.
    """
    if sys.version_info >= (3, 12) and not isinstance(server.loop, uvloop.Loop):
        pytest.skip("asyncio's servers wait for open connections")


async def _complete_startup(scope: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError


@pytest.mark.parametrize("reset", [False, True])
def test_disconnect_in_mid_stream_reaches_receive(start: Any, reset: bool) -> None:
    received_events: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        received_events.put((await receive())["type"])
        await send({"type": "http.response.body", "body": b"unheard", "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        received_events.put("harmless")

    wire = start(app).connect()
    wire.send(GET % b"/")
    assert wire.start().read(5) == b"begun"
    if reset:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()
    assert received_events.get(timeout=WAIT) == "http.disconnect"
    assert received_events.get(timeout=WAIT) == "harmless"


def test_disconnect_in_mid_upload_reaches_receive(start: Any) -> None:
    received_events: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        received_events.put(await receive())
        received_events.put(await receive())

    wire = start(app).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
    assert received_events.get(timeout=WAIT) == {"type": "http.request", "body": b"abc", "more_body": True}
    wire.close()
    assert received_events.get(timeout=WAIT) == {"type": "http.disconnect"}


def test_a_disconnect_before_the_end_of_the_response_calls_back(start_fast: Any) -> None:
    called: queue.Queue[str] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        path = scope["path"]
        scope["extensions"][DISCONNECT](lambda: called.put(path))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": path != "/whole"})
        while path == "/cut" and (await receive())["type"] != "http.disconnect":
            pass
        if path == "/cut":
            scope["extensions"][DISCONNECT](lambda: called.put("late"))

    server = start_fast(app)
    whole = server.connect()
    whole.send(GET % b"/whole")
    assert whole.answer().body == b"begun"
    whole.close()
    cut = server.connect()
    cut.send(GET % b"/cut")
    assert cut.start().read(5) == b"begun"
    cut.close()
    assert called.get(timeout=WAIT) == "/cut"
    assert called.get(timeout=WAIT) == "late"
    assert called.empty()


def test_disconnect_follows_a_complete_response(start: Any) -> None:
    received_events: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})
        received_events.put((await waiting)["type"])

    wire = start(app).connect()
    wire.send(GET % b"/")
    assert wire.answer().body == b"ok"
    assert received_events.get(timeout=WAIT) == "http.disconnect"


def test_the_next_request_does_not_wait_for_work_after_the_response(start: Any) -> None:
    go: queue.Queue[None] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["raw_path"]})
        if scope["path"] == "/first":
            await asyncio.get_running_loop().run_in_executor(None, go.get)

    wire = start(app).connect()
    wire.send(GET % b"/first" + GET % b"/second")
    assert wire.answer().body == b"/first"
    assert wire.answer().body == b"/second"
    go.put(None)


def test_a_slow_reader_blocks_the_application(start: Any) -> None:
    sent: queue.Queue[int] = queue.Queue()
    piece = bytes(256 * 1024)
    pieces = 400

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent.put(number)
        await send({"type": "http.response.body", "body": b""})

    wire = start(app).connect()
    wire.send(GET % b"/")
    response = wire.start()
    reached = -1
    while True:  # until nothing more is sent
        try:
            reached = sent.get(timeout=1)
        except queue.Empty:
            break
    assert reached < pieces // 2
    assert sum(len(response.read(1 << 20)) for _ in range(100)) == pieces * len(piece)


def test_a_peer_that_reads_nothing_is_disconnected(start: Any) -> None:
    received_events: queue.Queue[Any] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await receive()
        watching = asyncio.create_task(receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not watching.done():
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        received_events.put(watching.result()["type"])

    wire = start(app, limits=Limits(write_seconds=0.2)).connect()
    wire.send(GET % b"/")
    assert received_events.get(timeout=WAIT) == "http.disconnect"


def test_an_unread_response_does_not_keep_the_connection_open(start: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body", "body": bytes(64 << 20)})

    server = start(app, limits=Limits(write_seconds=0.2))
    wire = server.connect()
    wire.send(GET % b"/")
    assert wire.start().status == 200
    server.wait_for_tasks(connections=0)


def test_a_trickling_body_is_disconnected(start: Any) -> None:
    received_events: queue.Queue[str] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        while (message := await receive())["type"] != "http.disconnect":
            assert message["more_body"]
        received_events.put("gone")

    wire = start(app, limits=Limits(body_seconds=0.3)).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
    deadline = time.monotonic() + WAIT
    with contextlib.suppress(OSError):
        while received_events.empty() and time.monotonic() < deadline:  # never idle for a whole window
            wire.send(b"x")
            time.sleep(0.02)
    assert received_events.get(timeout=WAIT) == "gone"


def test_a_fast_enough_body_may_take_longer_than_a_window(start: Any, echo: Any) -> None:
    wire = start(echo, limits=Limits(body_seconds=0.5)).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n")
    for _ in range(8):
        wire.send(b"x" * 1_000)
        time.sleep(0.1)
    assert wire.answer().body == b"POST / " + b"x" * 8_000


@pytest.mark.parametrize(
    ("pieces", "left"),
    [
        ([(1, 1)] * 59, pytest.approx(60 - 59 + 0.059)),  # one byte per second
        ([(10, 10_000)] * 300, 60),  # 1,000 bytes per second for 50 minutes
        ([(59, 0), (0, 60_000)], 60),  # a long pause
        ([(100, 100_000)] * 35, 60),
        ([(100, 100_000)] * 36, 0),  # the total limit
        ([(1, 500)] * 100, pytest.approx(10)),  # half of the required rate
    ],
)
def test_the_minimum_rate_of_a_body(pieces: list[tuple[float, int]], left: float) -> None:
    now, pace = 0.0, MinimumRate(60, 1_000, 3_600, 0.0)
    for seconds, count in pieces:
        now += seconds
        pace.record(count, now)
        now += 1_000  # time during which nothing was read
        pace.resume(now)
    assert pace.seconds_left() == left


@pytest.mark.parametrize(
    ("waiting", "left", "progressed"),
    [(100_000, 99_999, False), (100_000, 95_905, False), (100_000, 95_904, True), (100, 1, False), (100, 0, True)],
)
def test_the_minimum_rate_of_a_reader(waiting: int, left: int, progressed: bool) -> None:
    class Transport(asyncio.Transport):
        backlog = waiting

        def get_write_buffer_size(self) -> int:
            return self.backlog

    transport = Transport()
    out = WriteBuffer(cast(Any, None), transport)
    out.mark_progress()
    transport.backlog = left
    assert out.has_progressed(Limits().write_bytes) is progressed


def test_connections_beyond_the_limit_get_503_with_retry_after(start: Any, echo: Any) -> None:
    server = start(echo, limits=Limits(connections=2), keep_alive_timeout=3600)
    first, second = server.connect(), server.connect()
    for wire in (first, second):
        wire.send(GET % b"/")
        assert wire.answer().status == 200
    third = server.connect()
    reply = third.answer()
    assert (reply.status, reply.headers["retry-after"], reply.headers["connection"]) == (503, "5", "close")
    assert third.read_to_end() == b""
    first.close()
    deadline = time.monotonic() + WAIT
    while True:  # until the server has noticed that the first connection closed
        wire = server.connect()
        wire.send(GET % b"/")
        if wire.answer().status == 200:
            break
        wire.close()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_slow_head_is_answered_408(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo, limits=Limits(header_seconds=0.2), keep_alive_timeout=3600).connect()
    wire.send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ")
    reply = wire.answer()
    assert (reply.status, reply.headers["connection"]) == (408, "close")
    assert wire.read_to_end() == b""


def test_read_timeout_of_the_config_counts(start_fast: Any, echo: Any) -> None:
    wire = start_fast(echo, read_timeout=0.2).connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na")
    assert wire.answer().status == 408


def test_idle_connection_is_closed_quietly(start: Any, echo: Any) -> None:
    server = start(echo, keep_alive_timeout=0.2)
    fresh, used = server.connect(), server.connect()
    used.send(GET % b"/")
    assert used.answer().status == 200
    assert used.read_to_end() == b""
    assert fresh.read_to_end() == b""


def test_idle_connections_use_one_task_each_until_closed(start_fast: Any, echo: Any) -> None:
    server = start_fast(echo)
    wires = [server.connect() for _ in range(20)]
    for wire in wires:
        wire.send(GET % b"/")
        wire.answer()
    server.wait_for_tasks(connections=20)
    for wire in wires:
        wire.close()
    server.wait_for_tasks(connections=0)


def test_graceful_stop_lets_a_stream_finish_and_closes_idle_connections(start: Any) -> None:
    go: queue.Queue[None] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.get_running_loop().run_in_executor(None, go.get)
        await send({"type": "http.response.body", "body": b" and finished"})

    server = start(app, graceful_timeout=WAIT)
    busy, idle, half = server.connect(), server.connect(), server.connect()
    busy.send(GET % b"/")
    half.send(b"GET / HTTP/1.1\r\nHost")
    response = busy.start()
    assert response.read(5) == b"begun"
    server.begin_stop()
    assert idle.read_to_end() == b""
    assert half.read_to_end() == b""
    go.put(None)
    assert response.read() == b" and finished"
    assert busy.read_to_end() == b""
    server.wait_stopped()


def test_graceful_timeout_cancels_running_requests(start: Any) -> None:
    received_events: queue.Queue[str] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            received_events.put("cancelled")
            await send({"type": "http.response.body", "body": b" last words", "more_body": True})
            raise

    server = start(app, graceful_timeout=0.2)
    _require_timely_close(server)
    wire = server.connect()
    wire.send(GET % b"/")
    response = wire.start()
    assert response.read(5) == b"begun"
    server.begin_stop()
    assert received_events.get(timeout=WAIT) == "cancelled"
    assert response.read(11) == b" last words"
    server.wait_stopped()


def test_a_peer_that_never_reads_does_not_delay_shutdown(start_fast: Any) -> None:
    begun: queue.Queue[None] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _complete_startup(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        begun.put(None)
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})

    server = start_fast(app, graceful_timeout=0.2, limits=Limits(linger_seconds=0.2))
    _require_timely_close(server)
    server.connect().send(GET % b"/")
    begun.get(timeout=WAIT)
    server.begin_stop()
    server.wait_stopped()


def test_max_requests_stops_the_worker(start: Any, echo: Any) -> None:
    server = start(echo, max_requests=2)
    wire = server.connect()
    wire.send((GET % b"/") * 3)
    assert [wire.answer().status for _ in range(2)] == [200, 200]
    server.wait_stopped()


def test_lifespan_runs(start: Any) -> None:
    received_events: queue.Queue[str] = queue.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            message = await receive()
            received_events.put(message["type"])
            await send({"type": message["type"] + ".complete"})

    server = start(app)
    assert received_events.get(timeout=WAIT) == "lifespan.startup"
    server.begin_stop()
    assert received_events.get(timeout=WAIT) == "lifespan.shutdown"
    server.wait_stopped()


def test_quart_application(start: Any) -> None:
    app = Quart(__name__)

    @app.post("/echo/<name>")
    async def echo(name: str) -> dict[str, Any]:
        return {"name": name, "body": await request.get_json(), "query": request.args["q"]}

    @app.get("/events")
    async def events() -> Any:
        async def stream() -> Any:
            for number in range(3):
                yield f"data: {number}\n\n"

        return stream(), {"content-type": "text/event-stream"}

    wire = start(app).connect()
    body = b'{"a": [1, 2]}'
    head = b"POST /echo/%%C3%%A9?q=1 HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    for _ in range(2):
        wire.send(head % len(body) + body)
        reply = wire.answer()
        assert reply.body.decode("unicode-escape").replace(" ", "").strip() == '{"body":{"a":[1,2]},"name":"é","query":"1"}'
    wire.send(GET % b"/events")
    assert wire.answer().body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    wire.send(GET % b"/missing")
    assert wire.answer().status == 404
    wire.send(b"HEAD /events HTTP/1.1\r\nHost: h\r\n\r\n")
    assert wire.answer("HEAD").status == 200


def test_quart_sees_a_disconnect(start: Any) -> None:
    received_events: queue.Queue[str] = queue.Queue()
    app = Quart(__name__)

    @app.get("/")
    async def events() -> Any:
        async def stream() -> Any:
            try:
                while True:
                    yield b"tick"
                    await asyncio.sleep(0.01)
            finally:
                received_events.put("closed")

        response = await app.make_response(stream())
        response.timeout = None
        return response

    wire = start(app).connect()
    wire.send(GET % b"/")
    assert wire.start().read(4) == b"tick"
    wire.close()
    assert received_events.get(timeout=WAIT) == "closed"
