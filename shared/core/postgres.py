"""PostgreSQL connections with a timeout on every wait, and without session state, so that a pooler can share them.

If a server disappears without closing the connection (failover, firewall), a read would otherwise block while TCP retransmits:
15 minutes on Linux.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import peewee
import psycopg
from playhouse.pool import PooledPostgresqlDatabase
from psycopg.abc import RV, PQGen

from shared.core.direct_statements import DirectStatements

# Names as in libpq ("Database Connection Control Functions"). They close a connection about 7 s after its peer stops responding;
# `tcp_user_timeout` (milliseconds, Linux) covers sent data that is not acknowledged.
TCP_LIMITS: Mapping[str, int] = MappingProxyType(
    {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2, "tcp_user_timeout": 5_000}
)
PREPARE_AFTER = 5  # executions, as in psycopg by default


class _Cursor(psycopg.Cursor[Any]):
    """Reads rows in a pipeline at a synchronization point instead of after a flush.

    After a flush PostgreSQL waits for the next statement without counting the time as idle, so a lost client would keep its
    locks. The synchronization costs one extra message.
    """

    def _fetch_pipeline(self) -> None:
        if not self.pgresult and self._conn._pipeline:
            self._conn._pipeline.sync()


class Connection(psycopg.Connection[Any]):
    """A connection that is closed if a result takes longer than `answer_seconds`. The statement may have run."""

    answer_seconds: float = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.cursor_factory = _Cursor

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.answer_seconds or None)
        except psycopg.errors._WaitTimeout:
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the database did not respond within {self.answer_seconds:g} s") from None


class _Adapter(peewee.Psycopg3Adapter):
    def connect(self, db: Any, **params: Any) -> Connection:
        connection = Connection.connect(dbname=db.database, autocommit=True, **params)
        connection.answer_seconds = db.answer_seconds
        connection.prepare_threshold = PREPARE_AFTER if db.prepares_statements and _is_direct(connection) else None
        return connection


def _is_direct(connection: Connection) -> bool:
    """Return whether the connection goes directly to PostgreSQL, so that prepared statements stay valid.

    A pooler reports a process id for cancel requests that differs from the server's own.
    """
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] == connection.info.backend_pid


class Postgres(DirectStatements, PooledPostgresqlDatabase):  # type: ignore[misc]  # the library has no types
    """A connection pool. `answer_seconds` limits each wait for a result; 0 means no limit.

    `prepares` allows prepared statements on new direct connections.
    """

    psycopg3_adapter = _Adapter

    def __init__(self, name: str, *, statement_timeout_seconds: float, **options: Any) -> None:
        self.answer_seconds = statement_timeout_seconds
        self.prepares_statements = True
        self.is_distributed: bool | None = None  # unknown until `shared.core.shards` has looked
        super().__init__(name, prefer_psycopg3=True, **options)

    def _is_closed(self, connection: Connection) -> bool:
        """Check an idle connection before use. If it is broken, others may be too, so all idle connections are dropped."""
        closed = bool(super()._is_closed(connection))
        if closed:
            self.close_idle()
        return closed
