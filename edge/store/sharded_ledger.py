"""The ledger of a database that is distributed by account: a batcher for each shard.

Each has its own thread and connection, so a transaction stays on one shard, and calls of a shard that is down delay no others.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from uuid import UUID

from edge.store.database_reader import DatabaseReader
from edge.store.ledger_batcher import LedgerBatcher
from edge.store.metrics import Metrics
from shared.core.availability import Availability
from shared.core.shards import find_shards
from shared.identity.payer import VisitorPayer
from shared.ledger import Extended, Extension, HoldTaken, Reservation, Settled, Settlement, VisitorSettings
from shared.ledger.visitor_pool import POOL_ACCOUNT_ID

MAX_KNOWN_ACCOUNTS = 100_000


class ShardedLedger(LedgerBatcher):
    """Passes each item to the batcher of its account's shard, which is created at its first use.

    The rare items of accounts whose shard is not known here have a batcher of their own: this object. The database may refuse
    their batches, which are then split by account.
    """

    def __init__(self, reader: DatabaseReader, visitors: VisitorSettings, metrics: Metrics) -> None:
        super().__init__(visitors, metrics)
        self._reader = reader
        self._known: OrderedDict[UUID, LedgerBatcher] = OrderedDict()
        self._batchers: dict[int, LedgerBatcher] = {}

    async def reserve(self, reservation: Reservation) -> HoldTaken:
        """Like `LedgerBatcher.reserve`. The shard of a new account is looked up first."""
        account = POOL_ACCOUNT_ID if isinstance(reservation.payer, VisitorPayer) else reservation.account
        if account is None:
            return await super().reserve(reservation)
        batcher = self._known.get(account) or await self._look_up(account)
        return await batcher.reserve(reservation)

    def settle(self, item: Settlement) -> asyncio.Future[Settled]:
        """Like `LedgerBatcher.settle`."""
        batcher = self._known.get(item.account)
        return super().settle(item) if batcher is None else batcher.settle(item)

    def extend(self, item: Extension) -> asyncio.Future[Extended]:
        """Like `LedgerBatcher.extend`."""
        batcher = self._known.get(item.account)
        return super().extend(item) if batcher is None else batcher.extend(item)

    async def drain(self, timeout_seconds: float) -> None:
        """Wait until everything queued is committed, up to `timeout_seconds`."""
        await asyncio.gather(super().drain(timeout_seconds), *(each.drain(timeout_seconds) for each in self._batchers.values()))

    async def close(self, timeout_seconds: float) -> None:
        """Wait until the queues are committed, then stop the threads, all within `timeout_seconds`."""
        await asyncio.gather(super().close(timeout_seconds), *(each.close(timeout_seconds) for each in self._batchers.values()))

    async def _look_up(self, account: UUID) -> LedgerBatcher:
        """Return the batcher of an account. Raises `DatabaseUnavailable`."""
        shards: dict[UUID, int] = await self._reader.read(partial(find_shards, [account]))
        shard = shards[account]
        if shard not in self._batchers:
            availability = Availability(f"Shard {shard} of the database", "retrying")
            self._batchers[shard] = LedgerBatcher(self._visitors, self._metrics, availability)
        self._known[account] = self._batchers[shard]
        if len(self._known) > MAX_KNOWN_ACCOUNTS:
            self._known.popitem(last=False)
        return self._batchers[shard]
