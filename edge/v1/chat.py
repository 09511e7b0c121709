"""`POST /v1/chat/completions`: the canonical shape itself, so that a stream's chunks pass through as they are."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from edge import requests
from edge.errors import render_frame
from edge.exchange import Finished
from edge.surface import KEEPALIVE, Asked, Surface, spent, usage_of

DONE = b"data: [DONE]\n\n"


class Chunks:
    """OpenAI's chunks. `yout` rides on the last of them."""

    __slots__ = ("_include_usage",)

    relay = None

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage

    def ending(self, event: Finished) -> bytes:
        """The last chunk, the usage chunk if it was asked for, and `[DONE]`."""
        if not self._include_usage:
            last = {**event.body, "yout": spent(event)}
            return b"data: " + orjson.dumps(last) + b"\n\n" + DONE
        usage = {**event.frame, "choices": [], "usage": usage_of(event), "yout": spent(event)}
        return b"data: " + orjson.dumps(event.body) + b"\n\ndata: " + orjson.dumps(usage) + b"\n\n" + DONE

    def failure(self, error: BaseException) -> bytes:
        """The error; no `[DONE]` follows it."""
        return render_frame(error)

    def keepalive(self) -> bytes:
        """A comment."""
        return KEEPALIVE

    def whole(self, event: Finished) -> dict[str, Any]:
        """The completion."""
        return {**event.body, "usage": _told_usage(event), "yout": spent(event)}


def _told_usage(event: Finished) -> Any:
    """The vendor's own account of usage with all its details; ours where it gave none that could be believed."""
    told = event.body.get("usage")
    return told if isinstance(told, dict) and not event.usage.estimated else usage_of(event)


def _read(data: bytes, _: UUID) -> Asked:
    call = requests.chat(data)
    return Asked(call, Chunks(call.include_usage))


CHAT = Surface(_read)
