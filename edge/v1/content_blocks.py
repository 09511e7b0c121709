"""Converts a canonical answer, streaming or not, into a sequence of blocks: reasoning, text, a refusal, images, tool calls. Pure.

Chat deltas may mix all of these; Responses and Messages have items and blocks that open, grow and close. `Blocks` converts
between the two, and calls a `Shape` that writes the surface's events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from edge.v1.deltas import Piece


class Block:
    """One block. `index` is its place among all blocks of the answer."""

    __slots__ = ("id", "index", "kind", "logprobs", "name", "parts", "signed", "tool")

    def __init__(self, index: int, first: Piece) -> None:
        self.index = index
        self.kind = first.kind
        self.tool, self.id, self.name = first.tool, first.id, first.name
        self.parts: list[str] = []
        self.logprobs: list[Any] = []
        self.signed: Mapping[str, Any] | None = first.signed

    @property
    def text(self) -> str:
        """All of it so far; of a tool call, its arguments as JSON text."""
        return "".join(self.parts)

    @property
    def arguments(self) -> str:
        """The arguments of a tool call; what a vendor left empty is an empty object."""
        return self.text or "{}"


class Shape(Protocol):
    """How blocks are written: whole server-sent events."""

    def opened(self, block: Block) -> bytes: ...
    def grew(self, block: Block, piece: Piece) -> bytes: ...
    def closed(self, block: Block) -> bytes: ...


class Blocks:
    """The blocks of one answer, in the order in which they opened. At most one is open."""

    __slots__ = ("_open", "_shape", "_waiting", "all")

    def __init__(self, shape: Shape) -> None:
        self.all: list[Block] = []
        self._shape = shape
        self._open: Block | None = None
        self._waiting: list[Piece] = []  # of tool calls that were told while another one was not whole

    def add(self, pieces: Iterable[Piece]) -> bytes:
        """Take pieces; give what they mean to the caller."""
        return b"".join([self._add(piece) for piece in pieces])

    def close(self) -> bytes:
        """Close what is open: the answer is complete."""
        told = self._close()
        waiting, self._waiting = self._waiting, []
        for piece in sorted(waiting, key=lambda piece: piece.tool):  # stable: each call's pieces stay in order
            told += self._grow(piece)
        return told + self._close()

    def _add(self, piece: Piece) -> bytes:
        open_block = self._open
        if open_block is not None and open_block.kind == "tool" and not _same(open_block, piece) and not _is_whole(open_block):
            self._waiting.append(piece)
            return b""
        told = self._grow(piece)
        if self._waiting and self._open is not None and _is_whole(self._open):
            waiting, self._waiting = self._waiting, []
            told += self.add(waiting)
        return told

    def _grow(self, piece: Piece) -> bytes:
        told = b""
        block = self._open
        if block is None or not _same(block, piece):
            told = self._close()
            block = self._open = Block(len(self.all), piece)
            self.all.append(block)
            told += self._shape.opened(block)
        block.logprobs.extend(piece.logprobs)
        block.signed = piece.signed
        if piece.text:
            block.parts.append(piece.text)
            told += self._shape.grew(block, piece)
        return told

    def _close(self) -> bytes:
        block, self._open = self._open, None
        return self._shape.closed(block) if block is not None else b""


def _same(block: Block, piece: Piece) -> bool:
    if block.kind != piece.kind or block.signed is not None or block.kind == "image":
        return False
    if block.kind == "tool":
        return block.tool == piece.tool
    return piece.signed is None or piece.signed.get("type") == "thinking"


def _is_whole(block: Block) -> bool:
    """Whether the arguments of a tool call are complete: vendors may tell several calls by turns."""
    try:
        orjson.loads(block.text)
    except orjson.JSONDecodeError:
        return False
    return True
