"""Query timeouts for pages: filters can be combined so that no index helps."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import peewee

from shared.core.database import database, is_sqlite, snapshot
from shared.core.database_errors import sqlstate

DEFAULT_TIMEOUT_SECONDS = 3.0
QUERY_CANCELED = "57014"
_T = TypeVar("_T")


def run_with_timeout(ask: Callable[[], _T], seconds: float = DEFAULT_TIMEOUT_SECONDS) -> _T | None:
    """Return what `ask()` reads, or None if a statement exceeds `seconds` (on SQLite: all statements together)."""
    try:
        with _interrupted(seconds) if is_sqlite() else snapshot(seconds):
            return ask()
    except peewee.OperationalError as error:
        if sqlstate(error) == QUERY_CANCELED or str(error) == "interrupted":
            return None
        raise


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, database.connection().interrupt)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
