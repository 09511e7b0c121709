"""Runs SQL statements without Peewee's query log and hooks, which cost as much as a short statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from peewee import EXCEPTIONS, ExceptionWrapper  # type: ignore[attr-defined]  # missing in the type stubs

_peewee_errors = ExceptionWrapper(EXCEPTIONS)


class DirectStatements:
    """A mixin for databases, to be listed before Peewee's class."""

    connection: Callable[[], Any]  # Peewee's

    def execute_sql(self, sql: str, params: Any = None) -> Any:
        """Run a statement and return its cursor. Raises Peewee's errors."""
        with _peewee_errors:
            return self.connection().execute(sql, params or ())
