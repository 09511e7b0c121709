"""Throttles payers who disconnect again and again while a provider works and nothing was delivered.

Such a call is charged its prompt alone, while its provider may bill the answer that it had begun. The limit allows for closed
tabs, for timeouts, and for a program that is stopped with all its calls under way.

All processes count together, through Redis. A process refuses a payer's calls after the first abandoned one over the limit that
it sees itself, so that a call costs one look at a dict.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID, uuid5

from edge.store.limiter import Limiter
from shared.core.clock import new_id, now_ms
from shared.core.errors import RateLimited, TooManyAbandonedCalls
from shared.core.token_bucket import KeyLimits, Limits

MIN_PER_MINUTE = 30
CONCURRENCY_FACTOR = 3  # a payer with few concurrent requests may abandon all of them twice in a minute, and no more than needed
REFUSED_MS = 30_000
MAX_REMEMBERED = 10_000  # payers over their limit
_UNLIMITED = 10**9  # no limit on tokens and concurrent requests


class AbandonedCalls:
    """The payers over their limit, as one process knows them. A payer is the account of a key or session, or a visitor."""

    def __init__(self, limiter: Limiter, per_minute: int) -> None:
        self._limiter = limiter
        self._per_minute = per_minute
        self._refused_until: OrderedDict[UUID, int] = OrderedDict()

    def check(self, payer: KeyLimits) -> None:
        """Raises `TooManyAbandonedCalls` if a call of this payer must wait."""
        if self._refused_until:
            left_ms = self._refused_until.get(payer.account, 0) - now_ms()
            if left_ms > 0:
                raise TooManyAbandonedCalls(left_ms)

    async def count(self, payer: KeyLimits) -> None:
        """Count an abandoned call; over the limit, refuse this payer's calls for a while."""
        enough = max(MIN_PER_MINUTE, CONCURRENCY_FACTOR * payer.account_limits.concurrency)
        limits = Limits(min(self._per_minute, enough), _UNLIMITED, _UNLIMITED)
        scope = uuid5(payer.account, "abandoned calls")
        try:
            ticket = await self._limiter.take(new_id(), KeyLimits(scope, scope, limits, limits), 0)
        except RateLimited:
            self._refuse(payer.account)
        else:
            self._limiter.give(ticket, 0)

    def _refuse(self, account: UUID) -> None:
        self._refused_until[account] = now_ms() + REFUSED_MS
        self._refused_until.move_to_end(account)
        if len(self._refused_until) > MAX_REMEMBERED:
            self._refused_until.popitem(last=False)
