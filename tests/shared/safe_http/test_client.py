"""Fetching and posting, against real servers on loopback that hang, send invalid responses, redirect, and change address."""

from __future__ import annotations

import gzip
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from shared.core.errors import OutboundFailed, OutboundRefused, OutboundTimeout, OutboundTooLarge
from shared.safe_http import OutboundPolicy, SafeHttpClient, Timeouts, bounded_socket, client
from tests.servers.authority import Authority
from tests.servers.process import free_port
from tests.shared.safe_http.peer import answer, ok, redirect, serve

LOOPBACK = OutboundPolicy(networks=(ip_network("127.0.0.1/32"),))
ELSEWHERE = "127.0.0.2"  # a loopback address outside the allowed network
QUICK = Timeouts(total_seconds=0.6, idle_seconds=0.3)
PATIENT = Timeouts(total_seconds=20, idle_seconds=10)


@pytest.fixture
def outbound() -> SafeHttpClient:
    return SafeHttpClient(LOOPBACK)


def fetch(outbound: SafeHttpClient, url: str, max_bytes: int = 1_000_000, limits: Timeouts = PATIENT, **headers: str) -> bytes:
    with outbound.get(url, max_bytes=max_bytes, limits=limits, headers=headers) as reply:
        assert reply.status == 200
        return reply.read()


Names = Callable[..., list[str]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """`names(NAME=[addresses, next addresses, …])`: fakes the resolver; returns a list that records its calls."""

    def script(**answers: list[list[str]]) -> list[str]:
        lookups: list[str] = []

        def resolve(host: str, port: int, **_: object) -> list[tuple]:
            lookups.append(host)
            turns = answers[host.partition(".")[0]]
            found = turns.pop(0) if len(turns) > 1 else turns[0]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

        monkeypatch.setattr(client.socket, "getaddrinfo", resolve)
        return lookups

    return script


def test_a_body_is_fetched_with_a_minimal_request(outbound: SafeHttpClient) -> None:
    with serve(ok(b"content" * 50_000, "Content-Type: image/png")) as server:
        with outbound.get(server.url("/a?b=c"), max_bytes=10**6) as reply:
            assert (reply.status, reply.headers["content-type"]) == (200, "image/png")
            assert reply.read() == b"content" * 50_000
        head = server.requests[0].decode().lower().splitlines()
    assert head[0] == "get /a?b=c http/1.1"
    result = dict(line.split(": ", 1) for line in head[1:] if line)
    assert result == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "user-agent": "yout",
        "connection": "close",
    }


def test_chunked_and_close_delimited_bodies(outbound: SafeHttpClient) -> None:
    with serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") as server:
        assert fetch(outbound, server.url()) == b"abcde"
    with serve(b"HTTP/1.1 200 OK\r\n\r\nuntil the end") as server:
        assert fetch(outbound, server.url()) == b"until the end"


def test_a_kept_open_connection_is_not_waited_for(outbound: SafeHttpClient) -> None:
    def keep(connection: socket.socket, _: bytes) -> None:
        connection.sendall(ok(b"done", "Connection: keep-alive"))
        server.released.wait(20)

    with serve(keep) as server:
        assert fetch(outbound, server.url()) == b"done"


def test_post_sends_the_body_and_returns_any_status(outbound: SafeHttpClient) -> None:
    with serve(answer("503 Busy", body=b"later")) as server:
        with outbound.post(
            server.url("/hook"), b'{"a": 1}', max_bytes=100, headers={"Content-Type": "application/json"}
        ) as reply:
            assert (reply.status, reply.read()) == (503, b"later")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == b'{"a": 1}'
    assert b"content-type: application/json" in head.lower()


# Redirects


