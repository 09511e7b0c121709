"""Database writes off the event loop, each in its own transaction, in threads with their own connections."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from shared.core.availability import DATABASE
from shared.core.database import connection_generation, drop_connection, transaction
from shared.core.database_errors import ErrorKind, classify_error, describe_error, is_temporary
from shared.core.errors import DatabaseUnavailable, YoutError

T = TypeVar("T")

log = logging.getLogger("yout.writer")


class WriterThread:
    """A thread with its own connection that runs functions in order. Create it inside the running loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._ended = asyncio.Event()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, function: Callable[[], None]) -> None:
        """Queue `function`, which must not raise."""
        self._queue.put(function)

    async def close(self, timeout_seconds: float) -> None:
        """Run what is queued, then close the connection and stop; wait for that up to `timeout_seconds`."""
        self._queue.put(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout_seconds)

    def _work(self) -> None:
        seen = connection_generation()
        while (function := self._queue.get()) is not None:
            if seen != connection_generation():
                seen = connection_generation()
                drop_connection()
            function()
        drop_connection()
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._ended.set)


class DatabaseWriter:
    """Runs jobs in `thread`, one at a time: a ledger batch in the same thread never waits for more than one job."""

    def __init__(self, thread: WriterThread) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = thread
        self._jobs: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()  # the first job is running
        self._idle = asyncio.Event()
        self._idle.set()

    def run(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Run `job` in a transaction, even if the caller is cancelled meanwhile.

        The future raises the job's error, and `DatabaseUnavailable` for a temporary error of the database.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append((job, future))
        if len(self._jobs) == 1:
            self._idle.clear()
            self._thread.submit(partial(self._work, job))
        return future

    async def drain(self, timeout_seconds: float) -> None:
        """Wait for the queued jobs, up to `timeout_seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)

    async def close(self, timeout_seconds: float) -> None:
        """Wait for the queued jobs, then stop the thread, both within `timeout_seconds`."""
        ends_at = self._loop.time() + timeout_seconds
        await self.drain(timeout_seconds)
        await self._thread.close(max(0.0, ends_at - self._loop.time()))

    def _finish(self, result: Any, error: Exception | None) -> None:
        ended = [self._jobs.popleft()]
        # otherwise the other jobs would each wait for the timeout
        if error is not None and classify_error(error) is ErrorKind.TEMPORARY:
            ended += self._jobs
            self._jobs.clear()
        if self._jobs:
            self._thread.submit(partial(self._work, self._jobs[0][0]))
        else:
            self._idle.set()
        for _, future in ended:
            if future.done():  # the caller was cancelled
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(_unavailable(error) if is_temporary(error) else error)
                future.exception()  # asyncio would log an exception that no caller retrieves

    # --- in the thread

    def _work(self, job: Callable[[], Any]) -> None:
        began = time.monotonic()
        try:
            with transaction():
                result = job()
        except Exception as error:  # raised to the caller
            if is_temporary(error):
                drop_connection(error)
                if classify_error(error) is ErrorKind.TEMPORARY:
                    DATABASE.failed(describe_error(error), began)
            elif not isinstance(error, YoutError):
                log.exception("a write failed")
            self._loop.call_soon_threadsafe(self._finish, None, error)
        else:
            if not DATABASE.is_available:
                DATABASE.succeeded(began)
            self._loop.call_soon_threadsafe(self._finish, result, None)


def _unavailable(cause: Exception) -> DatabaseUnavailable:
    error = DatabaseUnavailable()
    error.__cause__ = cause
    return error
