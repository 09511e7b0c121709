"""What the dialects of kinds that are answered whole have in common. Pure."""

from __future__ import annotations

from typing import NoReturn

from shared.dialects.base import ChatCall, Target, VendorError
from shared.dialects.openai import read_openai_error


class AnsweredWhole:
    """Part of a `Dialect` whose calls are never streams: their surfaces refuse to stream."""

    def read_stream(self, call: ChatCall, call_id: str, began: int) -> NoReturn:
        """Never called; it is there for the `Dialect` to be whole."""
        raise NotImplementedError(f"calls of the kind {call.kind} never stream")

    def read_error(self, status: int, data: bytes, call: ChatCall, target: Target) -> VendorError:
        """Read an error answer, as that of a chat."""
        return read_openai_error(status, data, call.model, target)
