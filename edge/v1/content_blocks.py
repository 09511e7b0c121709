"""Converts canonical answers to sequences of blocks: reasoning, text, refusals, images, tool calls. Pure.

In chat deltas they may be interleaved. Responses and Messages have items and blocks that open, grow and close, one after the
other. `Blocks` converts the former to the latter, and a `BlockRenderer` renders the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from edge.v1.deltas import Delta

_CALLS = ("tool", "custom")


class Block:
    """One block. `index` is its position in the answer."""

    __slots__ = ("id", "index", "kind", "logprobs", "name", "parts", "signature", "tool")

    def __init__(self, index: int, first: Delta) -> None:
        self.index = index
        self.kind = first.kind
        self.tool, self.id, self.name = first.tool, first.id, first.name
        self.parts: list[str] = []
        self.logprobs: list[Any] = []
        self.signature: Mapping[str, Any] | None = first.signature

    @property
    def text(self) -> str:
        """The text so far; for a tool call, its arguments as JSON."""
        return "".join(self.parts)

    @property
    def arguments(self) -> str:
        """The JSON arguments of a tool call; empty ones become an empty object."""
        return self.text or "{}"


class BlockRenderer(Protocol):
    """Renders the changes of blocks as complete server-sent events."""

    def block_opened(self, block: Block) -> bytes: ...
    def extended(self, block: Block, piece: Delta) -> bytes: ...
    def block_closed(self, block: Block) -> bytes: ...


class Blocks:
    """The blocks of one answer, in order. At most one is open."""

    __slots__ = ("_open", "_shape", "_waiting", "all")

    def __init__(self, shape: BlockRenderer) -> None:
        self.all: list[Block] = []
        self._shape = shape
        self._open: Block | None = None
        self._waiting: list[Delta] = []  # deltas of other tool calls, while one is incomplete

    def add(self, pieces: Iterable[Delta]) -> bytes:
        """Add deltas. Return their events."""
        return b"".join([self._add(piece) for piece in pieces])

    def close(self) -> bytes:
        """Close the open block at the end of the answer. Return its events."""
        events = self._close()
        waiting, self._waiting = self._waiting, []
        for piece in sorted(waiting, key=lambda piece: piece.tool):  # the sort is stable: each call's deltas stay in order
            events += self._grow(piece)
        return events + self._close()

    def _add(self, piece: Delta) -> bytes:
        open_block = self._open
        if open_block is not None and open_block.kind in _CALLS and not _same(open_block, piece) and not _is_whole(open_block):
            self._waiting.append(piece)
            return b""
        events = self._grow(piece)
        if self._waiting and self._open is not None and _is_whole(self._open):
            waiting, self._waiting = self._waiting, []
            events += self.add(waiting)
        return events

    def _grow(self, piece: Delta) -> bytes:
        events = b""
        block = self._open
        if piece.kind == "text_end":
            if block is None or block.kind != "text":
                return b""
            block.signature = piece.signature
            return self._close()
        if block is None or not _same(block, piece):
            events = self._close()
            block = self._open = Block(len(self.all), piece)
            self.all.append(block)
            events += self._shape.block_opened(block)
        block.logprobs.extend(piece.logprobs)
        block.signature = piece.signature
        if piece.text:
            block.parts.append(piece.text)
            events += self._shape.extended(block, piece)
        return events

    def _close(self) -> bytes:
        block, self._open = self._open, None
        return self._shape.block_closed(block) if block is not None else b""


def _same(block: Block, piece: Delta) -> bool:
    if block.kind != piece.kind or block.signature is not None or block.kind in ("image", "block"):
        return False
    if block.kind in _CALLS:
        return block.tool == piece.tool
    return piece.signature is None or piece.signature.get("type") == "thinking"


def _is_whole(block: Block) -> bool:
    """Return whether a tool call's arguments are complete JSON: some providers interleave several calls.

    An input of any text has no recognizable end.
    """
    if block.kind == "custom":
        return False
    try:
        orjson.loads(block.text)
    except orjson.JSONDecodeError:
        return False
    return True
