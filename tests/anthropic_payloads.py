"""Builders for the JSON of Anthropic's Messages API, following `anthropic.types`; `tests/upstream.py` sends it."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream import Request
from tests.upstream_responses import Piece, ScriptedResponse, json_response, stream

Json = dict[str, Any]
MODEL = "claude-test-1"


def usage(input: int = 7, output: int = 3, *, read: int = 0, written: int = 0, thought: int | None = None) -> Json:
    """`Usage`. As in Anthropic's API, `input_tokens` excludes tokens read from or written to the cache."""
    reported: Json = {"input_tokens": input, "output_tokens": output, "cache_read_input_tokens": read}
    reported |= {"cache_creation_input_tokens": written, "service_tier": "standard"}
    return reported if thought is None else {**reported, "output_tokens_details": {"thinking_tokens": thought}}


def text(words: str) -> Json:
    return {"type": "text", "text": words, "citations": None}


def thinking(words: str, signature: str = "c2lnbmVk") -> Json:
    return {"type": "thinking", "thinking": words, "signature": signature}


def tool_use(id: str, name: str, **input: Any) -> Json:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


CITATION = {
    **{"type": "web_search_result_location", "url": "https://a.example/", "title": "A"},
    **{"encrypted_index": "aW5kZXg=", "cited_text": "a quote"},
}


def search(id: str = "srvtoolu_1", query: str = "news", *, error: str | None = None) -> tuple[Json, Json]:
    """The blocks of one web search: its call, and its result."""
    found: Any = [{"type": "web_search_result", "url": "https://a.example/", "title": "A", "encrypted_content": "ZW5j" * 50}]
    failed = {"type": "web_search_tool_result_error", "error_code": error}
    call = {"type": "server_tool_use", "id": id, "name": "web_search", "input": {"query": query}}
    return call, {"type": "web_search_tool_result", "tool_use_id": id, "content": found if error is None else failed}


def message(*content: Json, stop: str = "end_turn", reported: Json | None = None) -> Json:
    """A complete `Message`."""
    return {
        "id": "msg_01AbCdEfGhIjKlMnOpQrStUv",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": reported or usage(),
    }


def event(data: Json) -> bytes:
    """One event as the API sends it, including its `event:` line."""
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def events(whole: Json, *, piece: int = 4) -> list[Json]:
    """The `RawMessageStreamEvent`s that stream the message `whole`, with text split into pieces of `piece` characters."""
    reported = whole["usage"]
    start = {**whole, "content": [], "stop_reason": None, "usage": {**reported, "output_tokens": 1}}
    start["usage"].pop("output_tokens_details", None)
    found: list[Json] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(whole["content"]):
        opened, deltas = _pieces(block, piece)
        found.append({"type": "content_block_start", "index": index, "content_block": opened})
        found += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        found.append({"type": "content_block_stop", "index": index})
    names = ("output_tokens", "output_tokens_details", "server_tool_use")
    ending = {name: reported[name] for name in names if name in reported}
    delta = {"stop_reason": whole["stop_reason"], "stop_sequence": whole["stop_sequence"]}
    return [*found, {"type": "message_delta", "delta": delta, "usage": ending}, {"type": "message_stop"}]


def _pieces(block: Json, size: int) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            return {**block, "text": "", "citations": [] if cited else None}, [
                *cited,
                *({"type": "text_delta", "text": part} for part in _cut(block["text"], size)),
            ]
        case "thinking":
            deltas = [{"type": "thinking_delta", "thinking": part} for part in _cut(block["thinking"], size)]
            return {**block, "thinking": "", "signature": ""}, [
                *deltas,
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case "tool_use" | "server_tool_use":
            written = json.dumps(block["input"], ensure_ascii=False) if block["input"] else ""
            return {**block, "input": {}}, [
                {"type": "input_json_delta", "partial_json": part} for part in ["", *_cut(written, size)]
            ]
        case _:
            return block, []


def _cut(words: str, size: int) -> list[str]:
    return [words[start : start + size] for start in range(0, len(words), size)]


def wire(whole: Json) -> bytes:
    """The bytes of a stream that carries the message `whole`."""
    return b"".join(map(event, events(whole)))


def failure(kind: str = "api_error", words: str = "Internal server error") -> Json:
    """`ErrorResponse`; a stream's error event has the same JSON."""
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}


def script_of(whole: Json, *, also: tuple[Piece, ...] = ()) -> Any:
    """A script that answers with `whole`, streamed if the request asks for a stream."""

    def answer(request: Request) -> ScriptedResponse:
        return stream(*map(event, events(whole)), *also) if request.json.get("stream") else json_response(whole)

    return answer
