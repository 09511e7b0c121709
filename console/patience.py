"""A bound on what a page asks of the database: filters can be combined so that no index helps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import peewee
import psycopg.errors

from shared.database import database, is_sqlite

SECONDS = 3.0
_T = TypeVar("_T")


def within(ask: Callable[[], _T], seconds: float = SECONDS) -> _T | None:
    """What `ask()` reads, or None when one of its statements took longer than `seconds` (on SQLite: all of them together)."""
    try:
        with _interrupted(seconds) if is_sqlite() else _timed(seconds):
            return ask()
    except peewee.OperationalError as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, psycopg.errors.QueryCanceled) or str(error) == "interrupted":
            return None
        raise


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    """Set for the connection, not for a transaction: `ask` may begin one of its own."""
    database.execute_sql(f"SET statement_timeout = {round(seconds * 1000)}")
    try:
        yield
    finally:
        database.execute_sql("RESET statement_timeout")


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, database.connection().interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
