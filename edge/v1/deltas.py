"""Splits canonical chat events into deltas, each of one block: reasoning, text, refusal, image or tool call. Pure.

Providers' deviations are already corrected (`shared.dialects.openai_response`). Only the first choice is used: the API formats
that need this have one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from edge.v1.images_in_text import as_markdown
from edge.v1.provider_fields import signed_id
from shared.dialects.strip_foreign_fields import signed_blocks

Kind = Literal["reasoning", "text", "refusal", "tool", "image"]
_IMAGE = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)


class Piece(NamedTuple):
    """A delta of one block. `tool` is the index of a tool call in the answer.

    An image is its own block, with its data URL as `text`.

    `signed` is a complete thinking block with the provider's signature: it ends the reasoning before it.
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
    images: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


def pieces_of_events(chunks: bytes) -> list[Piece]:
    """Return the deltas of complete canonical events, each a line of `data: ` and a chunk."""
    return [piece for event in chunks.split(b"\n\n") if event for piece in _pieces_of_chunk(_decode(event[6:]))]


def pieces_of_body(body: Mapping[str, Any]) -> tuple[list[Piece], str]:
    """Return the deltas of a completion or a stream's last chunk, and the finish reason."""
    pieces: list[Piece] = []
    reason = "stop"
    for choice in body["choices"]:
        if (choice.get("index") or 0) == 0:
            delta = msgspec.convert(choice.get("message") or choice.get("delta") or {}, _Delta)
            pieces += _pieces(delta, choice.get("logprobs"))
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
    signed = signed_blocks(delta.thinking_blocks)
    if reasoning and len(signed) > 1:  # a complete answer: each signature belongs to the text of its own block
        for block in signed:
            pieces.append(Piece("reasoning", text_of(block.get("thinking")), signed=block))
    else:
        pieces += [Piece("reasoning", reasoning)] if reasoning else []
        pieces += [Piece("reasoning", "", signed=block) for block in signed]
    content = text_of(delta.content)
    if content:
        entries = logprobs.get("content") if isinstance(logprobs, dict) else None
        pieces.append(Piece("text", content, logprobs=tuple(entries) if isinstance(entries, list) else ()))
    refusal = text_of(delta.refusal)
    if refusal:
        pieces.append(Piece("refusal", refusal))
    if isinstance(delta.images, list):
        pieces += [_image(image) for image in delta.images]
    if isinstance(delta.tool_calls, list):
        pieces += [_tool(call, place) for place, call in enumerate(delta.tool_calls)]
    return pieces


def _image(image: Mapping[str, Any]) -> Piece:
    """Return the delta of an image. An https URL becomes a Markdown image, because only the chat format has a field for it."""
    url = image["image_url"].get("url")
    url = url if isinstance(url, str) else ""
    return Piece("image", url) if _IMAGE.match(url) else Piece("text", as_markdown(url))


def _tool(call: Mapping[str, Any], place: int) -> Piece:
    function = call.get("function") or {}
    return Piece(
        "tool",
        function.get("arguments") or "",
        tool=call.get("index", place),
        id=signed_id(call.get("id") or "", _signature(call)),
        name=function.get("name") or "",
    )


def _signature(call: Mapping[str, Any]) -> str:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def text_of(value: Any) -> str:
    """Return the value if it is a string, else ""."""
    return value if isinstance(value, str) else ""
