"""A durable PostgreSQL: the packaged binaries with their default durability, fsync included.

Unlike the tests' server it does not trade durability for speed, because durability is part of the measurement.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.postgres import suitable_launcher
from tests.servers.process import Process, start_on_free_port

_OPTIONS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}


class DurablePostgres:
    """A cluster in a temporary folder, on the cores of the process that creates it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="yout-bench-postgres-"))
        self._made = 0
        try:
            self._launcher = suitable_launcher()(self._folder)
            self._initialise()
            self.process, self._port = start_on_free_port(self._start, _accepts)
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        self._made += 1
        name = f"bench_{self._made}"
        with psycopg.connect(self._url("postgres"), autocommit=True, connect_timeout=20) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def stop(self) -> None:
        """Stop the server and delete the cluster."""
        try:
            self.process.terminate(signal.SIGINT)  # a "fast" shutdown: open connections are terminated
        finally:
            shutil.rmtree(self._folder)

    def _initialise(self) -> None:
        arguments = ["-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C"]
        argv = self._launcher.wrap("initdb", *arguments)
        done = subprocess.run(argv, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise SystemExit(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _start(self, port: int) -> Process:
        options = [word for name, value in _OPTIONS.items() for word in ("-c", f"{name}={value}")]
        argv = self._launcher.wrap("postgres", "-D", str(self._folder / "data"), "-p", str(port), *options)
        return Process("postgres", argv, env=os.environ, cwd=self._folder, log=self._folder / f"{port}.log")

    def _url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{name}"


def _accepts(process: Process, _port: int) -> bool:
    return "database system is ready to accept connections" in process.output()
