"""The project's own processes (edge, console, worker), started as an operator does: `python -m …` with an environment."""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from shared.core.settings import Settings
from tests.servers.process import ROOT, Process, dies_with_parent, start_on_free_port

SECRET_KEY = "test-secret-key-of-more-than-32-characters"
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONDEVMODE")


def environment_of(values: dict[str, Any]) -> dict[str, str]:
    """The environment variables that set these `Settings` fields."""
    variables = {item.name: item.metadata["variables"][0] for item in fields(Settings)}
    return {variables[name]: _as_text(value) for name, value in values.items()}


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


class WebProcess:
    """A process that listens on a free port, passed in the environment variable `port_variable`.

    `{port}` in a value of the environment becomes this port, for settings with the address of the process itself.
    """

    def __init__(self, module: str, port_variable: str, folder: Path, environ: Mapping[str, str], ready_path: str) -> None:
        def start(port: int) -> Process:
            values = {name: value.replace("{port}", str(port)) for name, value in environ.items()}
            return _start(module, folder, {**values, port_variable: str(port)})

        def ready(process: Process, port: int) -> bool:
            return _answers(port, ready_path)

        self.process, self.port = start_on_free_port(start, ready)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def kill(self) -> None:
        """SIGKILL, like a crash."""
        self.process.kill()

    def terminate(self) -> int:
        """Send SIGTERM, wait for the drain, and return the exit code."""
        return self.process.terminate()


def start_edge(folder: Path, environ: Mapping[str, str]) -> WebProcess:
    """`python -m edge`, ready when `/readyz` says so. `environ` holds all settings; none are inherited."""
    return WebProcess("edge", "YOUT_EDGE_PORT", folder, environ, "/readyz")


def start_console(folder: Path, environ: Mapping[str, str]) -> WebProcess:
    """`python -m console`, ready when `/healthz` answers 200."""
    return WebProcess("console", "YOUT_CONSOLE_PORT", folder, environ, "/healthz")


def start_worker(folder: Path, environ: Mapping[str, str]) -> Process:
    """`python -m workers`, ready when Dramatiq reports that its worker process accepts messages."""
    process = _start("workers", folder, environ)
    process.wait_ready(lambda: "ready for action" in process.output())
    return process


def _start(module: str, folder: Path, environ: Mapping[str, str]) -> Process:
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    settings = {"SECRET_KEY": SECRET_KEY, "YOUT_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    argv = dies_with_parent([sys.executable, "-m", module])
    number = len(list(folder.glob(f"{module}-*.log")))
    # Not started in the checkout, because a developer's .env there must not affect tests.
    return Process(module, argv, env={**inherited, **settings, **environ}, cwd=folder, log=folder / f"{module}-{number}.log")


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
