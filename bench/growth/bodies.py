"""Request bodies of a call by client dialect and size."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "completions": "/v1/completions",
}
IMAGE_BYTES = 1_000_000  # at most, of base64
TOOLS = 10
ROUNDS = 50  # of four messages
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string", "description": "File to read"}, "lines": {"type": "integer"}},
    "required": ["path"],
}
_random = random.Random(7)
_WORDS = ["".join(_random.choices("etaoinshrdlu", k=_random.randint(2, 9))) for _ in range(2_000)]


def text(size: int) -> str:
    """Return words and line breaks of about this size."""
    lines = (" ".join(_random.choices(_WORDS, k=12)) for _ in range(size // 75 + 1))
    return "\n".join(lines)[:size]


def small(dialect: str) -> Json:
    """A question of 100 bytes."""
    return _of_text(dialect, text(100))


def long_text(size: int) -> Callable[[str], Json]:
    """One message of this many bytes."""
    return lambda dialect: _of_text(dialect, text(size))


def images(size: int) -> Callable[[str], Json]:
    """One message with images in data URLs, of this many bytes in total."""

    def body(dialect: str) -> Json:
        count = -(-size // IMAGE_BYTES)
        encoded = [base64.b64encode(_random.randbytes(size // count * 3 // 4)).decode() for _ in range(count)]
        return {_field(dialect): [{"role": "user", "content": [_image(dialect, image) for image in encoded]}]}

    return body


def history(dialect: str) -> Json:
    """200 messages with tool calls, as a coding agent sends them, and ten tools."""
    messages: list[Json] = []
    for number in range(ROUNDS):
        messages += _round(dialect, f"call_{number}")
    return {_field(dialect): messages, "tools": [_tool(dialect, f"tool_{number}") for number in range(TOOLS)]}


def encode(body: Json, dialect: str, model: str, *, stream: bool) -> bytes:
    """Return the JSON of a request."""
    required = {"max_tokens": 4_096} if dialect == "messages" else {}
    return json.dumps({"model": model, **required, **({"stream": True} if stream else {}), **body}).encode()


def _field(dialect: str) -> str:
    return "input" if dialect == "responses" else "messages"


def _of_text(dialect: str, words: str) -> Json:
    if dialect == "completions":
        return {"prompt": words}
    return {_field(dialect): [{"role": "user", "content": words}]}


def _image(dialect: str, encoded: str) -> Json:
    url = f"data:image/png;base64,{encoded}"
    match dialect:
        case "responses":
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case "messages":
            return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": encoded}}
    return {"type": "image_url", "image_url": {"url": url}}


def _tool(dialect: str, name: str) -> Json:
    described = {"name": name, "description": text(200)}
    match dialect:
        case "responses":
            return {"type": "function", **described, "parameters": SCHEMA}
        case "messages":
            return {**described, "input_schema": SCHEMA}
    return {"type": "function", "function": {**described, "parameters": SCHEMA}}


def _round(dialect: str, id: str) -> list[Json]:
    """A question, a tool call, its result and an answer: four messages."""
    question, found, answer, arguments = text(200), text(1_000), text(400), {"path": text(40), "lines": 80}
    encoded = json.dumps(arguments)
    first, last = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    match dialect:
        case "responses":
            call = {"type": "function_call", "call_id": id, "name": "tool_1", "arguments": encoded}
            return [first, call, {"type": "function_call_output", "call_id": id, "output": found}, last]
        case "messages":
            call = {"type": "tool_use", "id": id, "name": "tool_1", "input": arguments}
            result = {"type": "tool_result", "tool_use_id": id, "content": found}
            return [first, {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}, last]
    call = {"id": id, "type": "function", "function": {"name": "tool_1", "arguments": encoded}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [first, asked, {"role": "tool", "tool_call_id": id, "content": found}, last]
