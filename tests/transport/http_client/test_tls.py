"""TLS to an upstream: which certificates are trusted, the offered protocols, and how failures are reported."""

import asyncio
import ipaddress
import ssl

import pytest
from cryptography import x509

from tests.servers.authority import Authority
from tests.transport.http_client.raw_server import JSON_OK, Peer, RawServer, answering
from transport.http_client import ConnectFailed, HttpClient, HttpRequest

WAIT = 5.0  # seconds until a test fails


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def server_side(authority: Authority) -> ssl.SSLContext:
    address = ipaddress.ip_address("127.0.0.1")
    return authority.server_context(x509.DNSName("localhost"), x509.IPAddress(address))


@pytest.fixture
def trusting_client(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


def get(url: str) -> HttpRequest:
    return HttpRequest("GET", url, (), b"")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_trusted_upstream_is_called_and_kept_alive(server_side, trusting_client, host):
    async def handler(peer: Peer) -> None:
        protocols.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await answering(JSON_OK)(peer)

    protocols: list[str] = []
    client = HttpClient(ssl_context=trusting_client)
    async with RawServer(handler, server_side) as server:
        for _ in range(3):
            response = await client.open(get(server.url(scheme="https", host=host)), first_byte_timeout=WAIT)
            assert await response.read_all(limit=10, timeout=WAIT) == b"{}"
        assert protocols == ["http/1.1"]
        await client.close()


async def test_large_bodies_cross_tls_both_ways(server_side, trusting_client):
    async def echo(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        body = request.partition(b"\r\n\r\n")[2]
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)

    client = HttpClient(ssl_context=trusting_client)
    body = bytes(range(256)) * 8192
    async with RawServer(echo, server_side) as server:
        request = HttpRequest("POST", server.url(scheme="https"), (), body)
        response = await client.open(request, first_byte_timeout=WAIT)
        assert await response.read_all(limit=len(body), timeout=WAIT) == body
        await client.close()


async def test_a_cancelled_first_caller_does_not_break_the_next(server_side, trusting_client):
    client = HttpClient(ssl_context=trusting_client)
    client.prepare_tls()
    async with RawServer(answering(JSON_OK), server_side) as server:
        request = get(server.url(scheme="https"))
        first = asyncio.create_task(client.open(request, first_byte_timeout=WAIT))
        await asyncio.sleep(0)  # it begins, and waits for the context
        first.cancel()
        response = await client.open(request, first_byte_timeout=WAIT)
        assert await response.read_all(limit=10, timeout=WAIT) == b"{}"
        assert first.cancelled()
        await client.close()


async def test_untrusted_certificate(server_side):
    client = HttpClient()
    async with RawServer(answering(JSON_OK), server_side) as server:
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await client.open(get(server.url(scheme="https")), first_byte_timeout=WAIT)
        assert caught.value.retry_safe
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
        await client.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_certificate_of_another_name(authority, trusting_client, host):
    client = HttpClient(ssl_context=trusting_client)
    elsewhere = authority.server_context(x509.DNSName("elsewhere.example"))
    async with RawServer(answering(JSON_OK), elsewhere) as server:
        with pytest.raises(ConnectFailed, match="not valid for"):
            await client.open(get(server.url(scheme="https", host=host)), first_byte_timeout=WAIT)
        await client.close()


async def test_upstream_without_tls(trusting_client):
    async def plain(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    client = HttpClient(ssl_context=trusting_client)
    async with RawServer(plain) as server:
        with pytest.raises(ConnectFailed, match="no connection to"):
            await client.open(get(server.url(scheme="https")), first_byte_timeout=WAIT)
        await client.close()


async def test_cancel_reaches_a_tls_upstream(server_side, trusting_client):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await peer.wait_gone()

    client = HttpClient(ssl_context=trusting_client)
    async with RawServer(handler, server_side) as server:
        response = await client.open(get(server.url(scheme="https")), first_byte_timeout=WAIT)
        assert await response.read(timeout=WAIT) == b"abc"
        response.cancel()
        await asyncio.wait_for(server.peers[0].gone.wait(), WAIT)
        await client.close()


async def test_stale_tls_connection_is_replaced(server_side, trusting_client):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        await peer.request()

    client = HttpClient(ssl_context=trusting_client)
    async with RawServer(handler, server_side) as server:
        for _ in range(3):
            response = await client.open(get(server.url(scheme="https")), first_byte_timeout=WAIT)
            assert await response.read_all(limit=10, timeout=WAIT) == b"{}"
        assert len(server.peers) == 3
        await client.close()
