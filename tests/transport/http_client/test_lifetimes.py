"""Timeouts, cancellation, resets, back-pressure, and closing the client."""

import asyncio

import pytest

from tests.transport.http_client.raw_server import JSON_OK, Peer, RawServer, answering
from transport.http_client import (
    ConnectFailed,
    ConnectionLost,
    ConnectTimeout,
    FirstByteTimeout,
    HttpClient,
    HttpRequest,
    ReadTimeout,
)

WAIT = 5.0  # seconds until a test fails
HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"


def sending_then_waiting(*pieces: bytes):
    """Respond to a request with these pieces, then wait until the client disconnects."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)
        await peer.wait_gone()

    return handler


async def until_gone(server: RawServer) -> None:
    await asyncio.wait_for(server.connected.wait(), WAIT)
    await asyncio.wait_for(server.peers[-1].gone.wait(), WAIT)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nx: y\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_missing_head_times_out(fetch, sent):
    async with RawServer(sending_then_waiting(sent)) as server:
        with pytest.raises(FirstByteTimeout) as caught:
            await fetch(server.url(), first_byte_timeout=0.1)
        assert not caught.value.retry_safe
        await until_gone(server)


async def test_a_stalled_body_times_out(fetch):
    async with RawServer(sending_then_waiting(HEAD + b"abc")) as server:
        response = await fetch(server.url())
        assert await response.read(timeout=WAIT) == b"abc"
        with pytest.raises(ReadTimeout):
            await response.read(timeout=0.05)
        with pytest.raises(ConnectionLost, match="cancelled"):
            await response.read(timeout=WAIT)
        await until_gone(server)


async def test_a_stalled_close_delimited_body_is_not_complete(fetch):
    async with RawServer(sending_then_waiting(b"HTTP/1.1 200 OK\r\n\r\nabc")) as server:
        response = await fetch(server.url())
        with pytest.raises(ReadTimeout):
            await response.read_all(limit=100, timeout=0.1)
        await until_gone(server)


async def test_read_all_limits_the_time_of_the_whole_body(fetch):
    async def drip(peer: Peer) -> None:
        await peer.request()
        await peer.send(HEAD)
        while not peer.reader.at_eof():
            await peer.send(b"x")
            await asyncio.sleep(0.02)

    async with RawServer(drip) as server:
        response = await fetch(server.url())
        with pytest.raises(ReadTimeout):
            await response.read_all(limit=1000, timeout=0.2)


async def test_an_earlier_deadline_overtakes_a_later_one(fetch):
    async with RawServer(sending_then_waiting(b"")) as server:
        slow = asyncio.create_task(fetch(server.url(), first_byte_timeout=60))
        await asyncio.wait_for(server.connected.wait(), WAIT)
        with pytest.raises(FirstByteTimeout):
            await fetch(server.url(), first_byte_timeout=0.05)
        assert not slow.done()
        slow.cancel()
        await asyncio.gather(slow, return_exceptions=True)


async def test_cancelling_open_closes_the_socket(fetch):
    async with RawServer(sending_then_waiting()) as server:
        task = asyncio.create_task(fetch(server.url()))
        await asyncio.wait_for(server.connected.wait(), WAIT)
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(server)


async def test_cancelling_read_closes_the_socket(fetch):
    async with RawServer(sending_then_waiting(HEAD)) as server:
        response = await fetch(server.url())
        task = asyncio.create_task(response.read(timeout=60))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until_gone(server)


@pytest.mark.parametrize("ending", ["cancel", "release"])
async def test_leaving_mid_body_closes_the_socket(fetch, ending):
    async with RawServer(sending_then_waiting(HEAD + b"abc")) as server:
        response = await fetch(server.url())
        for _ in range(2):
            getattr(response, ending)()
        await until_gone(server)


async def test_cancel_wakes_a_waiting_reader(fetch):
    async with RawServer(sending_then_waiting(HEAD)) as server:
        response = await fetch(server.url())
        task = asyncio.create_task(response.read(timeout=60))
        await asyncio.sleep(0.02)
        response.cancel()
        with pytest.raises(ConnectionLost):
            await task
        await until_gone(server)


async def test_cancel_after_the_end_leaves_the_connection_to_its_next_user(fetch):
    async with RawServer(answering(JSON_OK)) as server:
        first = await fetch(server.url())
        await first.read_all(limit=10, timeout=WAIT)
        second = await fetch(server.url())
        first.cancel()
        assert await second.read_all(limit=10, timeout=WAIT) == b"{}"
        assert len(server.peers) == 1


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 2"])
async def test_reset_before_a_head(fetch, sent):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await asyncio.sleep(0.05)
        peer.reset()

    async with RawServer(handler) as server:
        with pytest.raises(ConnectionLost) as caught:
            await fetch(server.url())
        assert caught.value.sent
        assert not caught.value.retry_safe
        assert caught.value.response_started == bool(sent)
        assert len(server.peers) == 1


async def test_connection_refused(fetch):
    async with RawServer(answering(JSON_OK)) as server:
        url = server.url()
    with pytest.raises(ConnectFailed, match=r"no connection to 127\.0\.0\.1") as caught:
        await fetch(url)
    assert caught.value.retry_safe


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example"])
async def test_name_does_not_resolve(fetch, host):
    with pytest.raises(ConnectFailed, match="no connection to"):
        await fetch(f"http://{host}/")


async def test_a_slow_connect_times_out():
    async def silent(peer: Peer) -> None:
        await peer.wait_gone()  # never answers the TLS ClientHello

    client = HttpClient(connect_timeout=0.1)
    async with RawServer(silent) as server:
        with pytest.raises(ConnectTimeout, match=r"within 0\.1 s"):
            await client.open(HttpRequest("GET", server.url(scheme="https"), (), b""), first_byte_timeout=WAIT)
        await until_gone(server)
        await client.close()


async def test_a_stalled_reader_stalls_the_upstream(fetch):
    sent = 0

    async def flood(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (megabytes << 20))
        for _ in range(megabytes):
            await peer.send(bytes(1 << 20))
            sent += 1

    megabytes = 64
    async with RawServer(flood) as server:
        response = await fetch(server.url())
        before = -1
        while before != sent:  # until the sockets are full and no more data moves
            before = sent
            await asyncio.sleep(0.1)
        assert sent < megabytes // 2
        first = await response.read(timeout=WAIT)
        assert len(first) < 2 << 20, "buffering in this process must be bounded"
        rest = await response.read_all(limit=megabytes << 20, timeout=30)
        assert len(first) + len(rest) == megabytes << 20


async def test_closing_the_client_ends_all_requests():
    client = HttpClient(max_connections_per_origin=2)
    async with RawServer(sending_then_waiting(HEAD)) as server:
        request = HttpRequest("GET", server.url(), (), b"")
        reading = await client.open(request, first_byte_timeout=WAIT)
        other = await client.open(request, first_byte_timeout=WAIT)
        reader = asyncio.create_task(reading.read(timeout=60))
        waiter = asyncio.create_task(client.open(request, first_byte_timeout=WAIT))
        await asyncio.sleep(0.02)
        await client.close()
        await client.close()
        with pytest.raises(ConnectionLost):
            await reader
        with pytest.raises(ConnectFailed, match="closed"):
            await waiter
        with pytest.raises(ConnectionLost):
            await other.read(timeout=WAIT)
        with pytest.raises(RuntimeError, match="closed"):
            await client.open(request, first_byte_timeout=WAIT)
        await until_gone(server)


async def test_closing_the_client_is_not_mistaken_for_a_stale_connection(client, fetch):
    async def answer_once(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        await peer.wait_gone()

    async with RawServer(answer_once) as server:
        await (await fetch(server.url())).read_all(limit=10, timeout=WAIT)
        task = asyncio.create_task(fetch(server.url()))
        await asyncio.sleep(0.02)
        await client.close()
        with pytest.raises(ConnectionLost):
            await task
        assert len(server.peers) == 1
