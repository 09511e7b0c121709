"""One response at a time, from bytes to head and body, by httptools (llhttp)."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from transport.http_client.errors import ProtocolViolation


class _ParserStop(Exception):
    """Raised in a parser callback: the response has ended although the parser would go on."""


class Incoming:
    """The response that is being received. Set `head_done` first, `done` last.

    `parts` are body bytes not yet taken. It is one list for life, because its `append` is the parser's body callback:
    a body chunk then costs no Python frame.
    """

    __slots__ = (
        "_barren_bytes",
        "_head_bytes",
        "_head_only",
        "_max_header_bytes",
        "_pairs",
        "_parser",
        "content_encoding",
        "content_length",
        "done",
        "head_done",
        "headers",
        "keep_alive",
        "on_body",
        "parts",
        "started",
        "status",
        "until_eof",
    )

    def __init__(self, max_header_bytes: int) -> None:
        self._max_header_bytes = max_header_bytes
        self.parts: list[bytes] = []
        self.on_body = self.parts.append
        self.expect(head_only=False)
        self._parser = HttpResponseParser(self)

    def expect(self, *, head_only: bool) -> None:
        """Make ready for the next response; `head_only` where the request was a HEAD."""
        self._head_only = head_only
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._barren_bytes = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.content_length: int | None = None
        self.content_encoding = b""
        self.keep_alive = False
        self.until_eof = False
        self.started = False
        self.head_done = False
        self.done = False

    def feed(self, data: bytes) -> None:
        """Parse what one read brought. After ProtocolViolation nothing more can be parsed on this connection.

        A response that was complete before the violation has `done` set and stays good.
        """
        self.started = True
        had = len(self.parts)
        if not self.head_done:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            raise self._violation(exc) from exc
        if self.done:
            return
        if not self.head_done:
            if self._head_bytes > self._max_header_bytes:
                raise self._head_too_large()
        elif len(self.parts) != had:
            self._barren_bytes = 0
        else:
            # Chunk extensions and trailers bring no body and have no length of their own.
            self._barren_bytes += len(data)
            if self._barren_bytes > self._max_header_bytes:
                raise ProtocolViolation("the response body has more framing than content")

    def dismantle(self) -> None:
        """Undo the references between this and the parser, so that no garbage collection is needed."""
        del self._parser
        del self.on_body

    def _wake(self) -> None:
        """`head_done` or `done` was set. For the subclass to tell who waits for it."""
        raise NotImplementedError

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self.done:
            raise _ParserStop

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too, after the list of headers was taken away: they are never merged into the headers.
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ProtocolViolation(f"the upstream answered with status {status}, which was not asked for")
            self._pairs.clear()
            return
        if self._head_bytes > self._max_header_bytes:
            self._check_head_size()
        self.headers, self._pairs = self._pairs, []
        self.status = status
        self._read_framing()
        self.head_done = True
        self.keep_alive = self._parser.should_keep_alive()
        self._wake()
        if self._head_only:
            # llhttp cannot be told that this response has no body whatever its headers say.
            raise _ParserStop

    def on_message_complete(self) -> None:
        if self.head_done:  # else it was an interim response
            self.done = True
            self._wake()

    # Inner workings.

    def _read_framing(self) -> None:
        """Note what the headers say of the body. Compares lengths first: most headers are none of these."""
        framed = False
        for name, value in self.headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                framed = True
                self.content_length = int(value)
            elif size == 17 and name.lower() == b"transfer-encoding":
                framed = True
                if value.strip().lower() != b"chunked":
                    raise ProtocolViolation(f"transfer-encoding {value[:80]!r} is not one this client can undo")
            elif size == 16 and name.lower() == b"content-encoding":
                self.content_encoding = b", ".join(filter(None, (self.content_encoding, value.strip().lower())))
        self.until_eof = not framed

    def _check_head_size(self) -> None:
        """The read that ended the head may have brought body bytes too, so count the head itself."""
        if sum(len(name) + len(value) + 4 for name, value in self._pairs) > self._max_header_bytes:
            raise self._head_too_large()

    def _head_too_large(self) -> ProtocolViolation:
        return ProtocolViolation(f"the response head is larger than {self._max_header_bytes} bytes")

    def _violation(self, exc: Exception) -> ProtocolViolation:
        """The parser gave up: our own reason where a callback raised one, else what llhttp says."""
        if self._head_only and self.head_done:
            self.parts.clear()
            self.done = True
        cause = exc.__context__
        return cause if isinstance(cause, ProtocolViolation) else ProtocolViolation(f"not a valid response: {exc}")