def test_at_most_three_redirects_are_followed(outbound: SafeHttpClient) -> None:
    def hop(connection: socket.socket, request: bytes) -> None:
        number = int(request.split()[1][1:])
        connection.sendall(redirect(f"/{number - 1}") if number else ok(b"there"))

    with serve(hop) as server:
        assert fetch(outbound, server.url("/3")) == b"there"
        with pytest.raises(OutboundFailed, match="more than 3"):
            fetch(outbound, server.url("/4"))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_to_a_private_address_is_rejected(outbound: SafeHttpClient, status: str) -> None:
    with serve(ok(b"secret"), host=ELSEWHERE) as inside, serve(redirect(inside.url("/admin"), status)) as server:
        with pytest.raises(OutboundRefused):
            fetch(outbound, server.url())
        assert inside.requests == []


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "//user@127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://0x7f.2/"],
)
def test_redirects_are_validated_like_urls(outbound: SafeHttpClient, location: str) -> None:
    with serve(redirect(location)) as server, pytest.raises(OutboundRefused):
        fetch(outbound, server.url())


def test_a_post_follows_no_redirect(outbound: SafeHttpClient) -> None:
    with serve(ok(b"")) as other, serve(redirect(other.url(), "307 Temporary Redirect")) as server:
        with outbound.post(server.url(), b"body", max_bytes=10) as reply:
            assert reply.status == 307
        assert other.requests == []


def test_credentials_are_sent_only_to_their_origin(outbound: SafeHttpClient) -> None:
    with serve(ok(b"file")) as store:

        def provider(connection: socket.socket, request: bytes) -> None:
            connection.sendall(redirect("/two") if request.startswith(b"GET /one ") else redirect(store.url("/file")))

        with serve(provider) as server:
            assert fetch(outbound, server.url("/one"), Authorization="Bearer hunter2") == b"file"
        assert [b"hunter2" in request for request in server.requests] == [True, True]
        assert b"hunter2" not in store.requests[0]


def test_a_redirect_without_a_location(outbound: SafeHttpClient) -> None:
    with serve(answer("302 Found")) as server, pytest.raises(OutboundFailed, match="without a location"):
        fetch(outbound, server.url())


def test_a_redirect_from_https_to_http_is_rejected(
    authority: Authority, trusted_authority: None, outbound: SafeHttpClient
) -> None:
    tls = authority.server_context(x509.DNSName("localhost"))
    with serve(ok(b"plain")) as plain, serve(redirect(plain.url()), tls=tls) as server:
        with pytest.raises(OutboundRefused, match="https to http"):
            fetch(outbound, server.url(scheme="https", host="localhost"))
        assert plain.requests == []


# Name resolution


def test_a_name_is_resolved_once_and_the_checked_address_is_used(outbound: SafeHttpClient, names: Names) -> None:
    """DNS rebinding: the name resolves to an allowed address when checked, and to another one afterwards."""
    port = free_port()
    with serve(ok(b"outside"), port=port) as outside, serve(ok(b"inside"), host=ELSEWHERE, port=port) as inside:
        lookups = names(rebinding=[["127.0.0.1"], [ELSEWHERE]])
        assert fetch(outbound, outside.url(host="rebinding.example")) == b"outside"
        assert lookups == ["rebinding.example"]
        assert f"Host: rebinding.example:{port}".lower().encode() in outside.requests[0].lower()
        with pytest.raises(OutboundRefused):
            fetch(outbound, outside.url(host="rebinding.example"))
        assert inside.requests == []


def test_a_name_is_checked_again_on_each_redirect(outbound: SafeHttpClient, names: Names) -> None:
    port = free_port()
    with serve(redirect("/again"), port=port) as outside, serve(ok(b"inside"), host=ELSEWHERE, port=port) as inside:
        names(rebinding=[["127.0.0.1"], [ELSEWHERE]])
        with pytest.raises(OutboundRefused):
            fetch(outbound, outside.url(host="rebinding.example"))
        assert (len(outside.requests), inside.requests) == (1, [])


def test_only_allowed_addresses_of_a_name_are_tried(outbound: SafeHttpClient, names: Names) -> None:
    port = free_port()
    with serve(ok(b"outside"), port=port) as outside, serve(ok(b"inside"), host=ELSEWHERE, port=port) as inside:
        names(both=[[ELSEWHERE, "127.0.0.1", ELSEWHERE]])
        assert fetch(outbound, outside.url(host="both.example")) == b"outside"
        assert inside.requests == []


