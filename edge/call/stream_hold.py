"""The hold of one stream in a tight pool, which is extended while the stream is relayed.

    if not await hold.covers(reader, relay): ...  # end the stream

An extension is requested when half of the paid output is used, so the ledger's next batch usually grants it in time. Each request
doubles the paid output.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

from edge.store.ledger_batcher import LedgerBatcher
from shared.billing.elastic_hold import expected_cost, paid_output
from shared.billing.pricing import Quote
from shared.dialects.base import StreamReader
from shared.ledger import Extended, Extension, HoldTaken

MIN_STEP_TOKENS = 256  # minimum output tokens that an extension adds
# How long a stream waits for credits that other calls hold, before it ends.
WAIT_SECONDS = 5.0
RETRY_SECONDS = 0.25
# For estimates without a tokenizer: in most texts, tokens have at least this many bytes.
BYTES_PER_TOKEN = 3

CountText = Callable[[str], Awaitable[int]]


class PaidPrompt(NamedTuple):
    """The prompt that a hold pays for, and the maximum of the hold.

    bound         maximum credits to hold
    input_tokens  tokens of the prompt that the hold pays for
    """

    bound: int
    input_tokens: int


class StreamHold:
    """One stream's hold. `count` counts the tokens of a text. It is called only before a stream ends for lack of credits."""

    __slots__ = (
        *("_account", "_amount", "_ask_at", "_call_id", "_chunks", "_count", "_ledger", "_paid", "_pending", "_prompt", "_quote"),
        *("_scale", "_wanted", "_wanted_at"),
    )

    def __init__(
        self, ledger: LedgerBatcher, call_id: UUID, taken: HoldTaken, quote: Quote, prompt: PaidPrompt, count: CountText
    ) -> None:
        self._ledger = ledger
        self._call_id = call_id
        self._account = taken.account
        self._quote = quote
        self._prompt = prompt
        self._count = count
        self._amount = taken.amount
        self._chunks = 0
        self._scale = 1.0  # counted tokens per estimated token, once they were counted
        self._pending: asyncio.Future[Extended] | None = None
        self._paid = paid_output(quote, prompt.input_tokens, taken.amount)
        self._ask_at: float = math.inf if self._is_full else self._paid // 2
        self._wanted = 0  # credits, by the latest request
        self._wanted_at = 0.0  # tokens delivered by then

    async def covers(self, reader: StreamReader, relay: bytes) -> bool:
        """Return whether the hold pays for the output including `relay`. Requests extensions early, and waits only if it must."""
        self._chunks += relay.count(b"\n\n")
        used = self._used(reader)
        if used < self._ask_at:
            return True
        self._collect()
        if used >= self._ask_at:
            self._request(used)
        return used < self._paid or self._is_full or await self._wait(reader)

    @property
    def amount(self) -> int:
        """The credits held, without those of a pending request."""
        self._collect()
        return self._amount

    @property
    def _is_full(self) -> bool:
        """Whether the hold pays for all output that the call may have."""
        return self._amount >= self._prompt.bound or self._paid >= self._quote.paid_tokens

    def _used(self, reader: StreamReader) -> float:
        """Return the delivered output in tokens, at least one for each chunk."""
        return self._estimate(reader) * self._scale

    def _estimate(self, reader: StreamReader) -> int:
        return max(reader.text_bytes // BYTES_PER_TOKEN, self._chunks)

    async def _wait(self, reader: StreamReader) -> bool:
        ends_at, counted = time.monotonic() + WAIT_SECONDS, False
        while (used := self._used(reader)) >= self._paid and not self._is_full:
            extended = await self._request(used)
            self._collect()
            if extended.granted:
                continue
            if not counted:
                await self._count_again(reader)
                counted = True
                continue
            if not extended.may_retry or time.monotonic() >= ends_at:
                return False
            await asyncio.sleep(RETRY_SECONDS)
        return True

    async def _count_again(self, reader: StreamReader) -> None:
        """Count the delivered tokens, because the cheap estimate may be too high."""
        text, estimate = reader.text(), self._estimate(reader)
        kept = len(text.encode(errors="replace"))
        if kept:
            counted = await self._count(text) * reader.text_bytes / kept
            self._scale = min(1.0, max(counted, 1) / estimate)

    def _request(self, used: float) -> asyncio.Future[Extended]:
        """Request to double the paid output, unless a request is pending. `used` is the output so far in tokens."""
        if self._pending is None:
            more = max(self._paid, MIN_STEP_TOKENS, int(used) - self._paid)
            target = expected_cost(self._quote, self._prompt.input_tokens, self._paid + more)
            self._wanted = max(min(target, self._prompt.bound) - self._amount, 1)
            self._wanted_at = used
            self._pending = self._ledger.extend(Extension(self._call_id, self._account, self._wanted))
        return self._pending

    def _collect(self) -> None:
        """Add the credits of the pending request, if the ledger has answered it."""
        if self._pending is None or not self._pending.done():
            return
        granted = self._pending.result().granted
        self._pending = None
        self._amount += granted
        self._paid = paid_output(self._quote, self._prompt.input_tokens, self._amount)
        if self._is_full:
            self._ask_at = math.inf
            return
        # If less was granted than requested, the next requests come after a half, a quarter, … of the rest is used.
        half = (min(self._wanted_at, self._paid) + self._paid) / 2
        self._ask_at = self._paid // 2 if granted == self._wanted else half
