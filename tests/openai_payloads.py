"""Builders for the JSON that an OpenAI-shaped upstream sends; `tests/upstream.py` sends it."""

from __future__ import annotations

import json
from typing import Any

CALL_ID = "chatcmpl-upstream-1"
CREATED = 1_700_000_000
MODEL = "acme-model"
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


def tokens(input: int = 7, output: int = 3, *, cached: int | None = None, reasoning: int | None = None) -> Json:
    """A `usage` object; the details are included only if given."""
    usage: Json = {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def completion(text: str | None = "Hello there.", *, usage: Json | None = None, finish: str = "stop", **message: Any) -> Json:
    """A whole `chat.completion`. With `usage=None` the provider reports none; `message` adds fields such as `tool_calls`."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    body: Json = {"id": CALL_ID, "object": "chat.completion", "created": CREATED, "model": MODEL, "choices": [choice]}
    return body if usage is None else {**body, "usage": usage}


def event(choices: list[Json], **fields: Any) -> Json:
    """A `chat.completion.chunk` with any choices and additional top-level fields."""
    head = {"id": CALL_ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL}
    return {**head, "choices": choices, **fields}


def chunk(text: str | None = None, *, index: int = 0, usage: Json | None = None, **delta: Any) -> Json:
    """A chunk with text and additional `delta` fields; `usage` adds usage next to the choices, as some providers do."""
    content = {} if text is None else {"content": text}
    choice = {"index": index, "delta": {**content, **delta}, "finish_reason": None}
    return event([choice], **({} if usage is None else {"usage": usage}))


def role() -> Json:
    """The first chunk, with the role and no text."""
    return chunk("", role="assistant")


def finish(reason: str = "stop", *, index: int = 0, usage: Json | None = None) -> Json:
    """The chunk that ends a choice."""
    choice = {"index": index, "delta": {}, "finish_reason": reason}
    return event([choice], **({} if usage is None else {"usage": usage}))


def usage(input: int = 7, output: int = 3, **details: int) -> Json:
    """The separate last chunk without choices, requested by `include_usage`."""
    return event([], usage=tokens(input, output, **details))


def failure(message: str = "The engine exploded.", type: str = "server_error", code: str | None = None) -> Json:
    """An error body; as a piece of a stream, an error event."""
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def frame(data: Json, line_end: str = "\n") -> bytes:
    """`data` as one server-sent event. Non-ASCII text stays UTF-8, as most providers send it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}{line_end}{line_end}".encode()


def frames(*events: Json) -> bytes:
    """Several events in one piece of bytes, as from a provider or proxy that buffers its writes."""
    return b"".join(map(frame, events))


def split_utf8(data: bytes) -> tuple[bytes, bytes]:
    """`data` in two pieces, split inside its first multi-byte character."""
    position = next((index for index, byte in enumerate(data) if byte >= 0xC0), None)
    if position is None:
        raise ValueError("there is only ASCII to split")
    return data[: position + 1], data[position + 1 :]
