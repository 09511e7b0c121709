"""An edge loads nothing and starts no process that its calls do not need."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from httpx import Client

from tests import factories as build
from tests.edge.http_calls import WAIT_SECONDS, chat
from tests.servers.edge import WebProcess, environment_of, start_edge
from tests.servers.process import ROOT, Process
from tests.upstream import Upstream

# Libraries of 0.5 to 50 MB, and modules of ours that load them.
NOT_FOR_CALLS = {
    *("cryptography.hazmat.primitives.serialization.ssh", "email.headerregistry", "playhouse.migrations", "prometheus_client"),
    *("h2.connection", "psycopg", "wsproto"),  # SQLite needs no psycopg
    *("PIL", "authlib", "babel.messages", "dramatiq", "flask_admin", "markdown_it", "nh3", "obstore", "opentelemetry", "pika"),
    *("redis", "regex", "stripe", "tiktoken", "webauthn", "edge.web.markdown", "shared.core.redis_client", "shared.rabbitmq"),
}
REPORT_MODULES = """\
import atexit, pathlib, sys
def report():
    pathlib.Path("modules.txt").write_text("\\n".join(name for name, module in sys.modules.items() if module is not None))
atexit.register(report)
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
on_sqlite = pytest.mark.parametrize("any_database_url", ["sqlite"], indirect=True)


@pytest.fixture
def secret(bound_database: Any, upstream: Upstream) -> str:
    """A key for the model `m-1`."""
    build.model("m-1", build.channel(upstream.url))
    return build.api_key(build.account())[1]


@pytest.fixture
def edge(
    request: pytest.FixtureRequest, secret: str, any_database_url: str, redis_url: str, tmp_path: Path, processes: list[Process]
) -> WebProcess:
    """An edge that writes the names of its modules to `modules.txt` when it ends. The parameter is further settings."""
    (tmp_path / "sitecustomize.py").write_text(REPORT_MODULES)
    settings = getattr(request, "param", {})
    environ = environment_of({"database_url": any_database_url, "redis_url": redis_url, **settings})
    started = start_edge(tmp_path, {**environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"})
    processes.append(started.process)
    return started


def modules_at_exit(edge: WebProcess, folder: Path) -> set[str]:
    assert edge.terminate() == 0
    return set((folder / "modules.txt").read_text().split())


def children(edge: WebProcess) -> list[str]:
    return [
        child for task in Path(f"/proc/{edge.process.pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def count_tokens(edge: WebProcess, secret: str) -> int:
    request = Request(
        f"{edge.url}/v1/messages/count_tokens",
        json.dumps({"model": "m-1", "messages": [{"role": "user", "content": "Hello, world!"}]}).encode(),
        {"authorization": f"Bearer {secret}", "content-type": "application/json"},
    )
    with urlopen(request, timeout=WAIT_SECONDS) as response:
        return int(json.load(response)["input_tokens"])


@on_linux
@on_sqlite
def test_a_call_loads_no_library_and_starts_no_process_that_it_does_not_need(
    edge: WebProcess, secret: str, tmp_path: Path
) -> None:
    assert chat(edge, secret).status == 200
    assert children(edge) == []
    loaded = modules_at_exit(edge, tmp_path)
    assert {"quart", "edge.web.routes"} <= loaded
    assert NOT_FOR_CALLS & loaded == set()


def test_they_have_these_names() -> None:
    assert [name for name in NOT_FOR_CALLS if find_spec(name) is None] == []


@on_sqlite
@pytest.mark.parametrize("edge", [{"fast_http": False}], indirect=True)
def test_http2_is_loaded_at_its_first_connection(edge: WebProcess, tmp_path: Path) -> None:
    with Client(http1=False, http2=True, timeout=WAIT_SECONDS) as client:
        for _ in range(2):
            response = client.get(f"{edge.url}/healthz")
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
    loaded = modules_at_exit(edge, tmp_path)
    assert "h2.connection" in loaded
    assert "wsproto" not in loaded


@on_linux
@on_sqlite
def test_counting_tokens_starts_one_process(edge: WebProcess, secret: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert count_tokens(edge, secret) > 0
    [process] = children(edge)
    assert "tiktoken" not in modules_at_exit(edge, tmp_path)
    assert not Path(f"/proc/{process}").exists()


@on_linux
@on_sqlite
def test_a_process_of_the_edge_does_not_keep_its_port_open(edge: WebProcess, secret: str) -> None:
    count_tokens(edge, secret)
    [child] = children(edge)
    listening = f":{edge.port:04X} 00000000:0000 0A "  # state and port in /proc/net/tcp, see proc(5)
    [socket] = {line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if listening in line}
    assert f"socket:[{socket}]" not in {os.readlink(open_file) for open_file in Path(f"/proc/{child}/fd").iterdir()}
    assert f"socket:[{socket}]" in {os.readlink(open_file) for open_file in Path(f"/proc/{edge.process.pid}/fd").iterdir()}
