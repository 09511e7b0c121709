"""The hold of one running call, and what it takes to settle it: what was tried and delivered, what the vendor said of usage."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from shared.billing.pricing import Quote, affordable_output
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import PartialUsage
from shared.catalog.snapshot import Route
from shared.dialects.base import Answer, ChatCall, StreamReader
from shared.ledger import Reserved


class Hold:
    """Mutable, for it is written as the call goes on; read once, at its settlement."""

    __slots__ = (
        *("abandoned", "account", "amount", "answer", "api_key", "attempts", "call", "call_id", "channel", "clamp", "failures"),
        *("first_token_at", "headers", "quote", "reader", "rest", "served_by", "settlement", "started", "stopped", "working"),
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
        self.failures: list[str] = []  # why each attempt but the last failed, as codes
        self.served_by = ""  # the public name of the channel that was tried last
        self.headers: list[tuple[bytes, bytes]] = []  # of the answer, where it has not begun
        self.channel: UUID | None = None
        self.first_token_at: float | None = None
        self.reader: StreamReader | None = None
        self.answer: Answer | None = None
        self.stopped = False  # the stream exceeded the output that the call pays for, and was cancelled
        self.rest = b""  # the rest to relay of a stopped stream
        self.abandoned = False  # the caller disconnected
        self.working = False  # a provider is working on the request, and bills the prompt even if it is cancelled
        self.settlement: asyncio.Task[object] | None = None  # of a call that broke off

    def attempt(self, route: Route) -> None:
        """Another attempt begins: what an earlier one said no longer counts."""
        self.attempts += 1
        self.channel = route.channel
        self.served_by = route.public_name
        self.reader = None
        self.working = False

    def sent(self, route: Route) -> None:
        """The request was sent to the provider of `route`."""
        self.working = route.settings.get("cancel") != "free"

    def failed(self, why: str) -> None:
        """The attempt failed: the provider aborted or refused it."""
        self.failures.append(why)
        self.working = False

    def routed(self) -> None:
        """No further attempt will be made: the answer's headers may tell which channel it was, and how many were needed."""
        if self.attempts:
            self.headers.append((b"x-yout-channel", self.served_by.encode()))
            self.headers.append((b"x-yout-attempts", b"%d" % self.attempts))

    def offer(self, call: ChatCall, quote: Quote) -> None:
        """Another model is to serve: from here on its price counts, and what the held credits buy of it."""
        self.call, self.quote = call, quote
        self.clamp = _clamp(call, quote, self.amount)

    def relayed(self) -> None:
        """Bytes went to the caller."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()

    def stop(self, rest: bytes) -> None:
        """The stream exceeded its limit: `rest` is the last part to relay."""
        assert self.reader is not None  # noqa: S101  (a stream that delivered)
        self.reader.stop()
        self.stopped = True
        self.rest = rest

    @property
    def paid_output(self) -> int:
        """The output tokens, over all choices, that the hold pays for: with reasoning that the output limit does not count."""
        quote = self.quote
        output = quote.output_tokens if self.clamp is None else min(self.clamp * self.call.choices, quote.output_tokens)
        return output + quote.reasoning_tokens

    @property
    def delivered(self) -> bool:
        """Whether anything of an answer was delivered."""
        if self.answer is not None:
            return self.answer.delivered
        return self.reader is not None and self.reader.delivered and self.first_token_at is not None

    @property
    def owes_prompt(self) -> bool:
        """Whether the caller disconnected while a provider worked on the prompt, before any output was delivered."""
        return self.abandoned and self.working and self.answer is None and not self.delivered

    def cut(self, status: str) -> str | None:
        """What became of a vendor's answer that its caller did not get whole; None where nothing of it was under way."""
        if self.stopped:
            return "cancelled_upstream"
        if status == "failed":
            return "broken_upstream" if self.delivered else None
        if status == "completed" or self.attempts == 0:
            return None
        whole = self.answer is not None or (self.reader is not None and self.reader.finished)
        return "drained" if whole else "cancelled_upstream"

    def told(self) -> PartialUsage:
        """Usage as the vendor told it."""
        if self.answer is not None:
            return self.answer.usage
        return self.reader.usage() if self.reader is not None else PartialUsage()

    def text(self) -> tuple[str, int]:
        """The delivered text, for a local count: its beginning, and its total size in UTF-8 bytes."""
        if self.answer is not None:
            text = self.answer.text
            return text[:MAX_KEPT_TEXT_BYTES], len(text.encode(errors="replace"))
        return (self.reader.text(), self.reader.text_bytes) if self.reader is not None else ("", 0)

    def images(self) -> int:
        """The number of delivered images, for a local count."""
        if self.answer is not None:
            return self.answer.images
        return self.reader.images() if self.reader is not None else 0


def _clamp(call: ChatCall, quote: Quote, amount: int) -> int | None:
    """The output limit, tokens a choice, that the held credits impose; None where they pay for all that was asked.

    What is above the model's longest answer was asked for in vain: it is not held for, and vendors refuse it.
    """
    affordable = affordable_output(quote, amount)
    if affordable < quote.output_tokens:
        return max(1, affordable // call.choices)
    longest = quote.output_tokens // call.choices
    return longest if call.output_limit is not None and call.output_limit > longest else None
