"""Which connection a request gets: reuse, stale connections, limits, expiry."""

import asyncio

import pytest

from tests.transport.http_client.raw_server import JSON_OK, Peer, RawServer, answering, answering_then_closing
from transport.http_client import ConnectFailed, ConnectionLost, FirstByteTimeout, HttpClient, HttpRequest, PoolTimeout

WAIT = 5.0  # seconds until a test fails


async def get(client: HttpClient, server: RawServer, first_byte_timeout: float = WAIT) -> bytes:
    request = HttpRequest("POST", server.url(), (), b"{}")
    response = await client.open(request, first_byte_timeout=first_byte_timeout)
    return await response.read_all(limit=100, timeout=WAIT)


async def test_sequential_calls_share_one_connection(client):
    async with RawServer(answering(JSON_OK)) as server:
        for _ in range(20):
            assert await get(client, server) == b"{}"
        assert len(server.peers) == 1


async def test_releasing_a_received_but_unread_body_keeps_the_connection(client):
    async with RawServer(answering(JSON_OK)) as server:
        request = HttpRequest("POST", server.url(), (), b"{}")
        for _ in range(3):
            response = await client.open(request, first_byte_timeout=WAIT)
            response.release()
            assert await response.read(timeout=WAIT) == b""
        assert await get(client, server) == b"{}"
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        JSON_OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        JSON_OK + b"junk",
        JSON_OK + b"H",
    ],
    ids=["close", "HTTP/1.0", "a second response", "junk", "one byte more"],
)
async def test_connections_that_must_not_be_reused(client, raw):
    async with RawServer(answering(raw)) as server:
        for _ in range(3):
            assert await get(client, server) == b"{}"
        assert len(server.peers) == 3


