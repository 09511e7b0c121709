"""The response parser, built on httptools (llhttp)."""

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from transport.http_client.errors import ProtocolError


class _ParserStop(Exception):
    """Raised in a parser callback to stop parsing: the response is complete."""


class ResponseParser:
    """The response being received. `head_done` is set first, `done` last.

    `parts` are body bytes not yet taken. The list is never replaced, because its `append` is the parser's body callback, which
    saves a Python frame per chunk.
    """

    __slots__ = (
        "_framing_bytes",
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
        """Prepare for the next response. `head_only`: the request was a HEAD."""
        self._head_only = head_only
        self._pairs: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._framing_bytes = 0
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
        """Parse received bytes. After a ProtocolViolation the connection cannot be used.

        A response that was complete before the violation has `done` set and stays valid.
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
            self._framing_bytes = 0
        else:
            # Chunk extensions and trailers carry no content, and are otherwise unlimited.
            self._framing_bytes += len(data)
            if self._framing_bytes > self._max_header_bytes:
                raise ProtocolError("the response body has more framing than content")

    def break_cycle(self) -> None:
        """Break the reference cycle with the parser, so that it is freed without garbage collection."""
        del self._parser
        del self.on_body

    def _wake(self) -> None:
        """Called when `head_done` or `done` is set; the subclass wakes the waiter."""
        raise NotImplementedError

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.done:
            raise _ParserStop

    def on_header(self, name: bytes, value: bytes) -> None:
        # Also called for trailers. They are never merged: `headers` is another list by then.
        self._pairs.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise ProtocolError(f"unexpected status {status} from the upstream")
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
            # llhttp has no option for responses to HEAD, which have no body whatever their headers say.
            raise _ParserStop

    def on_message_complete(self) -> None:
        if self.head_done:  # false for interim (1xx) responses
            self.done = True
            self._wake()

    # Internals.

    def _read_framing(self) -> None:
        """Read the framing and encoding of the body from the headers. Comparing name lengths first is fastest."""
        framed = False
        for name, value in self.headers:
            size = len(name)
            if size == 14 and name.lower() == b"content-length":
                framed = True
                self.content_length = int(value)
            elif size == 17 and name.lower() == b"transfer-encoding":
                framed = True
                if value.strip().lower() != b"chunked":
                    raise ProtocolError(f"transfer-encoding {value[:80]!r} is not supported")
            elif size == 16 and name.lower() == b"content-encoding":
                self.content_encoding = b", ".join(filter(None, (self.content_encoding, value.strip().lower())))
        self.until_eof = not framed

    def _check_head_size(self) -> None:
        """Check the size of the head alone: the last read may have included body bytes."""
        if sum(len(name) + len(value) + 4 for name, value in self._pairs) > self._max_header_bytes:
            raise self._head_too_large()

    def _head_too_large(self) -> ProtocolError:
        return ProtocolError(f"the response head exceeds {self._max_header_bytes} bytes")

    def _violation(self, exc: Exception) -> ProtocolError:
        """Return the error that a callback raised, or else llhttp's error."""
        if self._head_only and self.head_done:
            self.parts.clear()
            self.done = True
        cause = exc.__context__
        return cause if isinstance(cause, ProtocolError) else ProtocolError(f"not a valid response: {exc}")
