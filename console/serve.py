"""Serving: one gunicorn worker with a few threads. Staff are few; what counts is that it starts and stops promptly."""

from __future__ import annotations

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from console.app import create_app
from shared.database import bind, open_database
from shared.schema import require_current
from shared.settings import Settings

THREADS = 8
STOP_SECONDS = 2  # pages take milliseconds; an idle kept-alive connection would be waited for as long
LONGEST_PAGE_SECONDS = 30


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; give the exit code. Raises `SchemaMismatch` or `SettingsError` before it listens."""
    database = open_database(settings.database_url)
    require_current(database)
    database.close()
    try:
        _Server(settings).run()
    except SystemExit as end:  # gunicorn's way to stop
        return end.code if isinstance(end.code, int) else 0
    return 0


class _Server(BaseApplication):
    """gunicorn without a command line: its configuration follows from `Settings` alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in configuration(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in the worker, after the fork: connections must not cross it."""
        bind(open_database(self._settings.database_url, max_connections=THREADS))
        return create_app(self._settings)


def configuration(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings. Only `trusted_proxies` may say that a request came by https."""
    host = f"[{settings.bind_host}]" if ":" in settings.bind_host else settings.bind_host
    return {
        "bind": f"{host}:{settings.console_port}",
        "worker_class": "gthread",
        "workers": 1,
        "threads": THREADS,
        "timeout": LONGEST_PAGE_SECONDS,
        "graceful_timeout": STOP_SECONDS,
        "control_socket_disable": True,  # it would be written into the home folder
        "forwarded_allow_ips": ",".join(settings.trusted_proxies),
        "accesslog": None,
        "loglevel": "debug" if settings.log_level == "debug" else "warning",
        "proc_name": "yout-console",
    }
