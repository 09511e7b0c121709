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
from edge.v1.provider_fields import id_with_signature
from shared.dialects.anthropic_search import has_searches
from shared.dialects.strip_foreign_fields import signed_blocks

Kind = Literal["reasoning", "text", "refusal", "tool", "custom", "image", "block", "text_end", "pause"]
_IMAGE = re.compile(r"data:image/[\w.+-]+;base64,", re.ASCII)


class Delta(NamedTuple):
    """A delta of one block. `tool` is the index of a tool call in the answer: of a function, or of a custom tool.

    An image is its own block, with its data URL as `text`.

    `signature` is a complete thinking block with the provider's signature: it ends the reasoning before it.

    Answers with web searches of the Messages API also have: a `block` of a search, which is in `signature`; the end of a block of
    text (`text_end`), whose `signature` has its citations; and `pause`, if the turn is paused.
    """

    kind: Kind
    text: str
    tool: int = 0
    id: str = ""
    name: str = ""
    logprobs: tuple[Any, ...] = ()
    signature: Mapping[str, Any] | None = None


class _ChunkDelta(msgspec.Struct):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    thinking_blocks: Any = None
    images: Any = None
    content_parts: Any = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _ChunkDelta | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


_decode = msgspec.json.Decoder(_Chunk).decode


def deltas_of_events(chunks: bytes) -> list[Delta]:
    """Return the deltas of complete canonical events, each a line of `data: ` and a chunk."""
    return [piece for event in chunks.split(b"\n\n") if event for piece in _deltas_of_chunk(_decode(event[6:]))]


def deltas_of_body(body: Mapping[str, Any]) -> tuple[list[Delta], str]:
    """Return the deltas of a completion or a stream's last chunk, and the finish reason."""
    pieces: list[Delta] = []
    reason = "stop"
    for choice in body["choices"]:
        if (choice.get("index") or 0) == 0:
            delta = msgspec.convert(choice.get("message") or choice.get("delta") or {}, _ChunkDelta)
            if delta.content_parts and "message" in choice and has_searches(delta.content_parts):
                # These blocks have the content in its order; only tool calls are beside them.
                pieces += _deltas(_ChunkDelta(tool_calls=delta.tool_calls), None)
                pieces[:0] = [piece for part in delta.content_parts for piece in _whole_part(part)]
            else:
                pieces += _deltas(delta, choice.get("logprobs"))
            reason = choice.get("finish_reason") or reason
    return pieces, reason


def _deltas_of_chunk(chunk: _Chunk) -> list[Delta]:
    for choice in chunk.choices:
        if choice.index == 0 and choice.delta is not None:
            return _deltas(choice.delta, choice.logprobs)
    return []


def _deltas(delta: _ChunkDelta, logprobs: Any) -> list[Delta]:
    pieces: list[Delta] = []
    reasoning = text_or_empty(delta.reasoning_content) or text_or_empty(delta.reasoning)
    signed = signed_blocks(delta.thinking_blocks)
    if reasoning and len(signed) > 1:  # a complete answer: each signature belongs to the text of its own block
        for block in signed:
            pieces.append(Delta("reasoning", text_or_empty(block.get("thinking")), signature=block))
    else:
        pieces += [Delta("reasoning", reasoning)] if reasoning else []
        pieces += [Delta("reasoning", "", signature=block) for block in signed]
    content = text_or_empty(delta.content)
    if content:
        entries = logprobs.get("content") if isinstance(logprobs, dict) else None
        pieces.append(Delta("text", content, logprobs=tuple(entries) if isinstance(entries, list) else ()))
    refusal = text_or_empty(delta.refusal)
    if refusal:
        pieces.append(Delta("refusal", refusal))
    if isinstance(delta.images, list):
        pieces += [_image(image) for image in delta.images]
    if isinstance(delta.content_parts, list):
        pieces += [piece for part in delta.content_parts for piece in _part(part)]
    if isinstance(delta.tool_calls, list):
        pieces += [_tool(call, place) for place, call in enumerate(delta.tool_calls)]
    return pieces


def _part(part: Any) -> list[Delta]:
    """Return the deltas of a complete block of an answer with searches, whose text was already sent; none for other blocks."""
    match part.get("type") if isinstance(part, dict) else None:
        case "text":
            return [Delta("text_end", "", signature=part)]
        case "server_tool_use" | "web_search_tool_result":
            return [Delta("block", "", signature={name: value for name, value in part.items() if name != "index"})]
        case "pause_turn":
            return [Delta("pause", "")]
    return []


def _whole_part(part: Any) -> list[Delta]:
    """Return the deltas of a block, including its text."""
    match part.get("type"):
        case "text":
            return [Delta("text", text_or_empty(part.get("text"))), *_part(part)]
        case "thinking" | "redacted_thinking":
            return [Delta("reasoning", text_or_empty(part.get("thinking")), signature=part)]
    return _part(part)


def _image(image: Mapping[str, Any]) -> Delta:
    """Return the delta of an image. An https URL becomes a Markdown image, because only the chat format has a field for it."""
    url = image["image_url"].get("url")
    url = url if isinstance(url, str) else ""
    return Delta("image", url) if _IMAGE.match(url) else Delta("text", as_markdown(url))


def _tool(call: Mapping[str, Any], place: int) -> Delta:
    custom = call.get("custom")
    function = call.get("function") or {}
    return Delta(
        "tool" if custom is None else "custom",
        function.get("arguments") or "" if custom is None else custom.get("input") or "",
        tool=call.get("index", place),
        id=id_with_signature(call.get("id") or "", _signature(call)),
        name=(function if custom is None else custom).get("name") or "",
    )


def _signature(call: Mapping[str, Any]) -> str:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) else ""


def text_or_empty(value: Any) -> str:
    """Return the value if it is a string, else ""."""
    return value if isinstance(value, str) else ""
