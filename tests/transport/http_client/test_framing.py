"""Response bytes: parsed the same however they are split, and rejected when malformed."""

import asyncio
import gzip
import zlib

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.transport.http_client.raw_server import JSON_OK, Peer, RawServer, answering, answering_then_closing
from transport.http_client import BodyTooLarge, ConnectionLost, HttpClient, HttpRequest, ProtocolError

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def test_json_answer(fetch):
    async with RawServer(answering(JSON_OK)) as server:
        response = await fetch(server.url())
        assert response.status == 200
        assert response.headers.get("content-type") == "application/json"
        assert response.headers.get("x-missing") is None
        assert await response.read(timeout=5) == b"{}"
        assert await response.read(timeout=5) == b""
        assert await response.read(timeout=5) == b""


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world", id="content-length"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", id="chunked"),
        pytest.param(
            CHUNKED + b'5;a=b;c="d e"\r\nhello\r\n06\r\n world\r\n000\r\ncontent-type: evil\r\nx: y\r\n\r\n',
            id="chunk extensions and trailers",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nhello world", id="until close"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\nhello world", id="HTTP/1.0 until close"),
        pytest.param(b"HTTP/1.1 200\r\ncontent-length: 11\r\n\r\nhello world", id="no reason"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
            b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world",
            id="interim responses",
        ),
    ],
)
@pytest.mark.parametrize("split", [False, True], ids=["one write", "byte by byte"])
async def test_body_framings(fetch, raw, split):
    pieces = [raw[i : i + 1] for i in range(len(raw))] if split else [raw]
    async with RawServer(answering_then_closing(*pieces)) as server:
        response = await fetch(server.url())
        assert response.status == 200
        assert await response.read_all(limit=100, timeout=5) == b"hello world"
        assert response.headers.get("content-type") is None, "a trailer must not become a header"
        assert response.headers.get("link") is None, "an interim header must not become a header"


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n"),
        ("POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 500\r\n\r\n"),
        ("POST", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ],
)
async def test_responses_without_a_body(fetch, method, raw):
    async with RawServer(answering(raw)) as server:
        for _ in range(2):
            response = await fetch(server.url(), method=method, body=b"")
            assert await response.read_all(limit=10, timeout=5) == b""


async def test_body_coalesces_what_has_arrived(fetch):
    async with RawServer(answering(CHUNKED + b"".join(b"3\r\nabc\r\n" for _ in range(50)) + b"0\r\n\r\n")) as server:
        response = await fetch(server.url())
        assert await response.read(timeout=5) == b"abc" * 50


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"ICY 200 OK\r\n\r\n", "not a valid response"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "not a valid response"),
        (b"HTTP/2 200 OK\r\n\r\n", "not a valid response"),
        (b"HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n", "status 99"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nzzz", "status 101"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "not a valid response"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", "not a valid response"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nx", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n", "transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx", "content-encoding"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-encoding: gzip\r\n\r\nx", "content-encoding"),
        (b"HTTP/1.1 200 OK\r\nx: a\r\n folded\r\n\r\n", "not a valid response"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, "head exceeds 65536"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\ncontent-length: 0\r\n\r\n", "head exceeds 65536"),
        (b"HTTP/1.1 103 Hint\r\nx: y\r\n\r\n" * 10_000, "head exceeds 65536"),
    ],
)
async def test_garbage_is_a_protocol_violation(fetch, raw, message):
    async with RawServer(answering_then_closing(raw)) as server:
        with pytest.raises(ProtocolError, match=message) as caught:
            await fetch(server.url())
        assert not caught.value.retry_safe
        assert len(server.peers) == 1


async def test_a_large_body_read_with_the_head_is_not_an_oversized_head():
    client = HttpClient(max_header_bytes=200)
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
    async with RawServer(answering(raw)) as server:
        response = await client.open(HttpRequest("GET", server.url(), (), b""), first_byte_timeout=5)
        assert len(await response.read_all(limit=5000, timeout=5)) == 5000
        await client.close()


