"""Dialects as pure functions: the request for a chat body, and the result of reading a response."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from edge.call.requests import parse_chat_request
from shared.billing.token_usage import PartialUsage
from shared.catalog.snapshot import Route
from shared.dialects import DIALECTS
from shared.dialects.base import Answer, BrokenStream, ChatCall, MalformedStream, ProviderRequest, Target
from shared.dialects.strip_foreign_fields import signed_blocks

CALL_ID = "chatcmpl-ours"
BEGAN = 1_790_000_000
Json = dict[str, Any]


def call_of(**fields: Any) -> ChatCall:
    body = {"model": "our-model", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return parse_chat_request(orjson.dumps(body))


def target_of(dialect: str, *, settings: Json | None = None, clamp: int | None = None, limit: int = 1_000) -> Target:
    id = UUID(int=1)
    route = Route(id, id, "c", dialect, "http://acme/v1", "", settings or {}, "acme-model", 0, 1)
    return Target(route, "sk-secret", "https://yout.chat", lambda user: f"hash-of-{len(user)}", clamp, limit)


def request_of(dialect: str, *, settings: Json | None = None, clamp: int | None = None, **fields: Any) -> ProviderRequest:
    return DIALECTS[dialect].build_request(call_of(**fields), target_of(dialect, settings=settings, clamp=clamp))


def request_body(dialect: str, *, settings: Json | None = None, clamp: int | None = None, **fields: Any) -> Json:
    """The body that the provider gets for a chat call with `fields`."""
    body: Json = orjson.loads(request_of(dialect, settings=settings, clamp=clamp, **fields).body)
    return body


def read_whole(dialect: str, body: Json, **fields: Any) -> Answer:
    return DIALECTS[dialect].parse_response(orjson.dumps(body), call_of(**fields), CALL_ID, BEGAN)


class StreamResult(NamedTuple):
    """Everything a reader returned for one stream; `error` names the exception that ended it."""

    chunks: list[Json]
    usage: PartialUsage
    text: str
    delivered: bool
    error: str | None = None


def read_stream(dialect: str, pieces: list[bytes], **fields: Any) -> StreamResult:
    """Feed all `pieces` to a reader as the edge does."""
    reader = DIALECTS[dialect].new_stream_reader(call_of(stream=True, **fields), CALL_ID, BEGAN)
    relay, error = b"", None
    try:
        for piece in pieces:
            relay += reader.feed(piece)
            if reader.error is not None:
                raise reader.error
        if not reader.done:
            relay += reader.close()
    except (MalformedStream, BrokenStream) as problem:
        error = type(problem).__name__
    events = relay.split(b"\n\n")
    assert events.pop() == b"", "only complete events may be relayed"
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    if error is None:
        chunks.append(reader.final_chunk())
    return StreamResult(chunks, reader.usage(), reader.text(), reader.delivered, error)


def message_of(chunks: list[Json], index: int = 0) -> Json:
    """The message and finish reason that a client assembles from the chunks of one choice."""
    message: Json = {}
    calls: list[Json] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            if choice["index"] != index:
                continue
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for piece in value:
                        gather_call(calls, piece)
                elif name == "role":
                    message["role"] = value
                elif value is not None:
                    message[name] = message[name] + value if name in message else value
            if choice["finish_reason"]:
                assert "finish_reason" not in message, "a choice must end once"
                message["finish_reason"] = choice["finish_reason"]
    if calls:
        message["tool_calls"] = calls
    return message


def gather_call(calls: list[Json], piece: Json) -> None:
    if piece["index"] == len(calls):
        calls.append({**piece, piece["type"]: dict(piece[piece["type"]])})
        del calls[-1]["index"]
    else:
        kind, text = ("custom", "input") if "custom" in piece else ("function", "arguments")
        calls[piece["index"]][kind][text] += piece[kind][text]


def comparable(message: Json) -> Json:
    """A message without legitimate differences between stream and whole answer.

    These are whitespace in arguments, empty content, and the `index` of signed thoughts.
    """
    calls = [
        {**call, "function": {**call["function"], "arguments": orjson.loads(call["function"]["arguments"])}}
        if "function" in call
        else call
        for call in message.get("tool_calls") or ()
    ]
    kept = {name: value for name, value in message.items() if name != "tool_calls" and value not in (None, "")}
    if "thinking_blocks" in kept:
        kept["thinking_blocks"] = signed_blocks(kept["thinking_blocks"])
    return {**kept, "tool_calls": calls}


def split(data: bytes, places: list[int]) -> list[bytes]:
    """`data` split at `places` (modulo its length)."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]
