"""Edges and workers that a proof starts alongside the deployed ones, with the same settings and ports of their own."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from shared.core.errors import YoutError
from shared.models import EdgeProcess
from yout.supervisor.process import Child
from yout.supervisor.ready import http_ready

READY_SECONDS = 120
_WORKER_READY = "ready for action"  # printed by Dramatiq


class ProcessFailed(YoutError):
    """A process of the proof exited, or did not become ready in time."""


class ProofProcess:
    """A started process. Its output is written to `log`."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        self._module, self._environment = module, environment
        self._ready_line = threading.Event()
        self.start()

    def start(self) -> None:
        """Start it, or start it again after it has exited."""
        self._ready_line.clear()
        output = self.log.open("a", encoding="utf-8")

        def show(_: str, line: str) -> None:
            output.write(line + "\n")
            output.flush()
            if _WORKER_READY in line:
                self._ready_line.set()

        self._child = Child(self.name, [sys.executable, "-m", self._module], show, self._environment, output.close)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.exit_code() is None

    def missing(self) -> str | None:
        """Return None if it is ready, else what is missing: a worker must accept jobs."""
        return None if self._ready_line.is_set() else "it accepts no jobs"

    def is_ready(self) -> bool:
        """Return whether it is ready. Raises `ProcessFailed` if it has exited."""
        reason = self.missing()
        code = self._child.exit_code()
        if code is not None:
            raise ProcessFailed(f"The {self.name} that the command started exited with code {code}: {self._last_line()}")
        return reason is None

    def wait_ready(self) -> None:
        """Wait until it is ready. Raises `ProcessFailed`."""
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise ProcessFailed(f"The {self.name} that the command started is not ready: {self.missing()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """Send SIGKILL, like a crash."""
        self._child.kill()

    def stop(self, seconds: float) -> bool:
        """Send SIGTERM, and SIGKILL after `seconds`. Returns whether it exited by itself."""
        return self._child.stop(seconds, lambda: False)

    def _last_line(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1][:500] if lines else "no output"


class ProofEdge(ProofProcess):
    """An edge on a free port of loopback."""

    def __init__(self, number: int, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = {"YOUT_EDGE_PORT": str(self.port), "YOUT_BIND_HOST": "127.0.0.1", "YOUT_EDGE_WORKERS": "1"}
        super().__init__("edge", "edge", {**own, **(environment or {})}, folder / f"edge-{number}.log")

    def missing(self) -> str | None:
        return http_ready(f"{self.url}/readyz")()

    def unregister(self) -> None:
        """Delete the rows of its dead processes, so that the next sweep expires their holds without waiting for a heartbeat."""
        own = (EdgeProcess.host == socket.gethostname()[:255]) & (EdgeProcess.pid == self.pid)
        EdgeProcess.delete().where(own).execute()


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def child_environment() -> dict[str, str]:
    """Return environment variables for started processes: JSON logs, unless a format is set."""
    return {"YOUT_LOG_FORMAT": "json"} if "YOUT_LOG_FORMAT" not in os.environ else {}
