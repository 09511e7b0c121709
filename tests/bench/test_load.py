"""The mock upstream and the load client of the benchmarks."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.load import COMPLETIONS_PATH, STREAM_BODY, Load, MockUpstream, build, call, figures

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("load")
    build(path)
    return path


@pytest.fixture
def upstream(folder: Path) -> Iterator[MockUpstream]:
    mock = MockUpstream(folder)
    yield mock
    mock.process.kill()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_client_and_upstream_count_the_same_answers(folder: Path, upstream: MockUpstream, stream: bool) -> None:
    with Load(4, 0.3, stream=stream, drain_seconds=30).start(folder, upstream.port) as client:
        output, errors = client.communicate(timeout=60)
    result = figures(output + errors)
    assert result["good"] == upstream.answers() > 0
    assert (result["bad"], result["unfinished"]) == (0, 0)
    assert result["chunks"] == (64 * result["good"] if stream else 0)
    assert result["latency_ms"]["count"] == result["good"]


def test_short_stream_is_bad(folder: Path, upstream: MockUpstream) -> None:
    with Load(1, 0.1, stream=True, chunks=65).start(folder, upstream.port) as client:
        output, errors = client.communicate(timeout=60)
    result = figures(output + errors)
    assert result["good"] == 0
    assert result["bad"] == result["bad_body"] > 0


def test_errors_are_bad(folder: Path, upstream: MockUpstream) -> None:
    with Load(1, 0.1).start(folder, upstream.port, path="/elsewhere") as client:
        output, errors = client.communicate(timeout=60)
    result = figures(output + errors)
    assert result["good"] == 0
    assert result["bad"] == result["bad_status"] > 0


def test_delays_apply_to_answer_and_chunks(folder: Path, upstream: MockUpstream) -> None:
    upstream.configure(latency_ms=200, delay_ms=2)
    with Load(2, 0.1, stream=True, drain_seconds=60).start(folder, upstream.port) as client:
        output, errors = client.communicate(timeout=90)
    result = figures(output + errors)
    assert result["good"] == 2
    assert result["first_token_ms"]["p50"] >= 200
    assert result["latency_ms"]["p50"] >= 200 + 63 * 2


def test_stream_ends_with_usage_and_done(upstream: MockUpstream) -> None:
    status, body = call(upstream.port, "POST", COMPLETIONS_PATH, STREAM_BODY)
    events = body.decode().split("\n\n")
    assert status == 200
    assert events[-2:] == ["data: [DONE]", ""]
    assert '"completion_tokens":64' in events[-3]


def test_headers_are_sent_with_every_request(folder: Path) -> None:
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            seen.append(self.headers["x-portkey-provider"])
            self.send_response(404)
            self.send_header("content-length", "0")
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Load(1, 0.1).start(folder, server.server_port, headers={"x-other": "1", "x-portkey-provider": "openai"}) as client:
            client.communicate(timeout=60)
        server.shutdown()
    assert set(seen) == {"openai"}
