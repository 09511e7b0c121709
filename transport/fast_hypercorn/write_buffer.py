"""The write buffer of a connection: combines small writes, and applies backpressure."""

import asyncio

# Writes are combined up to this size; above it, a second write is cheaper than copying.
GATHER_BYTES = 64 * 1024


class WriteBuffer:
    """The writing side of one transport. ``writable`` turns false at the high-water mark and true at the low one."""

    __slots__ = ("_backlog", "_drained", "_gathered", "_gathered_bytes", "_loop", "_lost", "_transport", "writable")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self.writable = True
        self._loop = loop
        self._transport = transport
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._drained: asyncio.Event | None = None
        self._backlog = 0
        self._lost = False

    def write(self, data: bytes) -> None:
        """Write immediately, after any gathered data."""
        if self._gathered:
            self._gathered.append(data)
            self.flush()
        elif data:
            self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Write at the end of this event loop iteration, combined with other pieces of the same iteration.

        asyncio and uvloop make one system call per ``transport.write``, which is most of the cost of a small piece.
        """
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the gathered data, unless the transport is lost."""
        if self._gathered and not self._lost:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._gathered_bytes = 0
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read enough, or the connection is lost."""
        while not self.writable:
            if self._drained is None:
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    def resume(self) -> None:
        """Wake the tasks that wait in `drained`."""
        self.writable = True
        if self._drained is not None:
            self._drained.set()

    def discard(self) -> None:
        """Discard the data and wake the waiting tasks: the transport is gone."""
        self._lost = True
        self._gathered.clear()
        self.resume()

    def mark_progress(self) -> None:
        """Record the size of the write buffer, for `has_progressed`."""
        self._backlog = self._transport.get_write_buffer_size()

    def has_progressed(self, min_bytes: int) -> bool:
        """Return whether the client has read ``min_bytes`` since `mark`, or everything that was queued then."""
        return self._backlog - self._transport.get_write_buffer_size() >= min(min_bytes, self._backlog)
