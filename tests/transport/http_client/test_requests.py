"""Outgoing requests: the exact bytes, and requests rejected before anything is sent."""

import pytest

from tests.transport.http_client.raw_server import JSON_OK, Peer, RawServer
from transport.http_client import HttpRequest
from transport.http_client.request_head import Origin, parse_target, render_head


async def test_the_bytes_of_a_request(client):
    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            received.append(request)
            await peer.send(JSON_OK)

    received: list[bytes] = []
    async with RawServer(handler) as server:
        headers = (("Authorization", "Bearer k"), ("x-note", "caf\xe9\tau lait"))
        for method, body in (("POST", b'{"a":1}'), ("GET", b""), ("DELETE", b""), ("PUT", b"")):
            request = HttpRequest(method, server.url("/v1/x?q=1&r#part"), headers, body)
            response = await client.open(request, first_byte_timeout=5)
            await response.read_all(limit=10, timeout=5)
        shared = (
            f" /v1/x?q=1&r HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\naccept-encoding: identity\r\n"
            "Authorization: Bearer k\r\nx-note: caf\xe9\tau lait\r\n"
        ).encode("latin-1")
    assert received == [
        b"POST" + shared + b'content-length: 7\r\n\r\n{"a":1}',
        b"GET" + shared + b"\r\n",
        b"DELETE" + shared + b"\r\n",
        b"PUT" + shared + b"content-length: 0\r\n\r\n",
    ]


async def test_a_large_body_arrives_whole(client):
    async def handler(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        body = request.partition(b"\r\n\r\n")[2]
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    body = bytes(range(256)) * 8192
    async with RawServer(handler) as server:
        response = await client.open(HttpRequest("POST", server.url(), (), body), first_byte_timeout=10)
        assert await response.read_all(limit=len(body), timeout=10) == body


@pytest.mark.parametrize(
    ("url", "origin", "line", "host"),
    [
        ("http://h", Origin(False, "h", 80), "/", "h"),
        ("http://h:80/a", Origin(False, "h", 80), "/a", "h"),
        ("https://H.example/a/?b=%20", Origin(True, "h.example", 443), "/a/?b=%20", "h.example"),
        ("https://h:80?x=1", Origin(True, "h", 80), "/?x=1", "h:80"),
        ("http://[::1]:8080/a", Origin(False, "::1", 8080), "/a", "[::1]:8080"),
    ],
)
def test_urls(url, origin, line, host):
    target = parse_target("GET", url)
    assert target.origin == origin
    assert target.prefix == f"GET {line} HTTP/1.1\r\nhost: {host}\r\naccept-encoding: identity\r\n".encode()


@pytest.mark.parametrize(
    ("method", "url", "message"),
    [
        ("GET\r\n", "http://h/", "method"),
        ("get", "http://h/", "method"),
        ("CONNECT", "http://h/", "method"),
        ("GET", "http://h/a\r\nx: y", "percent-encode"),
        ("GET", "http://h/a b", "percent-encode"),
        ("GET", "http://h/a\n", "percent-encode"),
        ("GET", "http://h/\x00", "percent-encode"),
        ("GET", "http://bücher.example/", "percent-encode"),
        ("GET", "ftp://h/", "use http or https"),
        ("GET", "/v1/x", "use http or https"),
        ("GET", "http://user:pass@h/", "credentials"),
        ("GET", "http:///x", "invalid host name"),
        ("GET", "http://h$/x", "invalid host name"),
        ("GET", "http://h:99999/x", "ort"),
    ],
)
async def test_bad_targets_are_rejected(client, method, url, message):
    with pytest.raises(ValueError, match=message):
        await client.open(HttpRequest(method, url, (), b""), first_byte_timeout=5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", "a\r\nevil: 1", "control or non-Latin-1"),
        ("x", "a\nevil: 1", "control or non-Latin-1"),
        ("x", "a\rb", "control or non-Latin-1"),
        ("x", "a\n", "control or non-Latin-1"),
        ("x", "a\x00b", "control or non-Latin-1"),
        ("x", "€", "non-Latin-1"),
        ("x: y\r\nz", "a", "invalid header name"),
        ("x y", "a", "invalid header name"),
        ("", "a", "invalid header name"),
        ("Content-Length", "0", "omit it"),
        ("Transfer-Encoding", "chunked", "omit it"),
        ("Accept-Encoding", "gzip", "omit it"),
        ("Host", "evil", "omit it"),
        ("connection", "close", "omit it"),
    ],
)
def test_bad_headers_are_rejected(name, value, message):
    target = parse_target("POST", "http://h/")
    with pytest.raises(ValueError, match=message) as caught:
        render_head(target, HttpRequest("POST", "http://h/", ((name, value),), b""))
    assert value not in str(caught.value) or len(value) < 3, "a header value may be a secret"
