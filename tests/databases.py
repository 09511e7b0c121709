"""Open a database the way the product does, and leave no connection of it behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peewee
from playhouse.pool import PooledDatabase

from shared.core.database import open_database


@contextmanager
def opened(url: str) -> Iterator[peewee.Database]:
    """The database at `url`; on leaving, every connection is closed, a pool's and those of other threads included."""
    target = open_database(url)
    try:
        yield target
    finally:
        target.close()
        if isinstance(target, PooledDatabase):
            target.close_all()
