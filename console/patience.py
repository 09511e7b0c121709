"""A bound on what a page asks of the database: filters can be combined so that no index helps."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import peewee
import psycopg.errors

from shared.database import database, is_sqlite

SECONDS = 3.0
_T = TypeVar("_T")


def within(ask: Callable[[], _T], seconds: float = SECONDS) -> _T | None:
    """What `ask()` reads, or None when PostgreSQL took longer than `seconds` over one statement. SQLite is not interrupted."""
    if is_sqlite():
        return ask()
    try:
        with database.atomic():
            database.execute_sql(f"SET LOCAL statement_timeout = {round(seconds * 1000)}")
            return ask()
    except peewee.OperationalError as error:
        if isinstance(error.__cause__ or error.__context__, psycopg.errors.QueryCanceled):
            return None
        raise
