"""The startup self-check: sends two in-memory requests through the fast connection."""

import asyncio
import threading
from typing import Any

from hypercorn.config import Config

from .connection import Connection
from .limits import Limits
from .worker import FastWorkerContext, Message, Worker

_REQUESTS = (
    b"POST /check?n=1 HTTP/1.1\r\nHost: check\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    b"GET /check HTTP/1.1\r\nHost: check\r\nConnection: close\r\n\r\n"
)
_EXPECTED = (
    b"HTTP/1.1 200 OK\r\nx-seen: POST /check n=1\r\ncontent-length: 5\r\n\r\nhello"
    b"HTTP/1.1 200 OK\r\nx-seen: GET /check \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
_SECONDS = 5.0


class SelfCheckError(Exception):
    """The fast connection cannot be used. The message says why."""


def check_round_trip() -> None:
    """Raise `SelfCheckError` unless the responses are exactly the expected bytes.

    Runs in its own thread and event loop, so it can be called with or without a running loop.
    """
    failures: list[BaseException] = []

    def check() -> None:
        try:
            asyncio.run(asyncio.wait_for(_round_trip(), _SECONDS))
        except Exception as error:  # reported in the caller's thread
            failures.append(error)

    thread = threading.Thread(target=check, name="fast-hypercorn-check")
    thread.start()
    thread.join()
    if failures:
        raise SelfCheckError(f"the self-check failed with {failures[0]!r}") from failures[0]


async def _round_trip() -> None:
    config = Config()
    config.include_date_header = config.include_server_header = False
    config.errorlog = None
    context = FastWorkerContext(None)
    worker = Worker(_echo, asyncio.get_running_loop(), config, context, {}, Limits())
    transport = _MemoryTransport()
    connection = Connection(worker, transport, ("127.0.0.1", 1), ("127.0.0.1", 2))
    transport.set_protocol(connection)
    middle = len(_REQUESTS) // 3
    connection.data_received(_REQUESTS[:middle])
    connection.data_received(_REQUESTS[middle:])
    await connection.wait_closed()
    if bytes(transport.written) != _EXPECTED:
        raise SelfCheckError(f"unexpected responses: {bytes(transport.written)!r}")


async def _echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = b""
    message: Message = {"more_body": True}
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    seen = b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], scope["query_string"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-seen", seen)]})
    await send({"type": "http.response.body", "body": body})


class _MemoryTransport(asyncio.Transport):
    """Records what is written. Like a socket, it reports `connection_lost` one step after `close`."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self._protocol: asyncio.BaseProtocol | None = None
        self._closing = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: writes are never queued."""

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing and isinstance(self._protocol, asyncio.Protocol):
            self._closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)
