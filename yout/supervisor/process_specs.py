"""The processes of the stack, with their ports, readiness checks and stop timeouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shared.core.settings import Settings
from yout.supervisor.embedded import local_model_arguments, valkey_arguments, valkey_log, valkey_socket
from yout.supervisor.ports import Listener, reachable_host
from yout.supervisor.procfile import read_procfile
from yout.supervisor.ready import Check, http_ready, models_loaded, redis_ready

GRACE_SECONDS = 15
# Clients stop before their servers: a worker without its broker, or an edge without Redis, would only log errors.
STOP_ORDER = ("worker", "web", "console", "local", "valkey")


class ProcessSpec(NamedTuple):
    """A process of the stack. Without `ready` it is ready as soon as it runs; `log` is the file that it logs to, if any."""

    name: str
    arguments: Sequence[str]
    listener: Listener | None
    ready: Check | None
    grace_seconds: float
    log: Path | None = None


def embedded_processes(settings: Settings, *, local_model: bool) -> list[ProcessSpec]:
    """Return Valkey, unless REDIS_URL names another server, and the model server if enabled."""
    parts = []
    if settings.embedded_valkey:
        arguments, log = valkey_arguments(settings.data_dir), valkey_log(settings.data_dir)
        parts.append(ProcessSpec("valkey", arguments, None, redis_ready(valkey_socket(settings.data_dir)), GRACE_SECONDS, log))
    if local_model:
        port = settings.local_port
        listener = Listener("the embedded model server", "127.0.0.1", port, "YOUT_LOCAL_PORT")
        check = models_loaded(local_health_url(settings))
        parts.append(ProcessSpec("local", local_model_arguments(port), listener, check, GRACE_SECONDS))
    return parts


def local_health_url(settings: Settings) -> str:
    """Return the health URL of the embedded model server."""
    return f"http://127.0.0.1:{settings.local_port}/healthz"


def procfile_processes(settings: Settings, procfile: Path) -> list[ProcessSpec]:
    """Return the processes of the Procfile; `web` (the edge) and `console` have a readiness check."""
    host = reachable_host(settings.bind_host)
    listeners = {
        "web": Listener("the edge", settings.bind_host, settings.edge_port, "YOUT_EDGE_PORT"),
        "console": Listener("the console", settings.bind_host, settings.console_port, "YOUT_CONSOLE_PORT"),
    }
    checks = {
        "web": http_ready(f"http://{host}:{settings.edge_port}/readyz"),
        "console": http_ready(f"http://{host}:{settings.console_port}/healthz"),
    }
    graces = {"web": settings.drain_seconds + 5}
    return [
        ProcessSpec(name, arguments, listeners.get(name), checks.get(name), graces.get(name, GRACE_SECONDS))
        for name, arguments in read_procfile(procfile).items()
    ]


def sort_for_stopping(names: Sequence[str]) -> list[str]:
    """Sort names for stopping: processes that only the Procfile defines first, then the known ones."""
    return sorted(names, key=lambda name: STOP_ORDER.index(name) if name in STOP_ORDER else -1)
