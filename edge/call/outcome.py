"""The outcome of one call at its upstreams: the value that its settlement is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from shared.billing.pricing import Quote
from shared.billing.relay_limit import MAX_KEPT_TEXT_BYTES
from shared.billing.token_usage import PartialUsage
from shared.catalog.snapshot import Route
from shared.dialects.base import Answer, StreamReader
from shared.ledger import HoldTaken


class FailedAttempt(NamedTuple):
    """An attempt that failed after its provider reported usage, or sent part of an answer, and may therefore be billed.

    text, text_bytes, image_count  the received output, as in `Outcome.delivered_text` and `Outcome.delivered_images`
    """

    route: Route
    usage: PartialUsage
    text: str = ""
    text_bytes: int = 0
    image_count: int = 0


def has_cost(usage: PartialUsage) -> bool:
    """Return whether a provider reported tokens, or the cost itself."""
    return any(count is not None for count in (usage.input_tokens, usage.output_tokens, usage.cost_nano_usd))


class Outcome(Struct, frozen=True, gc=False):
    """What a call delivered, and through which model and channel. Created once, when the call ends or is cut off.

    reserved        the hold that pays for the call, as it was taken
    held            the credits that it has grown to
    quote           of the model that was tried last, like `model`, `paid_output` and `route`
    paid_output     the output tokens, over all choices, that the held credits pay for
    failures        error code of each failed attempt
    started_at      in seconds of `time.monotonic`, like `first_token_at` (None if nothing was relayed)
    route           the route that was tried last; None if no request was sent
    provider_status  HTTP status of the last response of a provider; None without one
    answer, reader  what was received: a complete answer or a stream
    failed_attempts  attempts that failed before anything was relayed, if their cost can be computed
    request_sha256  of the body of the last request; None if none was sent
    request_shape   id of the shape of that request; None also if it has none (`shared.ledger.request_shapes`)

    `output_exceeded`: the stream exceeded `paid_output`, and was cancelled. `credits_used_up`: its hold was used up and could not
    be extended, and it was cancelled. `provider_working`: a provider was processing the request, and bills the prompt even if we
    cancel.
    """

    reserved: HoldTaken
    model: str
    quote: Quote
    paid_output: int
    route: Route | None
    attempts: int
    failures: Sequence[str]
    started_at: float
    first_token_at: float | None
    answer: Answer | None
    reader: StreamReader | None
    output_exceeded: bool
    provider_working: bool
    provider_status: int | None
    held: int
    credits_used_up: bool = False
    failed_attempts: Sequence[FailedAttempt] = ()
    request_sha256: bytes | None = None
    request_shape: bytes | None = None

    @property
    def delivered(self) -> bool:
        """Whether any part of an answer was delivered."""
        if self.answer is not None:
            return self.answer.delivered
        return self.reader is not None and self.reader.delivered and self.first_token_at is not None

    @property
    def only_prompt(self) -> bool:
        """Whether a provider was processing the prompt, and no output was delivered."""
        return self.provider_working and self.answer is None and not self.delivered

    def truncation(self, status: str) -> str | None:
        """Return how a truncated response ended upstream, or None if nothing was truncated.

        `cancelled_upstream`: we cancelled it. `broken_upstream`: the provider broke it off. `drained`: it had completed.
        """
        if self.output_exceeded or self.credits_used_up:
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