async def test_http_1_0_with_keep_alive_is_kept(client):
    async with RawServer(answering(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}")) as server:
        assert [await get(client, server) for _ in range(2)] == [b"{}", b"{}"]
        assert len(server.peers) == 1


async def test_bytes_on_an_idle_connection_close_it(client):
    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(JSON_OK)
            if peer.number == 0:
                await go.wait()
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
                await peer.wait_gone()

    go = asyncio.Event()
    async with RawServer(handler) as server:
        assert await get(client, server) == b"{}"
        go.set()
        await asyncio.wait_for(server.peers[0].gone.wait(), WAIT)
        assert await get(client, server) == b"{}"
        assert len(server.peers) == 2


async def test_a_response_before_the_body_was_sent_ends_the_connection(client):
    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await peer.wait_gone()

    async with RawServer(handler) as server:
        request = HttpRequest("POST", server.url(), (), bytes(32 << 20))
        response = await client.open(request, first_byte_timeout=WAIT)
        assert response.status == 413
        assert await response.read_all(limit=100, timeout=WAIT) == b"{}"
        await asyncio.wait_for(server.peers[0].gone.wait(), WAIT)


@pytest.mark.parametrize("ending", ["fin", "reset"])
async def test_a_connection_closed_while_idle_is_not_used(client, ending):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        if ending == "reset":
            await asyncio.sleep(0.02)
            peer.reset()

    async with RawServer(handler) as server:
        for _ in range(3):
            assert await get(client, server) == b"{}"
            await asyncio.sleep(0.05)
        assert len(server.peers) == 3


def closing_on_second_request(before_closing: bytes = b"", *, reset: bool = False):
    """Makes a stale keep-alive connection certain: the server reads the second request and closes."""

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        if await peer.request() is not None:
            await peer.send(before_closing)
            await asyncio.sleep(0.02)
            if reset:
                peer.reset()

    return handler


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
async def test_a_stale_connection_is_replaced_silently(client, reset):
    async with RawServer(closing_on_second_request(reset=reset)) as server:
        assert [await get(client, server) for _ in range(3)] == [b"{}"] * 3
        assert len(server.peers) == 3


@pytest.mark.parametrize("seen", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_no_retry_once_a_byte_of_the_response_was_seen(client, seen):
    async with RawServer(closing_on_second_request(seen)) as server:
        assert await get(client, server) == b"{}"
        with pytest.raises(ConnectionLost) as caught:
            await get(client, server)
        assert caught.value.response_started
        assert len(server.peers) == 1


async def test_no_retry_after_a_timeout(client):
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        await peer.wait_gone()

    async with RawServer(handler) as server:
        assert await get(client, server) == b"{}"
        with pytest.raises(FirstByteTimeout):
            await get(client, server, first_byte_timeout=0.1)
        assert len(server.peers) == 1


async def test_a_replacement_is_not_retried_again(client):
    async def handler(peer: Peer) -> None:
        await peer.request()
        if peer.number == 0:
            await peer.send(JSON_OK)
            await peer.request()

    async with RawServer(handler) as server:
        assert await get(client, server) == b"{}"
        with pytest.raises(ConnectionLost) as caught:
            await get(client, server)
        assert not caught.value.retry_safe
        assert len(server.peers) == 2


async def test_a_replacement_that_cannot_connect_frees_its_slot():
    client = HttpClient(max_connections_per_origin=1)

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        await peer.request()
        server.stop_listening()

    async with RawServer(handler) as server:
        assert await get(client, server) == b"{}"
        for _ in range(2):
            with pytest.raises(ConnectFailed, match="no connection to"):
                await get(client, server)
    await client.close()


def answering_slowly(gate: asyncio.Event):
    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            await gate.wait()
            await peer.send(JSON_OK)

    return handler


async def test_callers_beyond_the_limit_queue():
    client = HttpClient(max_connections_per_origin=2)
    gate = asyncio.Event()
    finished: list[int] = []

    async def call(number: int) -> None:
        await get(client, server)
        finished.append(number)

    async with RawServer(answering_slowly(gate)) as server:
        async with asyncio.timeout(WAIT), asyncio.TaskGroup() as group:
            for number in range(10):
                group.create_task(call(number))
            await server.wait_for_peers(2)
            await asyncio.sleep(0.05)  # a third connection would arrive in this time
            assert len(server.peers) == 2
            gate.set()
        assert len(server.peers) == 2
        assert sorted(finished) == list(range(10))
        assert {0, 1} == set(finished[:2])
        assert {8, 9} == set(finished[-2:])
        await client.close()


async def test_no_free_connection_in_time():
    client = HttpClient(max_connections_per_origin=1, connect_timeout=0.1)
    gate = asyncio.Event()
    async with RawServer(answering_slowly(gate)) as server:
        first = asyncio.create_task(get(client, server))
        await asyncio.wait_for(server.connected.wait(), WAIT)
        with pytest.raises(PoolTimeout, match="all 1 connections") as caught:
            await get(client, server)
        assert caught.value.retry_safe
        gate.set()
        assert await first == b"{}"
        assert await get(client, server) == b"{}", "the slot of the caller that gave up must be free again"
        await client.close()


async def test_no_slot_is_lost_when_callers_are_cancelled():
    client = HttpClient(max_connections_per_origin=2)
    gate = asyncio.Event()
    async with RawServer(answering_slowly(gate)) as server:
        for turns in range(40):
            tasks = [asyncio.create_task(get(client, server)) for _ in range(4)]
            if turns % 2:
                gate.set()
            for _ in range(turns // 2):
                await asyncio.sleep(0)
            for task in tasks[turns % 3 :]:
                task.cancel()
            gate.set()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), WAIT)
            gate.clear()
        gate.set()
        both = await asyncio.wait_for(asyncio.gather(get(client, server), get(client, server)), WAIT)
        assert both == [b"{}", b"{}"]
        await client.close()


async def test_origins_do_not_share_connections(client):
    async with RawServer(answering(JSON_OK)) as one, RawServer(answering(JSON_OK)) as other:
        for _ in range(2):
            assert await get(client, one) == await get(client, other) == b"{}"
        assert len(one.peers) == len(other.peers) == 1


async def test_idle_connections_expire():
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(JSON_OK)
        await peer.wait_gone()

    client = HttpClient(idle_timeout=0.1)
    async with RawServer(handler) as server:
        assert await get(client, server) == b"{}"
        await asyncio.wait_for(server.peers[0].gone.wait(), WAIT)
        assert await get(client, server) == b"{}"
        assert len(server.peers) == 2
        await client.close()


async def test_idle_connections_are_limited_and_reused_last_in_first_out():
    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(JSON_OK)
        peer.gone.set()

    client = HttpClient(max_idle_per_origin=2)
    async with RawServer(handler) as server:
        request = HttpRequest("POST", server.url(), (), b"{}")
        responses = [await client.open(request, first_byte_timeout=WAIT) for _ in range(3)]
        for response in responses:
            response.release()
        await asyncio.wait_for(server.peers[2].gone.wait(), WAIT)
        assert not server.peers[0].gone.is_set()
        await get(client, server)
        server.peers[1].reset()  # the most recently used: its loss must only show on the next call
        await asyncio.sleep(0.05)
        assert await get(client, server) == b"{}"
        assert len(server.peers) == 3
        await client.close()


async def test_the_server_may_close_after_every_response(client):
    async with RawServer(answering_then_closing(JSON_OK)) as server:
        for _ in range(10):
            assert await get(client, server) == b"{}"
