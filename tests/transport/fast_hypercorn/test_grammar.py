"""Our parser compared with two independent ones, and with requests split at every possible position."""

import contextlib
from typing import Any

import h11
import httptools
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transport.fast_hypercorn.chunked import ChunkedBody
from transport.fast_hypercorn.error_responses import ProtocolError
from transport.fast_hypercorn.limits import Limits
from transport.fast_hypercorn.request_head import RequestHead, parse_head

TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

names = (
    st.text(TOKEN, min_size=1, max_size=12)
    .map(str.encode)
    .filter(
        lambda name: name.lower() not in (b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade")
    )
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20).map(
    lambda text: text.encode("latin-1")
)
targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"), max_size=20).map(
    lambda text: b"/" + text.encode()
)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Returns (a valid request, its body)."""
    lines = [b"%b %b HTTP/1.1" % (draw(methods), draw(targets)), b"Host: h"]
    lines += [b"%b: %b" % field for field in draw(st.lists(st.tuples(names, values), max_size=5))]
    pieces = draw(st.lists(st.binary(max_size=40), max_size=4))
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "none":
        return b"\r\n".join([*lines, b"", b""]), b""
    body = b"".join(pieces)
    if framing == "length":
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]), body
    encoded = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", encoded]), body


def read(data: bytes) -> tuple[RequestHead, bytes, bytes]:
    """(head, body, rest) by our parser; raises ProtocolError if rejected, EOFError if incomplete."""
    head_block, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        raise EOFError
    head = parse_head(head_block + b"\r\n", Limits().head_fields)
    if not head.chunked:
        if len(rest) < head.length:
            raise EOFError
        return head, rest[: head.length], rest[head.length :]
    body, after = ChunkedBody().feed(rest)
    if after is None:
        raise EOFError
    return head, body, after


def read_with_h11(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes, bytes]:
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request = connection.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return request.method, request.target, list(request.headers), body, connection.trailing_data[0]


class _Llhttp:
    def __init__(self) -> None:
        self.url = self.body = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete and name is not None:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


@settings(max_examples=300, deadline=None)
@given(requests())
def test_valid_requests_parse_as_in_h11_and_llhttp(request: tuple[bytes, bytes]) -> None:
    data, body = request
    head, ours, rest = read(data)
    assert (ours, rest) == (body, b"")
    method, target, headers, their_body, trailing = read_with_h11(data)
    assert (head.method.encode(), head.target, head.headers, ours) == (method, target, headers, their_body)
    assert trailing == b""
    other = _Llhttp()
    parser = httptools.HttpRequestParser(other)
    parser.feed_data(data)
    assert other.complete
    assert (parser.get_method(), other.url, other.headers, other.body) == (method, target, headers, ours)


@settings(max_examples=1000, deadline=None)
@given(requests(), st.data())
def test_h11_accepts_what_we_accept_with_the_same_result(request: tuple[bytes, bytes], data: st.DataObject) -> None:
    """Valid requests with bytes changed, inserted or deleted: rejected, incomplete, or parsed the same by both."""
    mutated = bytearray(request[0])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        with_bytes = data.draw(
            st.sampled_from([b"", b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b";", b"0", b"1", b"a", b","])
        )
        mutated[at : at + data.draw(st.integers(0, 2))] = with_bytes
    wire = bytes(mutated)
    try:
        head, body, rest = read(wire)
    except (ProtocolError, EOFError):
        return
    method, target, headers, their_body, trailing = read_with_h11(wire.removeprefix(b"\r\n"))
    assert (head.method.encode(), head.headers, body, rest) == (method, headers, their_body, trailing)
    assert target.endswith(head.target)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_rejected(data: bytes) -> None:
    with contextlib.suppress(ProtocolError, EOFError):
        read(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    with contextlib.suppress(ProtocolError, EOFError):
        read(data + b"\r\n\r\n")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.data())
def test_chunks_may_be_split_anywhere(pieces: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(b"%x;e=1\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nT: 1\r\n\r\nnext"
    body = b""
    decoder = ChunkedBody()
    after: bytes | None = None
    while after is None:
        size = data.draw(st.integers(1, 20))
        piece, after = decoder.feed(wire[:size])
        wire = wire[size:]
        body += piece
    assert body == b"".join(pieces)
    assert after + wire == b"next"


@pytest.fixture
def echo_server(start_fast: Any, echo: Any) -> Any:
    return start_fast(echo, keep_alive_max_requests=1_000_000)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(requests(), min_size=1, max_size=4), st.data())
def test_a_pipeline_may_be_split_anywhere(echo_server: Any, batch: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    wire = echo_server.connect()
    stream = b"".join(request for request, _ in batch)
    while stream:
        size = data.draw(st.integers(1, max(1, len(stream))))
        wire.send(stream[:size])
        stream = stream[size:]
    for request, body in batch:
        head, _, _ = read(request)
        path = head.target.partition(b"?")[0]
        assert wire.answer().body == b" ".join((head.method.encode(), path, body))
    wire.close()
