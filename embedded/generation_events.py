"""The events of a generation, shared by both chat models: text or tool-call deltas, then the usage."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from embedded.chat_request import ChatRequest


@dataclass(frozen=True, slots=True)
class Delta:
    """A delta of choice `index`. `tool_call` and `logprobs` are delta objects in OpenAI's format."""

    index: int = 0
    text: str | None = None
    tool_call: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of the whole call. Always the last event."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def body(self) -> dict[str, Any]:
        """Return the `usage` object of a response."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


Events = AsyncGenerator[Delta | Usage, None]


class AbortConnection(Exception):
    """Close the client's connection now, without sending more bytes or ending the body."""


class Model(Protocol):
    """A chat model. Errors raised before the first event become an HTTP error response."""

    def answer(self, request: ChatRequest) -> Events:
        """Yield deltas in order, one finish reason per choice, then the usage. Raises ApiError, CutConnection."""
