"""Extensions of a stream's hold, with a ledger that grants fixed amounts."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest

from edge.call import stream_hold
from edge.call.stream_hold import PaidPrompt, StreamHold
from shared.billing.pricing import Quote, quote
from shared.dialects.base import StreamReader
from shared.ledger import Extended, Extension, HoldTaken, KeyAndPlanLimits
from tests.shared.ledger.test_ledger import PRICE  # one credit per output token

LIMIT = 10_000
INPUT_PRICE = PRICE._replace(credits_per_1k_input=1_000)
QUOTE: Quote = quote(INPUT_PRICE, input_bound=100, input_estimate=10, output_limit=LIMIT)


class Ledger:
    """Answers each extension with the next grant, or with nothing; a `None` leaves it pending."""

    def __init__(self, *grants: Extended | None) -> None:
        self.grants = list(grants)
        self.asked: list[int] = []
        self.pending: asyncio.Future[Extended] | None = None

    def extend(self, item: Extension) -> asyncio.Future[Extended]:
        self.asked.append(item.credits)
        future: asyncio.Future[Extended] = asyncio.get_running_loop().create_future()
        grant = self.grants.pop(0) if self.grants else Extended(0)
        if grant is None:
            self.pending = future
        else:
            future.set_result(grant)
        return future


class Reader:
    def __init__(self) -> None:
        self.text_bytes = 0

    def text(self) -> str:
        return "x" * self.text_bytes


class Relay:
    """A stream whose tokens have three bytes each by the estimate, and in reality `bytes_per_token`."""

    def __init__(self, ledger: Ledger, held: int, bytes_per_token: int = 3) -> None:
        async def count(text: str) -> int:
            self.counts += 1
            return len(text) // bytes_per_token

        self.counts, self.reader = 0, Reader()
        taken = HoldTaken(uuid4(), None, held, KeyAndPlanLimits())
        self.hold = StreamHold(cast(Any, ledger), uuid4(), taken, QUOTE, PaidPrompt(QUOTE.bound, 0), count)

    async def relays(self, tokens: int) -> bool:
        """Return whether the stream may continue with this many more estimated tokens."""
        self.reader.text_bytes += 3 * tokens
        covered = await self.hold.covers(cast(StreamReader, self.reader), b"data: {}\n\n")
        await asyncio.sleep(0)  # callbacks of an extension
        return covered


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_hold, "RETRY_SECONDS", 0)


def test_the_hold_doubles_well_before_it_is_used_up() -> None:
    async def run() -> None:
        ledger = Ledger(Extended(1_000), Extended(2_000), Extended(4_000))
        relay = Relay(ledger, 1_000)
        for _ in range(39):
            assert await relay.relays(100)
        assert ledger.asked == [1_000, 2_000, 4_000]
        assert relay.counts == 0

    asyncio.run(run())


def test_a_stream_goes_on_while_an_extension_is_pending() -> None:
    async def run() -> None:
        ledger = Ledger(None)
        relay = Relay(ledger, 1_000)
        assert await relay.relays(600)
        assert await relay.relays(300)
        waiting = asyncio.ensure_future(relay.relays(200))
        await asyncio.sleep(0)
        assert not waiting.done()
        assert ledger.pending is not None
        ledger.pending.set_result(Extended(1_000))
        assert await waiting
        assert ledger.asked == [1_000]

    asyncio.run(run())


def test_an_empty_pool_ends_the_stream_after_its_tokens_are_counted() -> None:
    async def run() -> None:
        ledger = Ledger()
        relay = Relay(ledger, 1_000, bytes_per_token=6)
        shares = [await relay.relays(100) for _ in range(25)]
        assert shares == [True] * 19 + [False] * 6  # 2,000 estimated tokens are 1,000 real ones
        assert len(ledger.asked) < 30

    asyncio.run(run())


def test_a_burst_beyond_the_counted_hold_ends_the_stream() -> None:
    async def run() -> None:
        relay = Relay(Ledger(), 1_000, bytes_per_token=6)
        assert await relay.relays(1_800)  # 900 real ones
        assert not await relay.relays(600)

    asyncio.run(run())


def test_an_empty_pool_does_not_get_a_request_with_every_chunk() -> None:
    async def run() -> None:
        ledger = Ledger()
        relay = Relay(ledger, 10_000 - 1)
        for _ in range(4_900):
            assert await relay.relays(2)
        assert len(ledger.asked) <= 8

    asyncio.run(run())


def test_a_stream_waits_for_credits_that_other_calls_hold() -> None:
    async def run() -> None:
        busy = Extended(0, may_retry=True)
        ledger = Ledger(busy, busy, busy, Extended(500))
        relay = Relay(ledger, 1_000)
        assert await relay.relays(1_000)
        assert not ledger.grants

    asyncio.run(run())


def test_nothing_is_requested_once_all_output_is_paid() -> None:
    async def run() -> None:
        ledger = Ledger(Extended(LIMIT - 1_000))  # less than the bound, whose input counts as more than the real one
        relay = Relay(ledger, 1_000)
        for _ in range(100):
            assert await relay.relays(200)
        assert len(ledger.asked) == 1

    asyncio.run(run())


def test_the_bound_needs_no_extension() -> None:
    async def run() -> None:
        ledger = Ledger()
        relay = Relay(ledger, QUOTE.bound)
        assert await relay.relays(3 * LIMIT)
        assert not ledger.asked

    asyncio.run(run())
