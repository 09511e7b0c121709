"""Database reads off the event loop, in threads with their own connections, so that no read waits for a commit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import peewee

from edge.store.metrics import Metrics
from shared.core.availability import DATABASE
from shared.core.database import connection_generation, drop_connection
from shared.core.database_errors import describe_error, is_temporary
from shared.core.errors import DatabaseUnavailable
from shared.core.shards import is_distributed
from shared.models import Account, Plan, Subscription

T = TypeVar("T")


class _Seen(threading.local):
    """The connection generation that a thread last used."""

    generation = 0


class DatabaseReader:
    """A pool of reader threads. With `keeps_connection=False` each query opens and closes its own connection."""

    def __init__(self, name: str, *, threads: int = 1, keeps_connection: bool = True, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._keeps_connection = keeps_connection
        self._seen = _Seen()

    async def read(self, query: Callable[[], T]) -> T:
        """Run `query`. Raises `DatabaseUnavailable` for temporary errors; the next read then reconnects."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._read, query)

    def close(self) -> None:
        """Stop accepting reads, and close the idle connection after the running ones end."""
        self._executor.submit(drop_connection)
        self._executor.shutdown(wait=False)

    def _read(self, query: Callable[[], T]) -> T:
        if self._seen.generation != connection_generation():
            self._seen.generation = connection_generation()
            drop_connection()
        began = time.monotonic()
        try:
            return query()
        except Exception as error:  # re-raised unless it is known to be temporary
            if not is_temporary(error):
                raise
            drop_connection(error)
            DATABASE.failed(describe_error(error), began)
            raise DatabaseUnavailable from error
        finally:
            self._metrics.record_database("read", time.monotonic() - began)
            if not self._keeps_connection:
                drop_connection()


def with_plan(query: Any) -> Any:
    """Join `query`, whose rows belong to an account, with that account and its active plan, if any."""
    in_force = (Subscription.account == Account.id) & (Subscription.status == "active")
    return query.join(Account).join(Subscription, peewee.JOIN.LEFT_OUTER, on=in_force).join(Plan, peewee.JOIN.LEFT_OUTER)


def of_digests(query: Any, model: Any, digests: Collection[str]) -> Any:
    """Limit `query`, which joins accounts, to keys or sessions with these digests.

    On a distributed database it also names their accounts, so that it is sent to their shards only.
    """
    query = query.where(model.digest.in_(list(digests)))
    if is_distributed():
        owners = model.select(model.account).where(model.digest.in_(list(digests))).tuples()
        query = query.where(Account.id.in_([account for (account,) in owners]))
    return query