@pytest.mark.parametrize(
    "tail",
    [b"zz\r\n", b"5\r\nhelloXX", b"fffffffffffffffffffff\r\n", b"1;" + b"x" * 700_000, b"0\r\nx: " + b"y" * 700_000],
    ids=["size", "no line end", "overflow", "endless extension", "endless trailer"],
)
async def test_garbage_mid_body_is_raised_after_the_valid_bytes(fetch, tail):
    async with RawServer(answering_then_closing(CHUNKED + b"2\r\nab\r\n", tail)) as server:
        response = await fetch(server.url())
        assert (await response.read(timeout=5)).startswith(b"ab")
        with pytest.raises(ProtocolError):
            await response.read_all(limit=100, timeout=5)


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", CHUNKED + b"3\r\nabc\r\n", CHUNKED + b"5\r\nabc"],
    ids=["content-length", "between chunks", "in a chunk"],
)
async def test_short_body_is_a_lost_connection(fetch, raw):
    async with RawServer(answering_then_closing(raw)) as server:
        response = await fetch(server.url())
        assert await response.read(timeout=5) == b"abc"
        with pytest.raises(ConnectionLost, match="in mid-body") as caught:
            await response.read(timeout=5)
        assert caught.value.sent
        assert caught.value.response_started


async def test_a_reset_does_not_end_a_close_delimited_body(fetch):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nabc")
        await seen.wait()
        peer.reset()

    seen = asyncio.Event()
    async with RawServer(handler) as server:
        response = await fetch(server.url())
        assert await response.read(timeout=5) == b"abc"
        seen.set()
        with pytest.raises(ConnectionLost):
            await response.read(timeout=5)


@pytest.mark.parametrize("limit", [9, 5])
@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789", CHUNKED + b"a\r\n0123456789\r\n0\r\n\r\n"],
)
async def test_read_all_refuses_more_than_its_limit(fetch, raw, limit):
    async with RawServer(answering(raw)) as server:
        response = await fetch(server.url())
        with pytest.raises(BodyTooLarge, match=f"exceeds {limit} bytes"):
            await response.read_all(limit=limit, timeout=5)


def compressed(coding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n%b" % (coding, len(body), body)


@pytest.mark.parametrize(("coding", "pack"), [(b"gzip", gzip.compress), (b"X-GZip ", gzip.compress), (b"deflate", zlib.compress)])
async def test_unrequested_compression_is_decoded(fetch, coding, pack):
    async with RawServer(answering(compressed(coding, pack(b"hello" * 200_000)))) as server:
        for _ in range(2):
            response = await fetch(server.url())
            assert await response.read_all(limit=1_000_000, timeout=5) == b"hello" * 200_000
        assert len(server.peers) == 1


async def test_a_compression_bomb_is_read_in_small_pieces_and_stopped(fetch):
    async with RawServer(answering(compressed(b"gzip", gzip.compress(bytes(50_000_000))))) as server:
        response = await fetch(server.url())
        assert len(await response.read(timeout=5)) <= 16 * 1024
        with pytest.raises(BodyTooLarge):
            await response.read_all(limit=1_000_000, timeout=5)


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"hello" * 100)[:-6], b"not gzip at all", gzip.compress(b"a") + b"junk"],
    ids=["cut", "not gzip", "junk after"],
)
async def test_broken_compression_is_a_protocol_violation(fetch, body):
    async with RawServer(answering(compressed(b"gzip", body))) as server:
        response = await fetch(server.url())
        with pytest.raises(ProtocolError, match="compressed body"):
            await response.read_all(limit=1000, timeout=5)


async def test_repeated_headers_are_joined_and_listed(fetch):
    raw = b"HTTP/1.1 200 OK\r\nVary: a\r\nX-Name: caf\xe9\r\nvary: b\r\ncontent-length: 0\r\n\r\n"
    async with RawServer(answering(raw)) as server:
        response = await fetch(server.url())
        response.release()
        assert response.headers.get("vary") == "a, b"
        assert "x-name" in response.headers
        assert list(response.headers) == [("vary", "a"), ("x-name", "café"), ("vary", "b"), ("content-length", "0")]


@st.composite
def split_responses(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and a valid response that carries it, split at random positions."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
    body = b"".join(chunks)
    if draw(st.booleans()):
        framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        raw = b"HTTP/1.1 103 Hint\r\n\r\n" + CHUNKED + framed + b"0\r\nt: v\r\n\r\n"
    else:
        raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=12)))
    return body, [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]


@pytest.mark.parametrize("new_event_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(response=split_responses())
def test_any_split_of_a_response_gives_the_same_body(response, new_event_loop):
    body, pieces = response

    async def read_twice() -> list[bytes]:
        client = HttpClient()
        async with RawServer(answering(*pieces)) as server:
            got = []
            for _ in range(2):
                answer = await client.open(HttpRequest("POST", server.url(), (), b""), first_byte_timeout=5)
                got.append(await answer.read_all(limit=1000, timeout=5))
            assert len(server.peers) == 1, "the connection was kept alive"
            await client.close()
        return got

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(read_twice()) == [body, body]
