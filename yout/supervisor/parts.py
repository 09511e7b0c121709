"""The parts of the stack: what is started, on which port, when it is ready, and how long it may take to end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shared.settings import Settings
from yout.supervisor.embedded import local_model_arguments, valkey_arguments, valkey_log
from yout.supervisor.ports import Listener, reachable_host
from yout.supervisor.procfile import read_procfile
from yout.supervisor.ready import Check, answers, pongs

GRACE_SECONDS = 15
# Who must be gone before whom: a worker without its broker, or an edge without its database of limits, would only complain.
STOP_ORDER = ("worker", "edge", "console", "local", "valkey")


class Part(NamedTuple):
    """One process of the stack. Without `ready` it is ready as soon as it runs; `log` is a file it writes to instead of here."""

    name: str
    arguments: Sequence[str]
    listener: Listener | None
    ready: Check | None
    grace_seconds: float
    log: Path | None = None


def embedded_parts(settings: Settings, *, local_model: bool) -> list[Part]:
    """Valkey, unless REDIS_URL names another server, and the model server if wanted."""
    parts = []
    if settings.embedded_valkey:
        port = settings.valkey_port
        listener = Listener("valkey", "127.0.0.1", port, "YOUT_VALKEY_PORT")
        arguments, log = valkey_arguments(settings.data_dir, port), valkey_log(settings.data_dir)
        parts.append(Part("valkey", arguments, listener, pongs(port), GRACE_SECONDS, log))
    if local_model:
        port = settings.local_port
        listener = Listener("local", "127.0.0.1", port, "YOUT_LOCAL_PORT")
        check = answers(f"http://127.0.0.1:{port}/healthz")
        parts.append(Part("local", local_model_arguments(port), listener, check, GRACE_SECONDS))
    return parts


def procfile_parts(settings: Settings, procfile: Path) -> list[Part]:
    """The processes of the Procfile; `edge` and `console` are known to listen."""
    host = reachable_host(settings.bind_host)
    listeners = {
        "edge": Listener("edge", settings.bind_host, settings.edge_port, "YOUT_EDGE_PORT"),
        "console": Listener("console", settings.bind_host, settings.console_port, "YOUT_CONSOLE_PORT"),
    }
    checks = {
        "edge": answers(f"http://{host}:{settings.edge_port}/readyz"),
        "console": answers(f"http://{host}:{settings.console_port}/healthz"),
    }
    graces = {"edge": settings.drain_seconds + 5}
    return [
        Part(name, arguments, listeners.get(name), checks.get(name), graces.get(name, GRACE_SECONDS))
        for name, arguments in read_procfile(procfile).items()
    ]


def in_stop_order(names: Sequence[str]) -> list[str]:
    """Processes of the Procfile's own making first, then the known ones."""
    return sorted(names, key=lambda name: STOP_ORDER.index(name) if name in STOP_ORDER else -1)
