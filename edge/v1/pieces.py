"""What canonical chat events say, as pieces: reasoning, text, a refusal, tool calls. Pure.

Vendors say the same in several ways; here they become one. Only the first choice counts: the surfaces that read pieces have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

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
