"""One request-response cycle: the ASGI ``receive`` and ``send`` of the application."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .request_head import RequestHead
from .response_head import ResponseHead
from .worker import Message, Scope
from .write_buffer import GATHER_BYTES

if TYPE_CHECKING:
    from .connection import Connection


# The ASGI extension with which an application is called when the client disconnects, without a task that waits in `receive`.
DISCONNECT = "fast_hypercorn.disconnect"


class RequestCycle:
    """``receive`` returns ``http.disconnect`` once the client has disconnected or the response is complete."""

    __slots__ = (
        "_answer",
        "_changed",
        "_chunked",
        "_connection",
        "_end_sent",
        "_left",
        "_on_disconnect",
        "_pieces",
        "_response",
        "_scope",
        "_started",
        "answered",
        "awaits_continue",
        "body_ended",
        "gone",
        "head",
        "head_sent",
        "keep_alive",
        "request_id",
        "task",
        "unread",
    )

    def __init__(self, connection: "Connection", head: RequestHead) -> None:
        self._connection = connection
        self.head = head
        self.task: asyncio.Task[None] | None = None
        self.request_id = ""
        # Request: body bytes that have arrived and were not yet received by the application.
        self._pieces: list[bytes] = []
        self.unread = 0
        self.body_ended = False
        self._end_sent = False
        self.awaits_continue = head.expects_continue
        self._changed: asyncio.Event | None = None
        self._on_disconnect: Callable[[], object] | None = None
        # Response: _left counts down its Content-Length (None without one).
        self._answer: ResponseHead | None = None
        self._left: int | None = None
        self._chunked = False
        self.head_sent = False
        self.answered = False
        self.keep_alive = False
        self.gone = False
        self._response: Message | None = None
        self._started = 0.0
        self._scope = self._build_scope(head)

    def _build_scope(self, head: RequestHead) -> Scope:
        connection = self._connection
        path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "http_version": head.version,
            "asgi": {"spec_version": "2.1", "version": "3.0"},
            "method": head.method,
            "scheme": "http",
            "path": unquote(path.decode("ascii")) if b"%" in path else path.decode("ascii"),
            "raw_path": path,
            "query_string": query,
            "root_path": connection.worker.config.root_path,
            "headers": head.headers,
            "client": connection.client,
            "server": connection.server,
            "state": connection.worker.state.copy(),
            "extensions": {DISCONNECT: self.call_on_disconnect},
        }

    async def run(self) -> None:
        """Run the application, and always report its end to the connection."""
        worker = self._connection.worker
        self._started = time.time() if worker.logs_access else 0.0
        try:
            if worker.context.max_requests is not None:
                await worker.context.mark_request()
            await worker.app(self._scope, self.receive, self.send)
            if not self.answered and not self.gone:
                await worker.config.log.error("The application returned before its response was complete")
        except Exception:  # a bug in the application must not stop the server
            self.request_id = "req_" + secrets.token_hex(12)
            await worker.config.log.exception("Error in ASGI Framework (request id %s)", self.request_id)
        finally:
            unanswered = not self.answered
            self._connection.application_done(self)
            self._on_disconnect = None
            self._scope["extensions"].clear()  # breaks the reference cycle, which only the garbage collector would free
            if unanswered and worker.logs_access:
                await self._log_access()

    # Called by the connection.

    def feed(self, piece: bytes) -> None:
        """Add received body bytes."""
        self.awaits_continue = False
        self._pieces.append(piece)
        self.unread += len(piece)
        self._wake()

    def end_body(self) -> None:
        """Mark the request body as complete."""
        self.body_ended = True
        self._wake()

    def disconnect(self) -> None:
        """Mark the client as disconnected: nothing more is received or sent."""
        self.gone = True
        self._pieces.clear()
        self._wake()
        if self._on_disconnect is not None and not self.answered:
            self._on_disconnect()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    # Called by the application.

    async def receive(self) -> Message:
        """The ASGI ``receive``: return all available body bytes, and at the end ``http.disconnect``."""
        while not (self.gone or self.answered):
            if self._pieces or (self.body_ended and not self._end_sent):
                return self._take_body()
            if self.awaits_continue and not self.head_sent:
                self.awaits_continue = False
                self._connection.send_continue()
            if self._changed is None:
                self._changed = asyncio.Event()
            self._changed.clear()
            await self._changed.wait()
        return {"type": "http.disconnect"}

    def _take_body(self) -> Message:
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self.unread = 0
        self._end_sent = self.body_ended
        self._connection.body_taken()
        return {"type": "http.request", "body": body, "more_body": not self.body_ended}

    def call_on_disconnect(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the client disconnects before the response is complete; soon, if it has disconnected already."""
        if self.gone:
            asyncio.get_running_loop().call_soon(callback)
        else:
            self._on_disconnect = callback

    async def send(self, message: Message) -> None:
        """The ASGI ``send``: wait only if the client reads too slowly, and do nothing once it has disconnected.

        Raises RuntimeError for a message out of order or a body that does not match its Content-Length, ValueError and TypeError
        for an invalid head.
        """
        if self.gone:
            await asyncio.sleep(0)  # an endless stream must not block the event loop
            return
        kind = message["type"]
        if kind == "http.response.body":
            self._send_body(message.get("body", b""), message.get("more_body", False))
            if not self._connection.out.writable:
                await self._connection.out.drained()
            if self.answered and self._started:
                await self._log_access()
        elif kind == "http.response.start" and self._answer is None:
            self._answer = ResponseHead(int(message["status"]), message.get("headers", ()), self.head.method)
            self._response = message
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}")

    def _send_body(self, body: Any, more: bool) -> None:
        answer = self._answer
        if answer is None or self.answered:
            raise RuntimeError("http.response.body sent before http.response.start or after the end of the response")
        if type(body) is not bytes:
            body = bytes(body)
        connection = self._connection
        if self.head_sent:
            data = self._frame(answer, body, more)
        else:
            head = self._settle_head(answer, body, more)
            data = self._frame(answer, body, more)
            self.head_sent = True
            if len(data) <= GATHER_BYTES:
                data = head + data
            else:
                connection.out.write(head)
        if more:
            if data:
                connection.out.write_soon(data)
        else:
            connection.out.write(data)
            self.answered = True
            self._pieces.clear()  # discard a request body that was never read
            self._wake()
            connection.response_done(self)

    def _settle_head(self, answer: ResponseHead, body: bytes, more: bool) -> bytes:
        """Choose the framing when the first body message arrives. If it is also the last, the length is known."""
        if answer.has_body and answer.length is None:
            if not more:
                answer.length = len(body)
            else:
                self._chunked = self.head.version == "1.1"
        self._left = answer.length
        delimited = self._chunked or answer.length is not None or not answer.has_body
        self.keep_alive = (
            delimited and self.body_ended and self.head.keep_alive and not answer.closes and self._connection.may_continue()
        )
        headers = self._connection.worker.server_headers()
        return answer.render(headers, chunked=self._chunked, close=not self.keep_alive)

    def _frame(self, answer: ResponseHead, body: bytes, more: bool) -> bytes:
        if not answer.has_body:
            return b""
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return data if more else data + b"0\r\n\r\n"
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the response body does not match its content-length")
        return body

    async def _log_access(self) -> None:
        response = self._response
        if response is None and not self.gone:
            response = {"status": 500, "headers": []}
        elapsed = time.time() - self._started
        await self._connection.worker.config.log.access(self._scope, response, elapsed)  # type: ignore[arg-type]  # a plain dict for a TypedDict
