"""Common part of dialects whose answers are never streamed. Pure."""

from __future__ import annotations

from typing import NoReturn

from shared.dialects.base import ChatCall, Target, VendorError
from shared.dialects.openai import read_openai_error


class AnsweredWhole:
    """Base class of dialects without streaming: their endpoints reject `stream`."""

    def read_stream(self, call: ChatCall, call_id: str, began: int) -> NoReturn:
        """Never called; completes the `Dialect` interface."""
        raise NotImplementedError(f"calls of the kind {call.kind} never stream")

    def read_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> VendorError:
        """Parse an error, as for chats."""
        return read_openai_error(status, data, call.model, target)
