"""Runs gunicorn with one worker and a few threads: enough for staff, quick to start and stop."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import wsgi

from console.app import create_app
from console.metrics import ConsoleMetrics, console_counters
from shared.core.database import bind_database, open_database
from shared.core.settings import Settings
from shared.startup import log_setting_warnings, require_port, run_startup_checks
from shared.text.client_address import normalize_network

THREADS = 8
STOP_SECONDS = 2  # pages take milliseconds, but gunicorn waits this long for idle keep-alive connections, too
MAX_REQUEST_SECONDS = 30


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code. Raises `SchemaMismatch` or `SettingsError` before listening."""
    run_startup_checks(settings, open_database(settings.database_url), media=False)
    require_port(settings, settings.console_port, "YOUT_CONSOLE_PORT (or PORT)")
    log_setting_warnings(settings)
    gc.freeze()  # so that garbage collection in the worker does not write to the memory that both share
    try:
        _Server(settings).run()
    except SystemExit as end:  # how gunicorn stops
        return end.code if isinstance(end.code, int) else 0
    return 0


class _Response(wsgi.Response):
    """gunicorn's response without the `Server` header, for which it has no setting."""

    def default_headers(self) -> list[str]:
        """Return the status line and the default headers."""
        return [line for line in super().default_headers() if not line.startswith("Server:")]


class _Logger(GunicornLogger):
    """gunicorn's logger, with the same line format as all other loggers."""

    def setup(self, cfg: Any) -> None:
        self.loglevel = self.LOG_LEVELS.get(cfg.loglevel.lower(), logging.INFO)
        self.error_log.setLevel(self.loglevel)
        self.error_log.propagate = True


class _Server(BaseApplication):
    """A gunicorn application that is configured from `Settings` alone, without a command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._counters = console_counters()
        vars(wsgi)["Response"] = _Response  # gunicorn's workers look up this class for each response
        super().__init__()

    def load_config(self) -> None:
        for name, value in configuration(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Create the app in the worker, after the fork: database connections must not be shared across it."""
        bind_database(open_database(self._settings.database_url, max_connections=THREADS))
        return create_app(self._settings, ConsoleMetrics(self._counters))


def _spellings(trusted: tuple[str, ...]) -> Iterator[str]:
    """Yield each network in every form that gunicorn may see: on a dual-stack socket, IPv4 peers appear as IPv6."""
    for network in map(normalize_network, trusted):
        yield str(network)
        if network.version == 4:
            yield f"::ffff:{network.network_address}/{96 + network.prefixlen}"


def configuration(settings: Settings) -> dict[str, Any]:
    """Return gunicorn's settings. Only `trusted_proxies` may set the scheme to https."""
    return {
        "bind": settings.listen_address(settings.console_port),
        "worker_class": "gthread",
        "workers": 1,
        "threads": THREADS,
        "timeout": MAX_REQUEST_SECONDS,
        "graceful_timeout": STOP_SECONDS,
        "control_socket_disable": True,  # it would be created in the home directory
        "forwarded_allow_ips": ",".join(_spellings(settings.trusted_proxies)),
        "accesslog": None,
        "logger_class": _Logger,
        "loglevel": "debug" if settings.log_level == "debug" else "warning",
        "proc_name": "yout-console",
    }
