"""Debian's PgBouncer in front of the tests' PostgreSQL, in transaction mode, otherwise with default settings."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.servers.network import Network
from tests.servers.postgres import Postgres, as_nobody, suitable_launcher
from tests.servers.process import Process, dies_with_parent, start_on_free_port

_NOBODY = 65534


def pgbouncer_path() -> str | None:
    """Path of the installed PgBouncer; `bin/setup dev` installs Debian's."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer:
    """Pools connections to every database of `postgres`. With `network`, it listens inside that network namespace."""

    def __init__(self, postgres: Postgres, *, pool_size: int = 10, network: Network | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="yout-pgbouncer-"))
        self._postgres, self._pool_size, self._network = postgres, pool_size, network
        self._host = network.address if network else "127.0.0.1"
        try:
            self._process, self._port = start_on_free_port(self._start, lambda process, _: "process up" in process.output())
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def url(self, direct: str) -> str:
        """The URL of the same database through the pooler."""
        return f"postgresql://application@{self._host}:{self._port}/{direct.rsplit('/', 1)[1]}"

    def stop(self) -> None:
        self._process.kill()
        shutil.rmtree(self._folder)

    def _start(self, port: int) -> Process:
        config = self._folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={self._postgres.socket_folder} port={self._postgres.port} user=postgres\n[pgbouncer]\n"
            f"listen_addr = {self._host}\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
            f"default_pool_size = {self._pool_size}\nmax_client_conn = 1000\n"
        )
        argv = [str(pgbouncer_path()), str(config)]
        argv = self._unprivileged(argv)
        argv = self._network.wrap(argv) if self._network else argv
        return Process("pgbouncer", argv, env=os.environ, cwd=self._folder, log=self._folder / f"{port}.log")

    def _unprivileged(self, argv: list[str]) -> list[str]:
        """PgBouncer, like PostgreSQL, refuses to run as root."""
        launch = suitable_launcher()
        if launch is as_nobody:
            for path in (self._folder, *self._folder.iterdir()):
                os.chown(path, _NOBODY, _NOBODY)
            return dies_with_parent(["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", *argv])
        return launch(self._folder).prefixed(dies_with_parent(argv))
