"""The mock upstream and the load client of the benchmarks: two small C programs, compiled when a benchmark starts.

Both run on one core and are several times faster than any gateway measured with them. `cc` compiles them in a temporary folder.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.servers.process import Process, dies_with_parent, start_on_free_port

CHUNKS = 64  # text chunks per stream
COMPLETIONS_PATH = "/v1/chat/completions"
MODEL = "gpt-4o-mini"
_MESSAGES = [{"role": "user", "content": "Say something about gateways, please."}]
JSON_BODY = json.dumps({"model": MODEL, "messages": _MESSAGES}).encode()
STREAM_BODY = json.dumps(
    {"model": MODEL, "messages": _MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
).encode()
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_SOURCES = Path(__file__).parent
_PROGRAMS = ("mock_upstream", "load_client")
_BUILD_SECONDS = 120


def build(folder: Path) -> None:
    """Compile both programs into `folder`. Raises `SystemExit` if there is no C compiler or a program does not compile."""
    if shutil.which("cc") is None:
        raise SystemExit("No C compiler: install one with `apt-get install gcc libc6-dev`.")
    for name in _PROGRAMS:
        argv = ["cc", "-O2", "-Wall", "-Wno-format-truncation", "-o", str(folder / name), str(_SOURCES / f"{name}.c")]
        built = subprocess.run(argv, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
        if built.returncode:
            raise SystemExit(f"{name}.c does not compile:\n{built.stdout}{built.stderr}")


def call(
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    key: str = "",
    seconds: float = 20,
    more_headers: Mapping[str, str] = NO_HEADERS,
) -> tuple[int, bytes]:
    """Make one HTTP call to this machine and return status and body. Raises `OSError` or `HTTPException` on failure."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {}), **more_headers}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class MockUpstream:
    """A running mock upstream, from the programs that `build` put into `folder`."""

    def __init__(self, folder: Path) -> None:
        def start(port: int) -> Process:
            argv = dies_with_parent([str(folder / "mock_upstream"), str(port)])
            return Process("mock upstream", argv, env=os.environ, cwd=folder, log=folder / "mock_upstream.log")

        self.process, self.port = start_on_free_port(start, lambda _process, port: _listens(port))

    def configure(self, latency_ms: int = 0, delay_ms: int = 0) -> None:
        """Set the delay before each answer, and the delay before each chunk of a stream."""
        call(self.port, "GET", f"/settings?latency_ms={latency_ms}&delay_ms={delay_ms}&chunks={CHUNKS}")

    def answers(self) -> int:
        """Return the number of answers started so far, plain and streamed."""
        stats = json.loads(call(self.port, "GET", "/stats")[1])
        return int(stats["completions"]) + int(stats["streams"])


class Load:
    """The requests and the duration of a load client. Times are in seconds, except `ramp_ms`."""

    def __init__(
        self,
        connections: int,
        seconds: float,
        *,
        stream: bool = False,
        ramp_ms: int = 0,
        drain_seconds: float = 5,
        chunks: int = CHUNKS,
    ) -> None:
        self.seconds = seconds
        self.stream = stream
        self._options = {
            "connections": connections,
            "seconds": seconds,
            "ramp-ms": ramp_ms,
            "drain-seconds": drain_seconds,
            "chunks": chunks,
        }

    def start(
        self,
        folder: Path,
        port: int,
        key: str = "",
        path: str = COMPLETIONS_PATH,
        core: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> subprocess.Popen[str]:
        """Start the client that `build` put into `folder`. It prints one JSON object, which `figures` reads."""
        body = folder / ("stream.body" if self.stream else "json.body")
        body.write_bytes(STREAM_BODY if self.stream else JSON_BODY)
        argv = [str(folder / "load_client"), "--port", str(port), "--path", path, "--key", key, "--body", str(body)]
        argv += [word for name, value in self._options.items() for word in (f"--{name}", str(value))]
        argv += [word for name, value in headers.items() for word in ("--header", f"{name}: {value}")]
        argv += ["--stream"] if self.stream else []
        pinned = argv if core is None else ["taskset", "-c", str(core), *argv]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(dies_with_parent(pinned), text=True, **pipes)


def figures(output: str) -> dict[str, Any]:
    """Return the figures that a load client printed. Raises `ValueError` if there are none."""
    for line in output.splitlines():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise ValueError(f"the load client printed no figures: {output[-500:]!r}")


def _listens(port: int) -> bool:
    try:
        return call(port, "GET", "/stats", seconds=2)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
