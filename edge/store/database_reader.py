"""Reads of the database off the event loop: threads with connections of their own, so that no read waits behind a commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import peewee

from shared.core.database import drop_connection, generation
from shared.core.database_errors import may_pass
from shared.core.errors import DatabaseUnavailable
from shared.models import Account, Plan, Subscription

T = TypeVar("T")


class _Seen(threading.local):
    """The generation of a thread's connection."""

    generation = 0


class DatabaseReader:
    """Threads that read. Unless it keeps them, they close their connections after each query."""

    def __init__(self, name: str, *, threads: int = 1, keeps_connection: bool = True) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._keeps_connection = keeps_connection
        self._seen = _Seen()

    async def read(self, query: Callable[[], T]) -> T:
        """Run `query`. Raises `DatabaseUnavailable` for a temporary error; the next read opens a new connection."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, query)

    def close(self) -> None:
        """Start no further reads; close the idle connection after the running ones end."""
        self._executor.submit(drop_connection)
        self._executor.shutdown(wait=False)

    def _read(self, query: Callable[[], T]) -> T:
        if self._seen.generation != generation():
            self._seen.generation = generation()
            drop_connection()
        try:
            return query()
        except Exception as error:  # re-raised unless the table of database errors says that it may pass
            if not may_pass(error):
                raise
            drop_connection(error)
            raise DatabaseUnavailable from error
        finally:
            if not self._keeps_connection:
                drop_connection()


def with_plan(query: Any) -> Any:
    """`query` of rows that belong to an account, joined with it and, where it has one, with its plan in force."""
    in_force = (Subscription.account == Account.id) & (Subscription.status == "active")
    return query.join(Account).join(Subscription, peewee.JOIN.LEFT_OUTER, on=in_force).join(Plan, peewee.JOIN.LEFT_OUTER)
