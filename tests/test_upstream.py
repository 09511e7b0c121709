"""The scripted upstream sends exactly what its script says, observed through a raw socket."""

from __future__ import annotations

import gzip
import json
import socket
import zlib
from collections.abc import Callable, Iterator

import pytest

from tests.openai_payloads import DONE, chunk, completion, failure, finish, frame, frames, split_utf8, tokens, usage
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import (
    CLOSE,
    HANG,
    RESET,
    Gate,
    ScriptedResponse,
    TruncatedChunk,
    context_too_long,
    delayed,
    error_response,
    html_response,
    json_response,
    no_response,
    stream,
)

ASK = {"model": "acme-model", "messages": [{"role": "user", "content": "Hi"}]}


class Caller:
    """A client that sees every byte."""

    def __init__(self, upstream: Upstream) -> None:
        self.socket = socket.create_connection(("127.0.0.1", upstream.port), timeout=20)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, body: dict[str, object] | None = None, method: str = "POST") -> None:
        data = json.dumps(ASK if body is None else body).encode() if method == "POST" else b""
        head = f"{method} /v1/chat/completions HTTP/1.1\r\nHost: upstream\r\nX-Trace: 7\r\nContent-Length: {len(data)}\r\n\r\n"
        self.socket.sendall(head.encode() + data)

    def read_until(self, end: bytes) -> bytes:
        received = b""
        while not received.endswith(end):
            piece = self.socket.recv(65_536)
            assert piece, f"closed after {received!r}"
            received += piece
        return received

    def read_all(self) -> bytes:
        received = b""
        while piece := self.socket.recv(65_536):
            received += piece
        return received

    def read_answer(self) -> tuple[bytes, bytes]:
        """Head and body of a response with Content-Length."""
        head, body = b"", b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(body) < length:
            body += self.socket.recv(length - len(body))
        return head, body

    def read_stream(self) -> bytes:
        """The body of a chunked response, without its framing."""
        return unchunk(self.read_until(b"0\r\n\r\n").partition(b"\r\n\r\n")[2])


def unchunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        body += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return body


@pytest.fixture
def caller(upstream: Upstream) -> Iterator[Caller]:
    with Caller(upstream) as open_caller:
        yield open_caller


def test_without_a_script_it_answers_and_records_requests(upstream: Upstream, caller: Caller) -> None:
    caller.send()
    head, body = caller.read_answer()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["usage"] == tokens(7, 3)
    [request] = upstream.calls
    assert (request.method, request.path, request.headers["x-trace"]) == ("POST", "/v1/chat/completions", "7")
    assert request.json == ASK
    assert request.wait_outcome() == "answered"


@pytest.mark.parametrize("include_usage", [True, False])
def test_its_default_stream_has_usage_only_if_requested(caller: Caller, include_usage: bool) -> None:
    caller.send({**ASK, "stream": True, "stream_options": {"include_usage": include_usage}})
    events = caller.read_stream().split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert [b'"usage"' in event for event in events].count(True) == include_usage


def test_a_script_is_consumed_in_order_over_one_connection(upstream: Upstream, caller: Caller) -> None:
    upstream.script(
        error_response(429, headers={"retry-after": "3"}), lambda request: json_response({"echo": request.json["model"]})
    )
    caller.send()
    head, body = caller.read_answer()
    assert head.startswith(b"HTTP/1.1 429 ")
    assert b"\r\nretry-after: 3\r\n" in head
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    caller.send()
    assert caller.read_answer()[1] == b'{"echo": "acme-model"}'
    caller.send()
    assert json.loads(caller.read_answer()[1])["object"] == "chat.completion"
    assert len(upstream.calls) == 3


def test_a_get_does_not_consume_the_script(upstream: Upstream, caller: Caller) -> None:
    upstream.script(error_response(500))
    caller.send(method="GET")
    assert json.loads(caller.read_answer()[1])["data"][0]["id"] == "acme-model"
    caller.send()
    assert b" 500 " in caller.read_answer()[0]


def test_errors_have_the_providers_format(upstream: Upstream, caller: Caller) -> None:
    upstream.script(context_too_long(), html_response())
    caller.send()
    assert json.loads(caller.read_answer()[1])["error"]["code"] == "context_length_exceeded"
    caller.send()
    head, body = caller.read_answer()
    assert b" 200 " in head
    assert b"\r\ncontent-type: text/html\r\n" in head
    assert body.startswith(b"<html>")


