"""The benchmark kit, built in a folder of its own: a mock upstream and a load client in C, and wrk's script."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.servers.process import Process, dies_with_parent, start_on_free_port

CHUNKS = 64  # events with text in each stream
FILES = ("Makefile", "mock.c", "sseload.c", "post.lua", "peers/nginx.conf", "peers/litellm.yaml")
PROGRAMS = ("cc", "make", "wrk", "taskset")
PATH = "/v1/chat/completions"
DRAIN_SECONDS = 5  # after the end of a test, for streams under way; a slow one takes 3.2 s from its start
MODEL = "gpt-4o-mini"
_MESSAGES = [{"role": "user", "content": "Say something about gateways, please."}]
JSON_BODY = json.dumps({"model": MODEL, "messages": _MESSAGES}).encode()
STREAM_BODY = json.dumps(
    {"model": MODEL, "messages": _MESSAGES, "stream": True, "stream_options": {"include_usage": True}}
).encode()


def call(port: int, method: str, path: str, body: bytes | None = None, key: str = "", seconds: float = 20) -> tuple[int, bytes]:
    """One HTTP call to this machine: the status and the body. Raises `OSError` or `HTTPException` when nobody answers."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Mock:
    """The running mock upstream."""

    def __init__(self, folder: Path) -> None:
        def start(port: int) -> Process:
            argv = dies_with_parent([str(folder / "mock"), str(port)])
            return Process("mock upstream", argv, env=os.environ, cwd=folder, log=folder / "mock.log")

        self.process, self.port = start_on_free_port(start, lambda _process, port: _listens(port))

    def set(self, latency_ms: int = 0, delay_ms: int = 0) -> None:
        """How long it waits before an answer, and before each event of a stream."""
        call(self.port, "GET", f"/__mock/set?latency_ms={latency_ms}&delay_ms={delay_ms}&chunks={CHUNKS}")

    def served(self) -> int:
        """How many answers and streams it has begun so far."""
        stats = json.loads(call(self.port, "GET", "/__mock/stats")[1])
        return int(stats["json"]) + int(stats["streams"])


class Kit:
    """A copy of the kit from `source`, built in `folder`.

    Raises `SystemExit` when a file or a program is missing, or it does not build.
    """

    def __init__(self, source: Path, folder: Path) -> None:
        missing = [name for name in FILES if not (source / name).is_file()]
        if missing:
            raise SystemExit(
                f"{source} is no benchmark kit: it has no {', '.join(missing)}. bench/README.md says what is needed."
            )
        absent = [program for program in PROGRAMS if shutil.which(program) is None]
        if absent:
            raise SystemExit(f"Not installed: {', '.join(absent)}; `apt-get install gcc make wrk util-linux` does.")
        (folder / "peers").mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(source / name, folder / name)
        built = subprocess.run(["make", "-s", "all"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        if built.returncode:
            raise SystemExit(f"The benchmark kit could not be built:\n{built.stdout}{built.stderr}")
        (folder / "json.body").write_bytes(JSON_BODY)
        (folder / "stream.body").write_bytes(STREAM_BODY)
        self.folder = folder

    def template(self, name: str, **values: str) -> str:
        """A peer's configuration with `@NAME@` replaced by `values["NAME"]`."""
        text = (self.folder / "peers" / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", value)
        return text

    def start_json_load(self, port: int, key: str, connections: int, seconds: float) -> subprocess.Popen[str]:
        """wrk, one thread, each connection sending its next call when the last is answered."""
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{round(seconds)}s", "--timeout", "30s", "-s", "post.lua"]
        return self._start([*argv, f"http://127.0.0.1:{port}{PATH}"], BENCH_BODY="json.body", BENCH_KEY=key, BENCH_HEADERS="")

    def start_stream_load(self, port: int, key: str, streams: int, seconds: float, ramp_ms: int) -> subprocess.Popen[str]:
        """`streams` streams at once, the first ones begun over `ramp_ms`."""
        argv = ["./sseload", "-h", "127.0.0.1", "-p", str(port), "-u", PATH, "-k", key, "-b", "stream.body", "-s"]
        return self._start(
            [*argv, "-c", str(streams), "-d", str(seconds), "-r", str(ramp_ms), "-n", str(CHUNKS), "-w", str(DRAIN_SECONDS)]
        )

    def _start(self, argv: Sequence[str], **environ: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(dies_with_parent(argv), cwd=self.folder, env={**os.environ, **environ}, text=True, **pipes)


def figures(output: str) -> dict[str, Any]:
    """The figures in a load client's output: its line that is a JSON object, with or without `JSON` before it.

    Raises `ValueError` when there is none.
    """
    for line in output.splitlines():
        line = line.removeprefix("JSON ")
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise ValueError(f"the load client printed no figures: {output[-500:]!r}")


def _listens(port: int) -> bool:
    try:
        return call(port, "GET", "/__mock/stats", seconds=2)[0] == 200
    except (OSError, http.client.HTTPException):
        return False
