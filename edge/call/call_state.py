"""The state of one running call that its settlement needs: hold, attempts, delivered output, reported usage."""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

from shared.billing.pricing import Quote, affordable_output
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import PartialUsage
from shared.catalog.snapshot import Route
from shared.dialects.base import Answer, ChatCall, StreamReader
from shared.ledger import HoldTaken


class CallState:
    """The state of a call: updated while it runs, read once by its settlement."""

    __slots__ = (
        *(
            "client_disconnected",
            "account",
            "amount",
            "answer",
            "api_key",
            "attempts",
            "call",
            "call_id",
            "channel",
            "output_clamp",
            "failures",
            "payer",
        ),
        *(
            "first_token_at",
            "headers",
            "quote",
            "reader",
            "remaining_bytes",
            "channel_name",
            "settlement",
            "started",
            "output_exceeded",
            "provider_working",
        ),
    )

    def __init__(self, call_id: UUID, call: ChatCall, quote: Quote, taken: HoldTaken, payer: UUID) -> None:
        self.call_id = call_id
        self.call = call
        self.quote = quote
        self.account = taken.account
        self.payer = payer  # the account, or the visitor
        self.api_key = taken.api_key
        self.amount = taken.amount
        self.output_clamp = _clamp(call, quote, taken.amount)
        self.started = time.monotonic()
        self.attempts = 0
        self.failures: list[str] = []  # error code of each failed attempt
        self.channel_name = ""  # public name of the last channel tried
        self.headers: list[tuple[bytes, bytes]] = []  # for the response, if it has not started
        self.channel: UUID | None = None
        self.first_token_at: float | None = None
        self.reader: StreamReader | None = None
        self.answer: Answer | None = None
        self.output_exceeded = False  # the stream exceeded the output that the call pays for, and was cancelled
        self.remaining_bytes = b""  # the last part to relay of a stopped stream
        self.client_disconnected = False  # the caller disconnected
        self.provider_working = False  # a provider is processing the request, and bills the prompt even if we cancel
        self.settlement: asyncio.Task[object] | None = None  # of a failed or cut call

    def start_attempt(self, route: Route) -> None:
        """Start another attempt, and discard the state of the previous one."""
        self.attempts += 1
        self.channel = route.channel
        self.channel_name = route.public_name
        self.reader = None
        self.provider_working = False

    def mark_sent(self, route: Route) -> None:
        """Record that the request was sent to the provider of `route`."""
        self.provider_working = route.settings.get("cancel") != "free"

    def mark_failed(self, why: str) -> None:
        """Record that the attempt failed with error code `why`."""
        self.failures.append(why)
        self.provider_working = False

    def add_routing_headers(self) -> None:
        """Add the headers with the channel and the number of attempts; no further attempt follows."""
        if self.attempts:
            self.headers.append((b"x-yout-channel", self.channel_name.encode()))
            self.headers.append((b"x-yout-attempts", b"%d" % self.attempts))

    def switch_model(self, call: ChatCall, quote: Quote) -> None:
        """Switch to a fallback model with its price, and limit the output to what the held credits pay for."""
        self.call, self.quote = call, quote
        self.output_clamp = _clamp(call, quote, self.amount)

    def mark_relayed(self) -> None:
        """Record that bytes were relayed to the caller."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()

    def stop_stream(self, rest: bytes) -> None:
        """End a stream that exceeded its limit. `rest` is the last part to relay."""
        assert self.reader is not None  # noqa: S101  (set while streaming)
        self.reader.truncate()
        self.output_exceeded = True
        self.remaining_bytes = rest

    @property
    def paid_output(self) -> int:
        """The output tokens, over all choices, that the hold pays for, plus reasoning that the output limit does not count."""
        quote = self.quote
        output = (
            quote.output_tokens if self.output_clamp is None else min(self.output_clamp * self.call.choices, quote.output_tokens)
        )
        return output + quote.reasoning_tokens

    @property
    def delivered(self) -> bool:
        """Whether any part of an answer was delivered."""
        if self.answer is not None:
            return self.answer.delivered
        return self.reader is not None and self.reader.delivered and self.first_token_at is not None

    @property
    def charges_prompt(self) -> bool:
        """Whether the caller disconnected while a provider processed the prompt, before any output was delivered."""
        return self.client_disconnected and self.provider_working and self.answer is None and not self.delivered

    def truncation(self, status: str) -> str | None:
        """Return how a truncated response ended upstream, or None if nothing was truncated.

        `cancelled_upstream`: we cancelled it. `broken_upstream`: the provider broke it off. `drained`: it had completed.
        """
        if self.output_exceeded:
            return "cancelled_upstream"
        if status == "failed":
            return "broken_upstream" if self.delivered else None
        if status == "completed" or self.attempts == 0:
            return None
        whole = self.answer is not None or (self.reader is not None and self.reader.finished)
        return "drained" if whole else "cancelled_upstream"

    def reported_usage(self) -> PartialUsage:
        """Return the usage that the provider reported."""
        if self.answer is not None:
            return self.answer.usage
        return self.reader.usage() if self.reader is not None else PartialUsage()

    def delivered_text(self) -> tuple[str, int]:
        """Return the start of the delivered text, for a local token count, and the total size in UTF-8 bytes."""
        if self.answer is not None:
            text = self.answer.text
            return text[:MAX_KEPT_TEXT_BYTES], len(text.encode(errors="replace"))
        return (self.reader.text(), self.reader.text_bytes) if self.reader is not None else ("", 0)

    def delivered_images(self) -> int:
        """Return the number of delivered images."""
        if self.answer is not None:
            return self.answer.image_count
        return self.reader.image_count() if self.reader is not None else 0


def _clamp(call: ChatCall, quote: Quote, amount: int) -> int | None:
    """Return the output limit in tokens per choice to send upstream, or None if the requested one can stay.

    It is lowered to what the held credits pay for, and to the model's maximum output, which providers enforce.
    """
    affordable = affordable_output(quote, amount)
    if affordable < quote.output_tokens:
        return max(1, affordable // call.choices)
    longest = quote.output_tokens // call.choices
    return longest if call.output_limit is not None and call.output_limit > longest else None
