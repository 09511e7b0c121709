"""The hold of one running call, and what it takes to settle it: what was tried and delivered, what the vendor said of usage."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from shared.catalog import Route
from shared.ledger import Reserved
from shared.pricing import Quote, affordable_output
from shared.providers.base import Answer, ChatCall, StreamReader
from shared.usage import PartialUsage


class Hold:
    """Mutable, for it is written as the call goes on; read once, at its settlement."""

    __slots__ = (
        *("account", "amount", "answer", "api_key", "attempts", "call", "call_id", "channel", "clamp", "first_token_at"),
        *("quote", "reader", "settlement", "started"),
    )

    def __init__(self, call_id: UUID, call: ChatCall, quote: Quote, taken: Reserved) -> None:
        self.call_id = call_id
        self.call = call
        self.quote = quote
        self.account = taken.account
        self.api_key = taken.api_key
        self.amount = taken.amount
        self.clamp = _clamp(call, quote, taken.amount)
        self.started = time.monotonic()
        self.attempts = 0
        self.channel: UUID | None = None
        self.first_token_at: float | None = None
        self.reader: StreamReader | None = None
        self.answer: Answer | None = None
        self.settlement: asyncio.Task[object] | None = None  # of a call that broke off

    def attempt(self, route: Route) -> None:
        """Another attempt begins: what an earlier one said no longer counts."""
        self.attempts += 1
        self.channel = route.channel
        self.reader = None

    def relayed(self) -> None:
        """Bytes went to the caller."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()

    @property
    def delivered(self) -> bool:
        """Whether anything of an answer was delivered."""
        if self.answer is not None:
            return self.answer.delivered
        return self.reader is not None and self.reader.delivered and self.first_token_at is not None

    def told(self) -> PartialUsage:
        """Usage as the vendor told it."""
        if self.answer is not None:
            return self.answer.usage
        return self.reader.usage() if self.reader is not None else PartialUsage()

    def text(self) -> str:
        """The text that was delivered, for a local count."""
        if self.answer is not None:
            return self.answer.text
        return self.reader.text() if self.reader is not None else ""


def _clamp(call: ChatCall, quote: Quote, amount: int) -> int | None:
    """The output limit, tokens a choice, that the held credits impose; None where they pay for all that was asked."""
    affordable = affordable_output(quote, amount)
    if affordable >= quote.output_tokens:
        return None
    return max(1, affordable // call.choices)
