"""What a model says while it answers: pieces of text or tool calls, then one usage. The two models share it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Protocol

from embedded.chat_request import ChatRequest


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of choice `index`. `tool_call` and `logprobs` are delta objects in OpenAI's own shape."""

    index: int = 0
    text: str | None = None
    tool_call: dict[str, Any] | None = None
    logprobs: dict[str, Any] | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the whole call. It is always the last event of an answer."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    def body(self) -> dict[str, Any]:
        """The `usage` object of an answer."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


Events = AsyncGenerator[Piece | Usage, None]


class CutConnection(Exception):
    """Drop the client's connection now, with no more bytes and no clean end."""


class Model(Protocol):
    """Anything that answers a chat. Errors before the first event become an HTTP status."""

    def answer(self, request: ChatRequest) -> Events:
        """Pieces in order, one finish reason per choice, then the usage. Raises ApiError, CutConnection."""
