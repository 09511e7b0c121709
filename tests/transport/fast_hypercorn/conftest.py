"""A real Hypercorn in a thread, stock or fast, and a client that sends raw bytes."""

import asyncio
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from typing import Any

import pytest
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from transport.fast_hypercorn import Limits, install

WAIT = 10.0  # seconds until a test fails; passing tests never take this long


class Served:
    """One running server; ``stop`` has the effect of a SIGTERM."""

    def __init__(self, app: Any, loop_factory: Callable[[], asyncio.AbstractEventLoop], settings: dict[str, Any]) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = listener.getsockname()[1]
        self.config = Config()
        self.config.bind = [f"fd://{listener.detach()}"]
        self.config.errorlog = logging.getLogger("test.hypercorn.error")
        for name, value in settings.items():
            setattr(self.config, name, value)
        self._app = app
        self._loop_factory = loop_factory
        self._ready: queue.Queue[asyncio.AbstractEventLoop] = queue.Queue()
        self._failure: BaseException | None = None
        self._wires: list[Wire] = []
        self._thread = threading.Thread(target=self._run, name="served")
        self._thread.start()
        self.loop = self._ready.get(timeout=WAIT)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._failure = error

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        self._ready.put(asyncio.get_running_loop())
        await serve(self._app, self.config, shutdown_trigger=self._stop.wait)

    def connect(self) -> "Wire":
        wire = Wire(self.port)
        self._wires.append(wire)
        return wire

    def wait_for_tasks(self, connections: int) -> None:
        """Wait until the loop has one Hypercorn task per open connection, besides its own three."""
        deadline = time.monotonic() + WAIT
        while (count := self._count_tasks()) != 3 + connections:
            assert time.monotonic() < deadline, f"{count} tasks for {connections} connections"
            time.sleep(0.01)

    def _count_tasks(self) -> int:
        answer: queue.Queue[int] = queue.Queue()
        self.loop.call_soon_threadsafe(lambda: answer.put(len(asyncio.all_tasks(self.loop))))
        return answer.get(timeout=WAIT)

    def begin_stop(self) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._stop.set)

    def wait_stopped(self) -> None:
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "the server did not stop"
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        for wire in self._wires:
            wire.close()
        if self._thread.is_alive():
            self.begin_stop()
        self.wait_stopped()


class Wire:
    """A client socket. The standard library parses the responses, one after the other from one stream."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), WAIT)
        self._file = self.sock.makefile("rb")

    def makefile(self, *_: Any) -> Any:
        return _Unclosed(self._file)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, method: str = "GET") -> "Reply":
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]  # not a socket, but all that it reads of one
        response.begin()
        return Reply(response)

    def start(self, method: str = "GET") -> HTTPResponse:
        """Read only the head of a response; the body stays unread."""
        response = HTTPResponse(self, method=method)  # type: ignore[arg-type]  # not a socket, but all that it reads of one
        response.begin()
        return response

    def line(self) -> bytes:
        return self._file.readline()

    def read_to_end(self) -> bytes:
        return self._file.read()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class Reply:
    """A complete response."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()


class _Unclosed:
    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def close(self) -> None:
        pass


Start = Callable[..., Served]

_LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "stock": asyncio.new_event_loop,
    "fast": asyncio.new_event_loop,
    "fast-uvloop": uvloop.new_event_loop,
}


def _starter(kind: str) -> Iterator[Start]:
    servers: list[Served] = []

    def start(app: Any, *, limits: Limits | None = None, **settings: Any) -> Served:
        assert install(enabled=kind != "stock", limits=limits) is (kind != "stock")
        servers.append(Served(app, _LOOPS[kind], settings))
        return servers[-1]

    try:
        yield start
    finally:
        for server in servers:
            server.close()
        install(enabled=False)


@pytest.fixture(params=["stock", "fast", "fast-uvloop"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts servers of each kind: both behave the same."""
    yield from _starter(request.param)


@pytest.fixture(params=["fast", "fast-uvloop"])
def start_fast(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts fast servers only, where stock Hypercorn guarantees less."""
    yield from _starter(request.param)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise NotImplementedError
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    answer = b" ".join((scope["method"].encode(), scope["raw_path"], body))
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def echo() -> Any:
    """An application that responds with method, path and body, with a Content-Length."""
    return _echo
