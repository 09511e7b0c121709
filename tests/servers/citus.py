"""PostgreSQL with Citus: a coordinator and two nodes, over which `deploy/citus/distribute.sql` distributes each database.

Citus is not among Debian's packages. `YOUT_TEST_CITUS` is the folder of the programs of a PostgreSQL that has it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg import sql

from shared.core.schema_version import migrate
from tests.databases import opened
from tests.servers.postgres import suitable_launcher
from tests.servers.process import ROOT, START_SECONDS, Process, start_on_free_port

SCRIPT = ROOT / "deploy" / "citus" / "distribute.sql"
SHARDS = 2
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "max_prepared_transactions": "200",  # of transactions that change reference tables
    "shared_preload_libraries": "citus",
    "citus.shard_count": str(SHARDS),
    "wal_level": "logical",
    "fsync": "off",
    "full_page_writes": "off",
}


def missing_citus() -> str:
    """What to install, or ""."""
    folder = os.environ.get("YOUT_TEST_CITUS")
    return "" if folder else "YOUT_TEST_CITUS is not set: the programs of a PostgreSQL with Citus"


class Node:
    """One PostgreSQL server of the cluster, on a port of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self._folder = name, folder / name
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._launcher = suitable_launcher()(self._folder).of(Path(os.environ["YOUT_TEST_CITUS"]))
        options = ["-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        command = self._launcher.wrap("initdb", "-D", str(self._folder / "data"), *options)
        subprocess.run(command, cwd=self._folder, capture_output=True, timeout=START_SECONDS, check=True)
        self._process, self.port = start_on_free_port(self._start, _accepts)

    def _start(self, port: int) -> Process:
        named = {**_OPTIONS, "unix_socket_directories": str(self._folder)}
        options = [word for name, value in named.items() for word in ("-c", f"{name}={value}")]
        argv = self._launcher.wrap("postgres", "-D", str(self._folder / "data"), "-p", str(port), *options)
        return Process(self.name, argv, env=os.environ, cwd=self._folder, log=self._log)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def log(self) -> str:
        """All of its log."""
        return self._log.read_text(errors="replace")

    def crash(self) -> None:
        """End all its processes at once, without a checkpoint."""
        self._process.terminate(signal.SIGQUIT)

    def restart(self) -> None:
        """Start it again on the same port after `crash`."""
        started = self.log().count(_READY)
        self._process = self._start(self.port)
        self._process.wait_ready(lambda: self.log().count(_READY) > started)

    def stop(self) -> None:
        """Stop the server."""
        if self._process.returncode is None:
            self._process.terminate(signal.SIGINT)


class Citus:
    """A coordinator, whose URLs the product uses, and two nodes with a shard each."""

    def __init__(self, folder: Path) -> None:
        self._made = 0
        self.coordinator = Node("coordinator", folder)
        self.nodes = [Node(f"node{number}", folder) for number in range(SHARDS)]

    def create_distributed(self) -> str:
        """Create a database at the current schema, distributed by account, and return its URL."""
        self._made += 1
        name = f"test_{self._made}"
        for server in (self.coordinator, *self.nodes):
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            with psycopg.connect(server.url(name), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION citus")
        url = self.coordinator.url(name)
        with opened(url) as database:
            migrate(database)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT citus_set_coordinator_host('127.0.0.1', %s)", (self.coordinator.port,))
            for node in self.nodes:
                connection.execute("SELECT citus_add_node('127.0.0.1', %s)", (node.port,))
            connection.execute(SCRIPT.read_bytes())
        return url

    def node_of(self, url: str, account: UUID) -> Node:
        """The node that has an account's rows."""
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT nodeport FROM citus_shards WHERE shardid = yout_shard_of(%s)", (account,)).fetchone()
        assert row is not None
        return next(node for node in self.nodes if node.port == row[0])

    def stop(self) -> None:
        """Stop all servers."""
        for server in (*self.nodes, self.coordinator):
            server.stop()


_READY = "database system is ready to accept connections"


def _accepts(process: Process, port: int) -> bool:
    return _READY in process.output()
