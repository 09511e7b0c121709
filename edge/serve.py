"""Runs the edge: Hypercorn's configuration, graceful shutdown, and multiple workers on one socket."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from typing import Any, cast

import peewee
import uvloop
from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config, Sockets
from hypercorn.utils import LifespanFailureError

from edge import strict_hypercorn
from edge.app import create_app
from edge.store.metrics import Metrics, edge_counters
from shared import tokenizer
from shared.core.database import bind_database, open_database
from shared.core.errors import YoutError
from shared.core.process_main import start_exit_timer
from shared.core.settings import Settings
from shared.startup import log_setting_warnings, require_port, run_startup_checks
from transport import fast_hypercorn

log = logging.getLogger("yout.edge")

ANSWER_SECONDS = 10  # timeout of database statements; callers wait for them
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 120  # longer than the pools of clients and load balancers, or they reuse a connection that we just closed
MAX_REQUESTS_PER_CONNECTION = 1_000_000
AFTER_DRAIN_SECONDS = 2  # time to send the last errors, before `Services.close` settles the last holds
RESTART_PAUSE_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. Return the exit code. Raises `SchemaMismatch` or `SettingsError` before it listens."""
    database = open_database(settings.database_url, statement_timeout_seconds=ANSWER_SECONDS)
    run_startup_checks(settings, database, media=True)
    require_port(settings, settings.edge_port, "YOUT_EDGE_PORT (or PORT)")
    log_setting_warnings(settings)
    if settings.edge_workers == 1:
        uvloop.run(_work(settings, settings.listen_address(settings.edge_port), Metrics()))
        return 0
    tokenizer.encoding()  # loaded before forking, so that the workers share its memory
    return _Parent(settings).run()


async def _work(settings: Settings, address: str, metrics: Metrics) -> None:
    bind_database(open_database(settings.database_url, statement_timeout_seconds=ANSWER_SECONDS))
    strict_hypercorn.install()
    fast_hypercorn.install(settings.fast_http, fast_hypercorn.Limits(connections=settings.max_connections))
    app = create_app(settings, metrics)
    _tune_garbage_collector()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    draining: list[asyncio.Task[None]] = []

    async def stopped() -> None:
        await stop.wait()
        start_exit_timer(settings.drain_seconds)
        draining.append(loop.create_task(app.extensions["services"].drain(settings.drain_seconds)))

    try:
        # Not `app`, whose `__call__` would add a coroutine to each request.
        await hypercorn_serve(cast(Any, app.asgi_app), _config(settings, address), shutdown_trigger=stopped)
    except LifespanFailureError as failure:
        reason = failure.__context__
        if isinstance(reason, YoutError | peewee.PeeweeException):  # the actual cause
            raise reason from reason.__cause__
        raise


def _tune_garbage_collector() -> None:
    """Make garbage collection rare: it would cost 30 % of a call's CPU time, and cause pauses of tens of milliseconds.

    Objects created at startup live forever, so they are frozen; the few that are garbage are not worth 0.07 s for finding them.
    Objects of calls are freed by reference counting, except for a few cycles.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()


class _Config(Config):
    """Hypercorn's configuration, with listening sockets that processes started by the edge do not inherit.

    While such a process ran, the kernel would accept connections after the edge has stopped listening, and nobody would serve
    them.
    """

    def create_sockets(self) -> Sockets:
        sockets = super().create_sockets()
        for each in (*sockets.secure_sockets, *sockets.insecure_sockets):
            each.set_inheritable(False)
        return sockets


def _config(settings: Settings, address: str) -> Config:
    config = _Config()
    config.bind = [address]
    config.backlog = BACKLOG
    config.keep_alive_timeout = KEEP_ALIVE_SECONDS
    config.keep_alive_max_requests = MAX_REQUESTS_PER_CONNECTION
    config.graceful_timeout = settings.drain_seconds + AFTER_DRAIN_SECONDS
    config.shutdown_timeout = 30  # `start_exit_timer` ends the process earlier
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    return config


class _Parent:
    """Runs several workers on one listening socket: restarts dead workers and forwards signals."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._socket = _listen(settings)
        self._children: dict[int, int] = {}  # the slot in the shared counters, by process id
        self._counters = edge_counters(settings.edge_workers)
        self._stopping = False

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for slot in range(self._settings.edge_workers):
            self._start(slot)
        while self._children:
            child, status = os.wait()
            slot = self._children.pop(child)
            self._counters.clear_gauges(slot)
            if not self._stopping:
                log.error("worker %d exited with code %d; restarting it", child, os.waitstatus_to_exitcode(status))
                time.sleep(RESTART_PAUSE_SECONDS)
                if not self._stopping:
                    self._start(slot)
        return 0

    def _start(self, slot: int) -> None:
        child = os.fork()
        if child:
            self._children[child] = slot
            if self._stopping:  # `_stop` ran before this child was added
                os.kill(child, signal.SIGTERM)
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        _die_with_parent()
        uvloop.run(_work(self._settings, f"fd://{self._socket.fileno()}", Metrics(self._counters, slot)))
        os._exit(0)

    def _stop(self, *_: object) -> None:
        """Stop all workers. Also close the socket, which would otherwise accept connections that no process serves."""
        self._stopping = True
        self._socket.close()
        for child in self._children:
            os.kill(child, signal.SIGTERM)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.bind_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.bind_host, settings.edge_port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _die_with_parent() -> None:
    """Make Linux send SIGTERM to this worker if its parent dies, so that no worker is orphaned."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
