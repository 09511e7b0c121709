"""Clusters of a PostgreSQL coordinator and two nodes with a shard each, over which a database is distributed by account.

`Citus` is not among Debian's packages: `YOUT_TEST_CITUS` is the folder of the programs of a PostgreSQL that has it.
`ForeignShards` is made of Debian's PostgreSQL alone: hash partitions that are foreign tables (postgres_fdw).
"""

from __future__ import annotations

import os
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import psycopg
from psycopg import sql

from shared.core.schema_version import migrate
from tests.databases import opened
from tests.distribution import ACCOUNT_COLUMNS
from tests.servers.postgres import suitable_launcher
from tests.servers.process import ROOT, START_SECONDS, Process, start_on_free_port

SCRIPT = ROOT / "deploy" / "citus" / "distribute.sql"
SHARDS = 2
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
}
_CITUS_OPTIONS = {
    "max_prepared_transactions": "200",  # of transactions that change reference tables
    "shared_preload_libraries": "citus",
    "citus.shard_count": str(SHARDS),
    "wal_level": "logical",
}


class Node:
    """One PostgreSQL server of the cluster, on a port of its own."""

    def __init__(self, name: str, folder: Path, binaries: Path, options: Mapping[str, str]) -> None:
        self.name, self._folder, self._options = name, folder / name, {**_OPTIONS, **options}
        self._folder.mkdir()
        self._log = self._folder / "log"
        self._launcher = suitable_launcher()(self._folder).of(binaries)
        options = ["-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
        command = self._launcher.wrap("initdb", "-D", str(self._folder / "data"), *options)
        subprocess.run(command, cwd=self._folder, capture_output=True, timeout=START_SECONDS, check=True)
        self._process, self.port = start_on_free_port(self._start, _accepts)

    def _start(self, port: int) -> Process:
        named = {**self._options, "unix_socket_directories": str(self._folder)}
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


class Cluster(ABC):
    """A coordinator, whose URLs the product uses, and two nodes with a shard each."""

    options: ClassVar[Mapping[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self._made = 0
        binaries = self.binaries()
        assert binaries is not None
        self.coordinator = Node("coordinator", folder, binaries, self.options)
        self.nodes = [Node(f"node{number}", folder, binaries, self.options) for number in range(SHARDS)]

    @staticmethod
    @abstractmethod
    def binaries() -> Path | None:
        """The folder of PostgreSQL's programs, or None if it is not installed."""

    @abstractmethod
    def distribute(self, name: str, connection: psycopg.Connection[Any]) -> None:
        """Distribute the coordinator's migrated database `name`."""

    @abstractmethod
    def node_of(self, url: str, account: UUID) -> Node:
        """The node that has an account's rows."""

    def create_distributed(self) -> str:
        """Create a database at the current schema, distributed by account, and return its URL."""
        self._made += 1
        name = f"test_{self._made}"
        for server in (self.coordinator, *self.nodes):
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with opened(self.coordinator.url(name)) as database:
            migrate(database)
        with psycopg.connect(self.coordinator.url(name), autocommit=True) as connection:
            self.distribute(name, connection)
        return self.coordinator.url(name)

    def stop(self) -> None:
        """Stop all servers."""
        for server in (*self.nodes, self.coordinator):
            server.stop()


class Citus(Cluster):
    """The extension Citus, with the tables where `deploy/citus/distribute.sql` places them."""

    options = _CITUS_OPTIONS

    @staticmethod
    def binaries() -> Path | None:
        folder = os.environ.get("YOUT_TEST_CITUS")
        return Path(folder) if folder else None

    def distribute(self, name: str, connection: psycopg.Connection[Any]) -> None:
        for server in (self.coordinator, *self.nodes):
            with psycopg.connect(server.url(name), autocommit=True) as each:
                each.execute("CREATE EXTENSION citus")
        connection.execute("SELECT citus_set_coordinator_host('127.0.0.1', %s)", (self.coordinator.port,))
        for node in self.nodes:
            connection.execute("SELECT citus_add_node('127.0.0.1', %s)", (node.port,))
        connection.execute(SCRIPT.read_bytes())

    def node_of(self, url: str, account: UUID) -> Node:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT nodeport FROM citus_shards WHERE shardid = yout_shard_of(%s)", (account,)).fetchone()
        assert row is not None
        return next(node for node in self.nodes if node.port == row[0])


class ForeignShards(Cluster):
    """PostgreSQL's own parts: each distributed table is partitioned by a hash of the account, into foreign tables on the nodes.

    Foreign tables have no unique constraints, which `ON CONFLICT` of `allowance` needs, so that table stays on the coordinator.
    """

    @staticmethod
    def binaries() -> Path | None:
        found = sorted(Path("/usr/share/postgresql").glob("*/extension/postgres_fdw.control"))
        return Path("/usr/lib/postgresql") / found[-1].parts[-3] / "bin" if found else None

    def distribute(self, name: str, connection: psycopg.Connection[Any]) -> None:
        for node in self.nodes:
            with opened(node.url(name)) as database:
                migrate(database)
            with psycopg.connect(node.url(name), autocommit=True) as each:
                _drop_foreign_keys(each, sorted(set(_tables(each)) - set(FOREIGN)))
                # The trigger that protects ledger entries reads `purge_job`. postgres_fdw sets an empty search_path.
                each.execute("ALTER FUNCTION protect_ledger_entry() SET search_path = public")
                _add_server(each, "coordinator", self.coordinator, name)
                each.execute("ALTER TABLE purge_job RENAME TO local_purge_job")
                each.execute("CREATE FOREIGN TABLE purge_job (account_id uuid, status text) SERVER coordinator")
        _drop_foreign_keys(connection, sorted(FOREIGN))
        for number, node in enumerate(self.nodes):
            _add_server(connection, f"node{number}", node, name)
        for table, column in FOREIGN.items():
            connection.execute(f"ALTER TABLE {table} RENAME TO local_{table}")
            connection.execute(f"CREATE TABLE {table} (LIKE local_{table} INCLUDING DEFAULTS) PARTITION BY HASH ({column})")
            for number in range(SHARDS):
                connection.execute(
                    f"CREATE FOREIGN TABLE {table}_on_{number} PARTITION OF {table}"
                    f" FOR VALUES WITH (MODULUS {SHARDS}, REMAINDER {number}) SERVER node{number} OPTIONS (table_name '{table}')"
                )
            connection.execute(f"DROP TABLE local_{table}")
        connection.execute(
            "CREATE FUNCTION yout_shard_of(account uuid) RETURNS bigint LANGUAGE sql STABLE"
            f" RETURN CASE WHEN satisfies_hash_partition('account'::regclass, {SHARDS}, 0, account) THEN 0 ELSE 1 END"
        )

    def node_of(self, url: str, account: UUID) -> Node:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT yout_shard_of(%s)", (account,)).fetchone()
        assert row is not None
        return self.nodes[row[0]]


FOREIGN = {table: column for table, column in ACCOUNT_COLUMNS.items() if table != "allowance"}


def _add_server(connection: psycopg.Connection[Any], server: str, node: Node, database: str) -> None:
    connection.execute("CREATE EXTENSION IF NOT EXISTS postgres_fdw")
    connection.execute(
        f"CREATE SERVER {server} FOREIGN DATA WRAPPER postgres_fdw"
        f" OPTIONS (host '127.0.0.1', port '{node.port}', dbname '{database}')"
    )
    connection.execute(f"CREATE USER MAPPING FOR PUBLIC SERVER {server} OPTIONS (user 'postgres')")


def _tables(connection: psycopg.Connection[Any]) -> list[str]:
    return [name for (name,) in connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")]


def _drop_foreign_keys(connection: psycopg.Connection[Any], targets: list[str]) -> None:
    """Drop the foreign keys to these tables, which are on other servers."""
    keys = connection.execute(
        "SELECT conrelid::regclass::text, conname::text FROM pg_constraint"
        " WHERE contype = 'f' AND conparentid = 0 AND confrelid = ANY(%s::regclass[])",
        (targets,),
    ).fetchall()
    for table, key in keys:
        connection.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{key}"')


_READY = "database system is ready to accept connections"


def _accepts(process: Process, port: int) -> bool:
    return _READY in process.output()