def test_pieces_are_sent_unchanged(upstream: Upstream, caller: Caller) -> None:
    pieces = (b": comment\n\n", b"id: 1\nretry: 10\nevent: message\n", chunk("é"), b"data:\n\n", b"data: {oops\n\n", failure())
    upstream.script(stream(*pieces, finish(), usage(1, 2), DONE))
    caller.send()
    expected = b"".join(piece if isinstance(piece, bytes) else frame(piece) for piece in pieces)
    assert caller.read_stream() == expected + frames(finish(), usage(1, 2)) + DONE
    assert "é".encode() in expected


def test_line_endings_can_be_crlf(upstream: Upstream, caller: Caller) -> None:
    upstream.script(stream(chunk("a"), line_end="\r\n"))
    caller.send()
    assert caller.read_stream() == frame(chunk("a"))[:-2] + b"\r\n\r\n"


def test_a_character_can_be_split_over_two_writes(upstream: Upstream, caller: Caller) -> None:
    whole = frame(chunk("naïve"))
    first, second = split_utf8(whole)
    gate = Gate()
    upstream.script(stream(first, gate, second))
    caller.send()
    assert caller.read_until(first + b"\r\n").endswith("naï".encode()[:3] + b"\r\n")
    gate.open()
    assert caller.read_until(b"0\r\n\r\n") == b"%x\r\n%b\r\n0\r\n\r\n" % (len(second), second)


def test_bodies_and_streams_can_be_compressed(upstream: Upstream, caller: Caller) -> None:
    gate = Gate()
    upstream.script(stream(chunk("a"), gate, DONE, compressed=True), json_response(completion("b"), compressed=True))
    caller.send()
    gate.wait_reached()
    gate.open()
    assert gzip.decompress(caller.read_stream()) == frame(chunk("a")) + DONE
    caller.send()
    head, body = caller.read_answer()
    assert b"content-encoding: gzip" in head
    assert json.loads(zlib.decompress(body, wbits=31)) == completion("b")


def test_nothing_is_sent_before_the_gate_opens(upstream: Upstream, caller: Caller) -> None:
    gate = Gate()
    upstream.script(delayed(gate, json_response({"late": True})))
    caller.send()
    gate.wait_reached()
    caller.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        caller.socket.recv(1)
    caller.socket.settimeout(20)
    gate.open()
    assert caller.read_answer()[1] == b'{"late": true}'


@pytest.mark.parametrize("answer", [no_response(), stream(chunk("a"), HANG)], ids=["before the head", "within a stream"])
def test_a_disconnect_is_detected(upstream: Upstream, answer: ScriptedResponse) -> None:
    upstream.script(answer)
    with Caller(upstream) as caller:
        caller.send({**ASK, "stream": True})
        wait_for_call(upstream)
        assert not upstream.calls[0].ended.is_set()
    assert upstream.calls[0].wait_outcome() == "disconnected"


def wait_for_call(upstream: Upstream) -> None:
    """Return once the first request was read."""
    eventually(lambda: bool(upstream.calls), "the upstream has read the request")


def test_a_stream_can_be_reset(upstream: Upstream, caller: Caller) -> None:
    gate = Gate()
    upstream.script(stream(chunk("a"), gate, RESET))
    caller.send()
    caller.read_until(frame(chunk("a")) + b"\r\n")
    gate.open()
    with pytest.raises(ConnectionResetError):
        caller.socket.recv(1)
    assert upstream.calls[0].wait_outcome() == "broken"


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (stream(chunk("a"), CLOSE), frame(chunk("a")) + b"\r\n"),
        (stream(TruncatedChunk(b"0123456789")), b"a\r\n01234"),
        (no_response(b"\x16\x03\x01garbage"), b"\x16\x03\x01garbage"),
        (no_response(CLOSE), b""),
    ],
    ids=["between chunks", "within a chunk", "garbage", "no answer"],
)
def test_a_connection_can_end_too_early(upstream: Upstream, caller: Caller, answer: ScriptedResponse, end: bytes) -> None:
    upstream.script(answer)
    caller.send()
    received = caller.read_all()
    assert received.endswith(end)
    assert not received.endswith(b"0\r\n\r\n")
    assert upstream.calls[0].wait_outcome() == "broken"


def test_an_error_in_a_script_is_raised_on_close() -> None:
    def broken(request: Request) -> ScriptedResponse:
        raise LookupError("no such answer")

    upstream = Upstream()
    upstream.script(broken)
    with Caller(upstream) as caller:
        caller.send()
        assert caller.read_all() == b""
    with pytest.raises(LookupError, match="no such answer"):
        upstream.close()


def test_two_upstreams_are_independent(start_upstream: Callable[[], Upstream]) -> None:
    first, second = start_upstream(), start_upstream()
    with Caller(second) as caller:
        caller.send()
        caller.read_answer()
    assert (len(first.calls), len(second.calls)) == (0, 1)
