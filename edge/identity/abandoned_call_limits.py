"""Rate limits for abandoned calls: those whose client disconnects before any output was delivered.

An abandoned call is charged only its prompt, but the provider may bill the output that it generated. The limit tolerates closed
tabs, timeouts, and programs that are stopped during their calls.

The count is shared by all processes through Redis. A process rejects a payer's calls for a while once it sees an abandoned call
over the limit, so that the check is a single dictionary look-up.
"""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID, uuid5

from edge.store.limiter import Limiter
from shared.core.clock import new_id, now_ms
from shared.core.errors import RateLimited, TooManyAbandonedCalls
from shared.core.token_bucket import KeyLimits, RateLimits

MIN_PER_MINUTE = 30
CONCURRENCY_FACTOR = 3  # the limit per minute is at most this many times the payer's limit of concurrent requests
BLOCK_MS = 30_000
MAX_BLOCKED_PAYERS = 10_000  # payers over their limit
_UNLIMITED = 10**9  # tokens and concurrent requests are not limited here


class AbandonedCalls:
    """The payers known to be over their limit. A payer is the account of a key or session, or a visitor."""

    def __init__(self, limiter: Limiter, per_minute: int) -> None:
        self._limiter = limiter
        self._per_minute = per_minute
        self._refused_until: OrderedDict[UUID, int] = OrderedDict()

    def check(self, payer: KeyLimits) -> None:
        """Raise `TooManyAbandonedCalls` if the payer is over the limit."""
        if self._refused_until:
            left_ms = self._refused_until.get(payer.account, 0) - now_ms()
            if left_ms > 0:
                raise TooManyAbandonedCalls(left_ms)

    async def count(self, payer: KeyLimits) -> None:
        """Count an abandoned call. Over the limit, reject the payer's calls for `BLOCK_MS`."""
        allowed = max(MIN_PER_MINUTE, CONCURRENCY_FACTOR * payer.account_limits.concurrency)
        limits = RateLimits(min(self._per_minute, allowed), _UNLIMITED, _UNLIMITED)
        scope = uuid5(payer.account, "abandoned calls")
        try:
            permit = await self._limiter.acquire(new_id(), KeyLimits(scope, scope, limits, limits), 0)
        except RateLimited:
            self._refuse(payer.account)
        else:
            self._limiter.release(permit, 0)

    def _refuse(self, account: UUID) -> None:
        self._refused_until[account] = now_ms() + BLOCK_MS
        self._refused_until.move_to_end(account)
        if len(self._refused_until) > MAX_BLOCKED_PAYERS:
            self._refused_until.popitem(last=False)
