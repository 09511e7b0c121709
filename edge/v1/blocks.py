"""A canonical answer, streamed or whole, as blocks one after the other: reasoning, text, a refusal, tool calls. Pure.

Chats deliver deltas that may mix all of these; Responses and Messages know items and blocks that open, grow and close. `Blocks`
stands between the two, and calls a `Shape` that writes what the caller's SDK reads. Only the first choice counts: these surfaces
have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import orjson

from edge.v1.natives import signed_id

Kind = Literal["reasoning", "text", "refusal", "tool"]


class Piece(NamedTuple):
    """What a delta adds to one block. Tool calls are told apart by `tool`, their place in the answer.

    `signed` is a whole block of thinking that its vendor has signed: it ends the reasoning that was told before it.
    """

    kind: Kind
    text: str
    tool: int = 0
    id: str = ""
    name: str = ""
    logprobs: tuple[Any, ...] = ()
    signed: Mapping[str, Any] | None = None


class Block:
    """One block. `index` is its place among all blocks of the answer."""

    __slots__ = ("id", "index", "kind", "logprobs", "name", "parts", "signed", "tool")

    def __init__(self, index: int, first: Piece) -> None:
        self.index = index
        self.kind = first.kind
        self.tool, self.id, self.name = first.tool, first.id, first.name
        self.parts: list[str] = []
        self.logprobs: list[Any] = []
        self.signed: Mapping[str, Any] | None = None

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
    if block.kind != piece.kind or block.signed is not None:
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


class _Delta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    thinking_blocks: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


def pieces_of_events(chunks: bytes) -> list[Piece]:
    """What whole canonical events say, each of them `data: ` and a chunk in one line."""
    return [piece for event in chunks.split(b"\n\n") if event for piece in _pieces_of_chunk(_decode(event[6:]))]


def pieces_of_body(body: Mapping[str, Any]) -> tuple[list[Piece], str]:
    """What a whole completion, or the last chunk of a stream, says, and why it ended."""
    pieces: list[Piece] = []
    reason = "stop"
    for choice in body["choices"]:
        if (choice.get("index") or 0) == 0:
            said = msgspec.convert(choice.get("message") or choice.get("delta") or {}, _Delta)
            pieces += _pieces(said, choice.get("logprobs"))
            reason = choice.get("finish_reason") or reason
    return pieces, reason


def _pieces_of_chunk(chunk: _Chunk) -> list[Piece]:
    for choice in chunk.choices:
        if choice.index == 0 and choice.delta is not None:
            return _pieces(choice.delta, choice.logprobs)
    return []


def _pieces(delta: _Delta, logprobs: Any) -> list[Piece]:
    pieces: list[Piece] = []
    reasoning = text_of(delta.reasoning_content) or text_of(delta.reasoning)
    if reasoning:
        pieces.append(Piece("reasoning", reasoning))
    if isinstance(delta.thinking_blocks, list):
        pieces += [Piece("reasoning", "", signed=block) for block in delta.thinking_blocks if isinstance(block, dict)]
    content = text_of(delta.content)
    if content:
        told = logprobs.get("content") if isinstance(logprobs, dict) else None
        pieces.append(Piece("text", content, logprobs=tuple(told) if isinstance(told, list) else ()))
    refusal = text_of(delta.refusal)
    if refusal:
        pieces.append(Piece("refusal", refusal))
    if isinstance(delta.tool_calls, list):
        pieces += [_tool(call, place) for place, call in enumerate(delta.tool_calls) if isinstance(call, dict)]
    return pieces


def _tool(call: Mapping[str, Any], place: int) -> Piece:
    index, function = call.get("index"), call.get("function")
    told = function if isinstance(function, dict) else {}
    arguments = told.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode()  # some vendors send the object itself
    return Piece(
        "tool",
        arguments or "",
        tool=index if isinstance(index, int) else place,
        id=signed_id(call["id"], _signature(call)) if isinstance(call.get("id"), str) else "",
        name=told["name"] if isinstance(told.get("name"), str) else "",
    )


def _signature(call: Mapping[str, Any]) -> str:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def text_of(said: Any) -> str:
    """Text as it is; of a list of parts, as some vendors send it, the text of those that have one."""
    if isinstance(said, list):
        return "".join(part["text"] for part in said if isinstance(part, dict) and isinstance(part.get("text"), str))
    return said if isinstance(said, str) else ""
