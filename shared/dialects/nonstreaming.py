"""Common part of dialects whose answers are never streamed. Pure."""

from __future__ import annotations

from typing import NoReturn

from shared.dialects.base import ChatCall, ProviderError, Target
from shared.dialects.openai import read_openai_error


class NonStreamingDialect:
    """Base class of dialects without streaming: their endpoints reject `stream`."""

    def new_stream_reader(self, call: ChatCall, call_id: str, created: int) -> NoReturn:
        """Never called; completes the `Dialect` interface."""
        raise NotImplementedError(f"calls of the kind {call.kind} never stream")

    def parse_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> ProviderError:
        """Parse an error, as for chats."""
        return read_openai_error(status, data, call.model, target)
