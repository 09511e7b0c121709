"""Every test here runs on both event loops: the edge uses uvloop and falls back to asyncio's own loop."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop

from transport.http_client import HttpClient, HttpRequest, HttpResponse

Fetch = Callable[..., Awaitable[HttpResponse]]


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient()
    yield client
    await client.close()


@pytest.fixture
def fetch(client: HttpClient) -> Fetch:
    """Open a POST with a small body through `client`."""

    async def fetch(url: str, *, method: str = "POST", body: bytes = b"{}", first_byte_timeout: float = 5.0) -> HttpResponse:
        request = HttpRequest(method, url, (("authorization", "Bearer k"),), body)
        return await client.open(request, first_byte_timeout=first_byte_timeout)

    return fetch
