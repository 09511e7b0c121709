"""Reads request bodies of the API, after authentication and within the process's memory limit for bodies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from shared.core.errors import Overloaded, RequestTooLarge
from shared.text.client_address import network_of

Receive = Callable[[], Awaitable[dict[str, Any]]]

SMALL_BODY_BYTES = 16 * 1024  # not counted
NETWORK_SHARE_DIVISOR = 2  # one network may use 1/2 of the limit


class ClientGone(Exception):
    """The client disconnected before its request was complete."""


class BodyBudget:
    """Limits the bytes of bodies being received: at most `limit` in total, half of it per network."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._by_address: dict[str, int] = {}

    @property
    def used_bytes(self) -> int:
        """The number of bytes in use."""
        return self._taken

    def acquire(self, address: str, count: int) -> None:
        """Acquire `count` bytes. Raises `Overloaded` if that would exceed a limit."""
        of_address = self._by_address.get(address, 0) + count
        if self._taken + count > self._limit or of_address > self._limit // NETWORK_SHARE_DIVISOR:
            raise Overloaded
        self._taken += count
        self._by_address[address] = of_address

    def release(self, address: str, count: int) -> None:
        """Release `count` bytes."""
        self._taken -= count
        left = self._by_address[address] - count
        if left:
            self._by_address[address] = left
        else:
            del self._by_address[address]


class BodyReader:
    """Receives request bodies of at most `limit` bytes."""

    def __init__(self, budget: BodyBudget, limit: int) -> None:
        self._budget = budget
        self._limit = limit

    async def read(self, receive: Receive, content_length: bytes | None, address: str) -> bytes:
        """Return the complete body of a request from `address`. Raises `RequestTooLarge`, `Overloaded`, `ClientGone`."""
        if content_length is not None and content_length.isdigit() and int(content_length) > self._limit:
            raise RequestTooLarge(self._limit)
        chunks: list[bytes] = []
        size = 0
        while size <= SMALL_BODY_BYTES:
            chunk, more = await _next(receive)
            size += len(chunk)
            chunks.append(chunk)
            if not more:
                if size > self._limit:
                    raise RequestTooLarge(self._limit)
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return await self._read_large(receive, chunks, size, address)

    async def _read_large(self, receive: Receive, chunks: list[bytes], size: int, address: str) -> bytes:
        taken, network = 0, network_of(address)
        try:
            more = True
            while more:
                if size > self._limit:
                    raise RequestTooLarge(self._limit)
                self._budget.acquire(network, size - taken)
                taken = size
                chunk, more = await _next(receive)
                size += len(chunk)
                chunks.append(chunk)
            if size > self._limit:
                raise RequestTooLarge(self._limit)
            return b"".join(chunks)
        finally:
            if taken:
                self._budget.release(network, taken)


def receive_from(body: AsyncIterator[bytes]) -> Receive:
    """Return an ASGI `receive` for a body that Quart is reading."""

    async def receive() -> dict[str, Any]:
        async for piece in body:
            return {"type": "http.request", "body": piece, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)
