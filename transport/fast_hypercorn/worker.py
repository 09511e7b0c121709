"""The state shared by all connections of a Hypercorn worker, and the context through which the worker closes them."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from hypercorn.asyncio.worker_context import EventWrapper, WorkerContext
from hypercorn.config import Config
from hypercorn.logging import Logger

from .limits import Limits

if TYPE_CHECKING:
    from .connection import Connection

Message = dict[str, Any]
Scope = dict[str, Any]
App = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


class Worker:
    """The application, the settings and the open connections of one worker process."""

    __slots__ = (
        "_headers",
        "_headers_second",
        "app",
        "config",
        "connections",
        "context",
        "limits",
        "logs_access",
        "loop",
        "state",
        "stopping",
    )

    def __init__(
        self,
        app: App,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        context: "FastWorkerContext",
        state: dict[str, Any],
        limits: Limits,
    ) -> None:
        self.app = app
        self.loop = loop
        self.config = config
        self.context = context
        self.state = state
        self.limits = limits
        self.connections: set[Connection] = set()
        self.stopping = context.terminated.is_set()
        # A custom logger class may log without an access logger, so it is always called.
        log = config.log
        self.logs_access = type(log).access is not Logger.access or log.access_logger is not None
        self._headers = b""
        self._headers_second = -1

    def server_headers(self) -> bytes:
        """Return Hypercorn's own response headers (date, server, alt-svc) as lines. Cached for one second."""
        second = int(time.time())
        if second != self._headers_second:
            lines = [b"%b: %b\r\n" % field for field in self.config.response_headers("h11")]
            self._headers = b"".join(lines)
            self._headers_second = second
        return self._headers


class _Terminated(EventWrapper):
    """The event that Hypercorn sets when it stops. Setting it closes all idle connections."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[Worker] = []

    async def set(self) -> None:
        await super().set()
        for worker in self.workers:
            worker.stopping = True
            for connection in tuple(worker.connections):
                connection.shut_down()


class FastWorkerContext(WorkerContext):
    """Hypercorn's context, which also shuts down our connections, without a waiting task for each."""

    def __init__(self, max_requests: int | None) -> None:
        super().__init__(max_requests)
        self.terminated: _Terminated = _Terminated()

    def worker(self, build: Callable[[], Worker]) -> Worker:
        """Return the worker of this context, built for its first connection."""
        if not self.terminated.workers:
            self.terminated.workers.append(build())
        return self.terminated.workers[0]
