"""The embedded model server, once per module, and OpenAI's SDK connected to it."""

from collections.abc import Iterator

import openai
import pytest

from tests.embedded.embedded_server import KEY, Server, start, stop


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with the real model."""
    server = start(tmp_path_factory.mktemp("cache"))
    yield server
    assert stop(server) == 0


@pytest.fixture(scope="module")
def echo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server with demo-echo only, which starts quickly."""
    server = start(tmp_path_factory.mktemp("cache"), YOUT_LOCAL_MODEL="off")
    yield server
    assert stop(server) == 0


def _client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=120) as client:
        yield client


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK, connected directly to the server with the real model."""
    yield from _client(server)


@pytest.fixture
def echo(echo_server: Server) -> Iterator[openai.OpenAI]:
    """OpenAI's SDK, connected directly to the server without the real model."""
    yield from _client(echo_server)