def test_the_next_address_is_tried_if_a_connection_fails(names: Names) -> None:
    outbound = SafeHttpClient(OutboundPolicy(networks=(ip_network("127.0.0.0/8"),)))
    with serve(ok(b"second")) as server:
        names(two=[["127.0.0.9", "127.0.0.1"]])
        assert fetch(outbound, server.url(host="two.example")) == b"second"


def test_a_name_without_an_address(outbound: SafeHttpClient) -> None:
    with pytest.raises(OutboundFailed, match="cannot be resolved"):
        fetch(outbound, "https://no-such-name.invalid/")


def test_a_trusted_origin_may_be_private_but_not_by_redirect() -> None:
    with serve(ok(b"output"), host=ELSEWHERE) as provider, serve(redirect(provider.url("/keys"))) as hostile:
        outbound = SafeHttpClient(LOOPBACK, trusted=(provider.url("/v1"),))
        assert fetch(outbound, provider.url("/files/1")) == b"output"
        with pytest.raises(OutboundRefused):
            fetch(outbound, hostile.url())
        with pytest.raises(OutboundRefused):
            fetch(outbound, f"http://{ELSEWHERE}:{hostile.port}/")


# Too large, too slow, malformed


def test_a_too_large_content_length_is_rejected_unread(outbound: SafeHttpClient) -> None:
    with (
        serve(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n") as server,
        pytest.raises(OutboundTooLarge, match="larger"),
    ):
        fetch(outbound, server.url())


def test_an_endless_body_is_rejected_at_the_limit(outbound: SafeHttpClient) -> None:
    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with serve(endless) as server, pytest.raises(OutboundTooLarge, match="larger than 1000000 bytes"):
        fetch(outbound, server.url())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "chunk of negative size": (CHUNKED + b"-1\r\n", b"x" * 65_536),
    "negative after a good one": (CHUNKED + b"3\r\nabc\r\n-fffff\r\n", b"x" * 65_536),
    "huge chunk": (CHUNKED + b"ffffffffff\r\n", b"x" * 65_536),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n" * 10_000),
    "chunk extensions": (CHUNKED, b"1;" + b"e" * 60_000 + b"\r\nx\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: y\r\n" * 5_000),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000),
    "other interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 2_000),
    "head": (b"HTTP/1.1 200 OK\r\n", b"X-Header: y\r\n" * 5_000),
    "line of a head": (b"HTTP/1.1 200 OK\r\nX: ", b"y" * 65_536),
    "compressed": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", b"x" * 65_536),
}


