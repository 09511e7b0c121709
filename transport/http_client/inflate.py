"""Decompresses responses of upstreams that compress although we ask for identity."""

import zlib

from transport.http_client.errors import ProtocolError

_PIECE_BYTES = 16 * 1024


class Inflater:
    """A gzip and zlib decompressor that returns at most 16 KiB per call, to resist decompression bombs."""

    __slots__ = ("_fed", "_stream", "pending")

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=47)  # 32 + 15: detect gzip or zlib by the header
        self._fed = False
        self.pending = False

    def feed(self, raw: bytes) -> bytes:
        """Return the next decompressed piece. While `pending`, call with b"" before feeding more."""
        self._fed = True
        stream = self._stream
        if stream.eof and raw:
            raise ProtocolError("bytes follow the end of the compressed body")
        try:
            piece = stream.decompress(stream.unconsumed_tail + raw, _PIECE_BYTES)
        except zlib.error as exc:
            raise ProtocolError(f"the compressed body is invalid: {exc}") from exc
        if stream.unused_data:
            raise ProtocolError("bytes follow the end of the compressed body")
        self.pending = len(piece) == _PIECE_BYTES
        return piece

    def finish(self) -> None:
        """Raise ProtocolViolation if the compressed data is truncated."""
        if self._fed and not self._stream.eof:  # an empty body is valid: HEAD, 204
            raise ProtocolError("the compressed body is truncated")
