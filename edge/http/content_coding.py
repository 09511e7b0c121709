"""Decodes compressed request bodies (`Content-Encoding`, RFC 9110, section 8.4) incrementally.

A few kilobytes can decompress to gigabytes. So bodies are decoded piece by piece, the output of each coding counts toward the
body size limit, and other tasks run between pieces.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import brotli

from shared.core.errors import InvalidRequest, RequestTooLarge, UnsupportedContentCoding

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]

ACCEPTED = "gzip, deflate, br, zstd"
MAX_CODINGS = 2  # nested; each decoder uses up to 16 MB
PIECE_BYTES = 64 * 1024
MAX_PARTS = 1_000  # gzip members or zstd frames per body: even an empty one costs a decoder
_ZSTD_WINDOW_LOG = 23  # 8 MB, the most that RFC 9659 allows a sender
_GZIP, _ZLIB, _RAW_DEFLATE = 31, zlib.MAX_WBITS, -zlib.MAX_WBITS  # zlib's `wbits` for RFC 1952, 1950 and 1951


class _Damaged(Exception):
    """The data is not valid for its coding."""


class _TooManyParts(Exception):
    """The data has more members or frames than `MAX_PARTS`."""


class _Decoder(Protocol):
    """One coding. `feed` decodes to pieces of about `PIECE_BYTES`; `whole` is true if the data may end here."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...

    @property
    def whole(self) -> bool: ...


class _Gzip:
    """gzip, with any number of members (RFC 1952)."""

    wbits = _GZIP
    may_repeat = True

    def __init__(self) -> None:
        self._member: Any = None
        self._parts = 0

    @property
    def whole(self) -> bool:
        return self._member is not None and bool(self._member.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None or self._member.eof:
                if self._member is not None and not self.may_repeat:
                    raise _Damaged
                self._parts = _next_part(self._parts)
                self._member = zlib.decompressobj(self.wbits)
            try:
                piece = self._member.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise _Damaged from error
            data = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
            if piece:
                yield piece
        yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        """The output that the decoder still buffers after consuming all its input."""
        while self._member is not None and not self._member.eof:
            try:
                piece = self._member.decompress(b"", PIECE_BYTES)
            except zlib.error as error:
                raise _Damaged from error
            if not piece:
                return
            yield piece


class _Deflate(_Gzip):
    """deflate: the zlib format, or raw deflate data, which some clients send instead (RFC 9110, section 8.4.1.2)."""

    may_repeat = False

    def __init__(self) -> None:
        super().__init__()
        self._head = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._member is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return
            is_zlib = data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2], "big") % 31 == 0
            self.wbits = _ZLIB if is_zlib else _RAW_DEFLATE
        yield from super().feed(data)


class _Zstd:
    """zstd, with any number of frames (RFC 8878)."""

    def __init__(self) -> None:
        self._frame: Any = None
        self._parts = 0

    @property
    def whole(self) -> bool:
        return self._frame is not None and bool(self._frame.eof)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or (self._frame is not None and not self._frame.eof and not self._frame.needs_input):
            if self._frame is None or self._frame.eof:
                self._parts = _next_part(self._parts)
                self._frame = zstd.ZstdDecompressor(options={int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG})
            try:
                piece = self._frame.decompress(data, PIECE_BYTES)
            except zstd.ZstdError as error:
                raise _Damaged from error
            data = self._frame.unused_data if self._frame.eof else b""
            if piece:
                yield piece


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        return bool(self._stream.is_finished())

    def feed(self, data: bytes) -> Iterator[bytes]:
        if not data:
            return
        while True:
            try:
                piece = self._stream.process(data, output_buffer_limit=PIECE_BYTES)
            except brotli.error as error:
                raise _Damaged from error
            data = b""
            if piece:
                yield piece
            elif self._stream.can_accept_more_data():
                return
            if self._stream.is_finished():
                return


def _next_part(parts: int) -> int:
    if parts >= MAX_PARTS:
        raise _TooManyParts
    return parts + 1


_DECODERS: Mapping[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}


def parse_codings(header: bytes) -> list[str]:
    """Return the codings of a `Content-Encoding` header in the order they were applied, without `identity`.

    Raises `UnsupportedContentCoding`.
    """
    named = [name.strip().lower() for name in header.decode("latin-1").split(",")]
    codings = [name for name in named if name not in ("", "identity")]
    for name in codings:
        if name not in _DECODERS:
            raise UnsupportedContentCoding(f"Content coding '{name[:40]}' is not supported. Use one of {ACCEPTED}, or none.")
    if len(codings) > MAX_CODINGS:
        raise UnsupportedContentCoding(f"The body has {len(codings)} content codings; at most {MAX_CODINGS} are supported.")
    return codings


class DecodedBody:
    """An ASGI `receive` that decodes the body from another `receive`.

    Raises `RequestTooLarge` as soon as the body, compressed or not, exceeds `limit` bytes, and `InvalidRequest` for damaged or
    truncated data.
    """

    def __init__(self, receive: Receive, codings: list[str], limit: int) -> None:
        self._receive = receive
        self._name = ", ".join(codings)
        self._decoders = [_DECODERS[name]() for name in reversed(codings)]
        self._sizes = [0] * (len(codings) + 1)  # bytes received, and bytes out of each decoder
        self._limit = limit
        self._pieces: Iterator[bytes] = iter(())
        self._more = True

    async def __call__(self) -> Message:
        while True:
            piece = self._next_piece()
            if piece is not None:
                await asyncio.sleep(0)  # lets other tasks run while a large body is decoded
                if piece:
                    return {"type": "http.request", "body": piece, "more_body": True}
                continue
            if not self._more:
                self._more = True  # messages after the body pass through
                self._check_end()
                return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._more = message.get("more_body", False)
            self._pieces = self._decode(self._counted(0, message.get("body", b"")), 0)

    def _next_piece(self) -> bytes | None:
        try:
            return next(self._pieces, None)
        except _Damaged:
            raise InvalidRequest(f"The request body is not valid {self._name} data, as its Content-Encoding declares.") from None
        except _TooManyParts:
            raise InvalidRequest(f"The request body has more than {MAX_PARTS} compressed members; compress it as one.") from None

    def _decode(self, data: bytes, level: int) -> Iterator[bytes]:
        if level == len(self._decoders):
            yield data
            return
        for piece in self._decoders[level].feed(data):
            yield from self._decode(self._counted(level + 1, piece), level + 1)
            yield b""  # yield to the event loop even while the next coding produces no output

    def _counted(self, level: int, data: bytes) -> bytes:
        self._sizes[level] += len(data)
        if self._sizes[level] > self._limit:
            raise RequestTooLarge(self._limit)
        return data

    def _check_end(self) -> None:
        if self._sizes[0] and not all(decoder.whole for decoder in self._decoders):
            raise InvalidRequest(f"The request body's {self._name} data is truncated.")
