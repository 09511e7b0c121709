"""What goes out on a connection: gathered into few writes, and held up while the peer does not read."""

import asyncio

# As much as is gathered before a write; with more, another write is cheaper than another copy.
GATHER_BYTES = 64 * 1024


class Outbound:
    """The writing side of one transport; ``writable`` is false from its high-water mark down to its low one."""

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
        """Write now, together with what was gathered before."""
        if self._gathered:
            self._gathered.append(data)
            self.flush()
        elif data:
            self._transport.write(data)

    def write_soon(self, data: bytes) -> None:
        """Write at the end of this turn of the loop: pieces that are sent without a pause in between are one write.

        Both asyncio and uvloop make one system call of each ``transport.write``, and that is most of a piece's cost.
        """
        if not self._gathered:
            self._loop.call_soon(self.flush)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes > GATHER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered, if it still can be."""
        if self._gathered and not self._lost:
            data = b"".join(self._gathered)
            self._gathered.clear()
            self._gathered_bytes = 0
            self._transport.write(data)

    async def drained(self) -> None:
        """Until the peer has read enough of what was written, or the connection is lost."""
        while not self.writable:
            if self._drained is None:
                self._drained = asyncio.Event()
            self._drained.clear()
            await self._drained.wait()

    def resume(self) -> None:
        """Let those go on who wait in `drained`."""
        self.writable = True
        if self._drained is not None:
            self._drained.set()

    def lose(self) -> None:
        """The transport is gone; nothing is written any more, and nobody waits for it."""
        self._lost = True
        self._gathered.clear()
        self.resume()

    def mark(self) -> None:
        """Remember how much waits for the peer."""
        self._backlog = self._transport.get_write_buffer_size()

    def has_progressed(self, least: int) -> bool:
        """Whether the peer has read ``least`` bytes since `mark`, or everything queued."""
        return self._backlog - self._transport.get_write_buffer_size() >= min(least, self._backlog)
