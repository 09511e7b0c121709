"""Releases the database connection after a periodic task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shared.core.database import database, drop_connection


@contextmanager
def task_connection() -> Iterator[None]:
    """Release the thread's connection afterwards, or drop it after a failure that it may have caused. Also a decorator."""
    try:
        yield
    except BaseException:
        drop_connection()
        raise
    database.close()
