"""Compressed request bodies: decoded within the size limit on every route, and rejected with an explanation otherwise."""

from __future__ import annotations

import gzip
import json
import sys
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.http.content_coding import ACCEPTED, MAX_CODINGS, MAX_PARTS, PIECE_BYTES, DecodedBody, parse_codings
from shared.core.errors import InvalidRequest, RequestTooLarge, UnsupportedContentCoding
from tests.edge.shared_edge import Sandbox

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


def brotli_compress(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=3))


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli_compress),
    ("zstd", zstd.compress),
]
EACH = pytest.mark.parametrize(("coding", "compress"), CODINGS, ids=lambda value: getattr(value, "__name__", value))
MANY = 1_000_000


class Source:
    """An ASGI `receive` that returns these pieces and counts how many were consumed."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.taken = 0

    async def __call__(self) -> dict[str, Any]:
        if not self._pieces:
            return {"type": "http.disconnect"}
        self.taken += 1
        return {"type": "http.request", "body": self._pieces.pop(0), "more_body": bool(self._pieces)}


async def decode(header: str, *pieces: bytes, limit: int = MANY) -> bytes:
    """Decode and return the whole body."""
    body = DecodedBody(Source(*pieces), parse_codings(header.encode()), limit)
    found = b""
    while True:
        message = await body()
        assert message["type"] == "http.request"
        assert len(message["body"]) <= 2 * PIECE_BYTES
        found += message["body"]
        if not message["more_body"]:
            return found


@EACH
async def test_each_coding(coding: str, compress: Callable[[bytes], bytes]) -> None:
    data = json.dumps([{"n": number} for number in range(40_000)]).encode()
    packed = compress(data)
    assert await decode(coding, packed) == data
    assert await decode(coding.upper(), *(packed[at : at + 1000] for at in range(0, len(packed), 1000))) == data


@EACH
async def test_a_body_sent_byte_by_byte(coding: str, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(b'{"model": "m"}')
    assert await decode(coding, *(packed[at : at + 1] for at in range(len(packed))), b"") == b'{"model": "m"}'


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
async def test_concatenated_members(compress: Callable[[bytes], bytes]) -> None:
    coding = "gzip" if compress is gzip.compress else "zstd"
    packed = compress(b"one ") + compress(b"") + compress(b"two")
    assert await decode(coding, packed) == b"one two"
    assert await decode(coding, packed[:30], packed[30:]) == b"one two"


async def test_nested_codings() -> None:
    assert await decode("gzip, br", brotli_compress(gzip.compress(b"twice"))) == b"twice"
    assert await decode("identity, gzip,", gzip.compress(b"once")) == b"once"
    assert await decode("gzip", b"") == b""


@given(st.binary(max_size=2_000), st.sampled_from(CODINGS), st.integers(1, 700))
async def test_any_data_in_any_pieces(data: bytes, coding: tuple[str, Callable[[bytes], bytes]], size: int) -> None:
    packed = coding[1](data)
    assert await decode(coding[0], *(packed[at : at + size] for at in range(0, len(packed), size))) == data


async def read_on(body: DecodedBody, sizes: list[int]) -> None:
    """Read until an exception is raised."""
    while True:
        sizes.append(len((await body())["body"]))


@EACH
async def test_a_bomb_is_rejected_during_decoding(coding: str, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(bytes(20 * MANY))
    pieces = [packed[at : at + 64] for at in range(0, len(packed), 64)]
    source = Source(*pieces)
    body = DecodedBody(source, parse_codings(coding.encode()), MANY)
    sizes: list[int] = []
    with pytest.raises(RequestTooLarge):
        await read_on(body, sizes)
    assert sum(sizes) <= MANY
    assert len(pieces) < 40 or source.taken < len(pieces) / 2  # br and zstd compress it to a few bytes


async def test_a_bomb_between_two_codings_counts_too() -> None:
    nothing = bytes.fromhex("000000ffff") * 300_000 + raw_deflate(b"")  # empty blocks, which decode to nothing
    with pytest.raises(RequestTooLarge):
        await decode("deflate, gzip", gzip.compress(nothing))


@pytest.mark.parametrize(
    ("coding", "part"),
    [
        ("gzip", gzip.compress(b"")),
        ("zstd", zstd.compress(b"")),
        ("zstd", bytes.fromhex("502a4d18 00000000")),
    ],
    ids=["empty member", "empty frame", "skippable frame"],  # explicit ids: the gzip bytes contain the current time
)
async def test_empty_members_are_counted(coding: str, part: bytes) -> None:
    assert await decode(coding, part * MAX_PARTS) == b""
    with pytest.raises(InvalidRequest, match="compress it as one"):
        await decode(coding, part * (MAX_PARTS + 1))
    with pytest.raises(InvalidRequest, match="compress it as one"):  # the smallest body that causes the most work
        await decode(f"{coding}, gzip", gzip.compress(part * (MAX_PARTS + 1)))


async def test_the_compressed_bytes_count_too() -> None:
    with pytest.raises(RequestTooLarge):
        await decode("gzip", *[gzip.compress(b"")] * 100, limit=1_000)


async def test_a_frame_with_a_large_window_is_rejected() -> None:
    greedy = zstd.compress(bytes(20 * MANY), options={zstd.CompressionParameter.window_log: 27})
    with pytest.raises(InvalidRequest, match="not valid zstd data"):
        await decode("zstd", greedy)


@EACH
async def test_damaged_data(coding: str, compress: Callable[[bytes], bytes]) -> None:
    packed = compress(bytes(range(256)) * 40)
    with pytest.raises(InvalidRequest, match=f"not valid {coding} data"):
        await decode(coding, b'{"model": "m"}')
    with pytest.raises(InvalidRequest, match=f"{coding} data is truncated"):
        await decode(coding, packed[:-5])
    with pytest.raises(InvalidRequest, match=f"not valid {coding} data"):
        await decode(coding, packed, b"{}")


async def test_messages_after_the_body_are_passed_on() -> None:
    body = DecodedBody(Source(gzip.compress(b"x")), ["gzip"], MANY)
    assert [(await body())["type"] for _ in range(3)] == ["http.request", "http.request", "http.disconnect"]
    assert (await DecodedBody(Source(), ["gzip"], MANY)())["type"] == "http.disconnect"  # disconnected before sending everything


@pytest.mark.parametrize("header", ["compress", "lzma", "gzip, aes128gcm", "\xff", ", ".join(["gzip"] * (MAX_CODINGS + 1))])
def test_an_unsupported_coding(header: str) -> None:
    with pytest.raises(UnsupportedContentCoding):
        parse_codings(header.encode("latin-1"))


# On the wire


@EACH
def test_a_compressed_chat(sandbox: Sandbox, coding: str, compress: Callable[[bytes], bytes]) -> None:
    data = json.dumps(sandbox.body(max_tokens=5, user="x" * 100_000)).encode()
    assert sandbox.post(compress(data), {"content-encoding": coding}).status == 200
    assert sandbox.provider.calls[-1].json["max_tokens"] == 5


def multipart(sandbox: Sandbox) -> bytes:
    part = "--b\r\ncontent-disposition: form-data; name="
    return f'{part}"model"\r\n\r\n{sandbox.model}\r\n{part}"prompt"\r\n\r\nA tree\r\n--b--\r\n'.encode()


BOMB = gzip.compress(bytes(21_000_000))
JSON, FORM = "application/json", "multipart/form-data; boundary=b"
# Routes with a request body, and an error code which proves that the body was decoded.
ROUTES: list[tuple[str, str, bytes, str]] = [
    ("/v1/responses", JSON, b'{"input": 5}', "'input'"),
    ("/v1/messages", JSON, b'{"max_tokens": "5"}', "'max_tokens'"),
    ("/v1/messages/count_tokens", JSON, b'{"messages": 5}', "'messages'"),
    ("/v1/embeddings", JSON, b'{"model": 5}', "'model'"),
    ("/v1/rerank", JSON, b'{"query": 5}', "'query'"),
    ("/v1/images/generations", JSON, b'{"response_format": "x"}', "'response_format'"),
    ("/v1/images/edits", JSON, b'{"response_format": "x"}', "'response_format'"),
    ("/v1/audio/speech", JSON, b'{"model": 5}', "'model'"),
    ("/v1/audio/transcriptions", FORM, b"", "'file'"),
    ("/v1/videos", JSON, b'{"model": 5}', "'model'"),
    ("/v1/videos", FORM, b"", "model"),
    ("/api/chat/stream/", JSON, b'{"nothing": 5}', "'nothing'"),
    ("/api/quote/", JSON, b'{"model": 5}', "'model'"),
    ("/api/chat/keys/", JSON, b'{"nothing": 5}', "'nothing'"),
    ("/api/chat/share/", JSON, b'{"nothing": 5}', "'nothing'"),
    ("/api/media/image/", JSON, b'{"model": 5}', "'model'"),
]


@pytest.mark.parametrize(("path", "kind", "data", "named"), ROUTES, ids=lambda value: str(value)[:30])
def test_every_route_decodes_its_body(sandbox: Sandbox, path: str, kind: str, data: bytes, named: str) -> None:
    headers = {"content-type": kind, "content-encoding": "gzip"}
    read = sandbox.post(gzip.compress(data or multipart(sandbox)), headers, path)
    assert read.status in (400, 404), read
    assert named in read.json["error"]["message"]
    torn = sandbox.post(gzip.compress(data or multipart(sandbox))[:-4], headers, path)
    assert (torn.status, torn.json["error"]["code"]) == (400, "invalid_request")
    assert "gzip data is truncated" in torn.json["error"]["message"]
    bomb = sandbox.post(BOMB, headers, path)
    assert (bomb.status, bomb.json["error"]["code"]) == (413, "request_too_large")
    unknown = sandbox.post(b"{}", {**headers, "content-encoding": "lzma"}, path)
    assert (unknown.status, unknown.json["error"]["code"]) == (415, "unsupported_content_encoding")
    assert unknown.headers["accept-encoding"] == ACCEPTED


def test_idempotency_compares_the_decoded_body(sandbox: Sandbox) -> None:
    data, headers = json.dumps(sandbox.body()).encode(), {"idempotency-key": "once"}
    assert sandbox.post(data, headers).status == 200
    assert sandbox.post(gzip.compress(data), {**headers, "content-encoding": "gzip"}).error["code"] == "idempotency_key_used"