@pytest.mark.parametrize(("head", "piece"), ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_reading_an_endless_response_stops_after_a_limited_number_of_bytes(
    outbound: SafeHttpClient, monkeypatch: pytest.MonkeyPatch, method: str, head: bytes, piece: bytes
) -> None:
    taken = 0

    class Counted(socket.socket):
        def recv_into(self, *args: Any) -> int:
            nonlocal taken
            count = super().recv_into(*args)
            taken += count
            return count

    monkeypatch.setattr(bounded_socket.socket, "socket", Counted)

    def endless(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    def read(url: str) -> None:
        if method == "GET":
            sending = outbound.get(url, max_bytes=limit, limits=PATIENT)
        else:
            sending = outbound.post(url, b"{}", max_bytes=limit, limits=PATIENT)
        with sending as reply:
            if reply.status == 103:  # treated as the final response, without a body
                raise OutboundFailed
            reply.read()

    limit = 300_000
    with serve(endless) as server, pytest.raises(OutboundFailed):
        read(server.url())
    assert taken <= limit + limit // 8 + bounded_socket.MAX_FRAMING_BYTES + 65_536


def test_a_body_of_many_small_chunks_is_accepted(outbound: SafeHttpClient) -> None:
    with serve(CHUNKED + b"40\r\n" + b"x" * 64 + b"\r\n" + b"40\r\n" + b"x" * 64 + b"\r\n0\r\n\r\n") as server:
        assert fetch(outbound, server.url(), max_bytes=128) == b"x" * 128


def test_a_body_at_the_limit_is_accepted(outbound: SafeHttpClient) -> None:
    with serve(ok(b"x" * 1_000)) as server:
        assert fetch(outbound, server.url(), max_bytes=1_000) == b"x" * 1_000


def test_a_compressed_body_is_not_decoded(outbound: SafeHttpClient) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with serve(ok(bomb, "Content-Encoding: gzip")) as server, pytest.raises(OutboundFailed, match="compressed"):
        fetch(outbound, server.url())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab",
        b"",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 999999 no\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_malformed_responses(outbound: SafeHttpClient, data: bytes) -> None:
    with serve(data) as server, pytest.raises(OutboundFailed) as caught:
        fetch(outbound, server.url())
    assert "127.0.0.1" not in str(caught.value)


def drip(head: bytes, piece: bytes) -> Callable[[socket.socket, bytes], None]:
    """Send `head`, then small pieces at short intervals, so that no read times out."""

    def send(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.05)

    return send


@pytest.mark.parametrize(
    ("head", "piece"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", b"x"), (b"HTTP/1.1 200 OK\r\nX: ", b"y"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["body", "head", "interim answers"],
)
def test_a_dripping_server_hits_the_total_timeout(outbound: SafeHttpClient, head: bytes, piece: bytes) -> None:
    with serve(drip(head, piece)) as server, pytest.raises(OutboundTimeout):
        fetch(outbound, server.url(), limits=QUICK)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"], ids=["before the head", "in the body"])
def test_silence_times_out(outbound: SafeHttpClient, head: bytes) -> None:
    def silent(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        server.released.wait(20)

    with serve(silent) as server, pytest.raises(OutboundTimeout):
        fetch(outbound, server.url(), limits=QUICK)


def test_a_silent_tls_handshake_times_out(outbound: SafeHttpClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OutboundTimeout):
        fetch(outbound, f"https://127.0.0.1:{listener.getsockname()[1]}/", limits=QUICK)


def test_connection_refused(outbound: SafeHttpClient) -> None:
    with pytest.raises(OutboundFailed) as caught:
        fetch(outbound, f"http://127.0.0.1:{free_port()}/")
    assert str(caught.value) == "The address could not be reached, or the connection was lost."


def test_leaving_the_block_closes_the_connection(outbound: SafeHttpClient) -> None:
    gone: list[bytes] = []

    def watch(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(bounded_socket.READ_BYTES))
        gone.append(connection.recv(1))
        server.released.set()

    with serve(watch) as server:
        with outbound.get(server.url(), max_bytes=10**6) as reply:
            assert next(iter(reply)) == bytes(bounded_socket.READ_BYTES)
        assert server.released.wait(20)
    assert gone == [b""]


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def trusted_authority(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the system's trusted certificates those of the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
    client._tls.cache_clear()
    yield
    client._tls.cache_clear()


def test_the_certificate_is_checked_for_the_name_although_the_address_is_pinned(
    authority: Authority, trusted_authority: None, outbound: SafeHttpClient, names: Names
) -> None:
    names(store=[["127.0.0.1"]], other=[["127.0.0.1"]])
    lookups: list[str | None] = []
    tls = authority.server_context(x509.DNSName("store.example"))
    tls.sni_callback = lambda _, name, __: lookups.append(name)
    with serve(ok(b"sealed"), tls=tls) as server:
        assert fetch(outbound, server.url(scheme="https", host="store.example")) == b"sealed"
        assert lookups == ["store.example"]
        with pytest.raises(OutboundFailed, match="certificate"):
            fetch(outbound, server.url(scheme="https", host="other.example"))


def test_an_unknown_authority_is_not_trusted(authority: Authority, outbound: SafeHttpClient, tmp_path: Path) -> None:
    tls: ssl.SSLContext = Authority(tmp_path).server_context(x509.DNSName("localhost"))
    with serve(ok(b"sealed"), tls=tls) as server, pytest.raises(OutboundFailed, match="certificate"):
        fetch(outbound, server.url(scheme="https", host="localhost"))
