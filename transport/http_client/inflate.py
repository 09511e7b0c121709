"""Undo gzip or zlib where an upstream compresses although it was told not to."""

import zlib

from transport.http_client.errors import ProtocolViolation

_PIECE_BYTES = 16 * 1024


class Inflater:
    """A bounded decompressor: one call never gives more than 16 KiB, however small the input that asks for it."""

    __slots__ = ("_fed", "_stream", "pending")

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told apart by the header
        self._fed = False
        self.pending = False

    def feed(self, raw: bytes) -> bytes:
        """The next piece of plain bytes. While `pending`, call with b"" for more before feeding anything new."""
        self._fed = True
        stream = self._stream
        if stream.eof and raw:
            raise ProtocolViolation("bytes follow the end of the compressed body")
        try:
            piece = stream.decompress(stream.unconsumed_tail + raw, _PIECE_BYTES)
        except zlib.error as exc:
            raise ProtocolViolation(f"the compressed body is broken: {exc}") from exc
        if stream.unused_data:
            raise ProtocolViolation("bytes follow the end of the compressed body")
        self.pending = len(piece) == _PIECE_BYTES
        return piece

    def finish(self) -> None:
        """Raise ProtocolViolation where the body ended in the middle of the compressed data."""
        if self._fed and not self._stream.eof:  # an empty body is fine: HEAD, 204
            raise ProtocolViolation("the compressed body ends too early")
