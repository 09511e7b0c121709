"""Builders for the JSON of OpenAI's Responses API, following `openai.types.responses`; `tests/upstream.py` sends it."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream import Request
from tests.upstream_responses import Piece, ScriptedResponse, json_response, stream

Json = dict[str, Any]
ID = "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41"
MODEL = "acme-model-2026-01-01"


def usage(input: int = 7, output: int = 3, *, cached: int = 0, written: int = 0, reasoning: int = 0) -> Json:
    return {
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": input + output,
    }


def text(*words: str, id: str = "msg_1") -> Json:
    parts = [{"type": "output_text", "text": word, "annotations": [], "logprobs": []} for word in words]
    return {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": parts}


def refusal(words: str) -> Json:
    return {**text(), "content": [{"type": "refusal", "refusal": words}]}


def reasoning(*summary: str, encrypted: str | None = "gAAAAenc", id: str = "rs_1") -> Json:
    item = {"id": id, "type": "reasoning", "summary": [{"type": "summary_text", "text": words} for words in summary]}
    return item if encrypted is None else {**item, "encrypted_content": encrypted}


def call(name: str, *, id: str = "call_1", **arguments: Any) -> Json:
    fields = {"call_id": id, "name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}
    return {"id": f"fc_{id}", "type": "function_call", "status": "completed", **fields}


def custom_call(name: str, input: str, *, id: str = "call_1") -> Json:
    return {"id": f"ctc_{id}", "type": "custom_tool_call", "status": "completed", "call_id": id, "name": name, "input": input}


def search(action: str = "search", *, id: str = "ws_1") -> Json:
    fields = {"search": {"query": "a"}, "open_page": {"url": "https://a.example"}}[action]
    return {"id": id, "type": "web_search_call", "status": "completed", "action": {"type": action, **fields}}


def response(*output: Json, incomplete: str | None = None, reported: Json | None = None, **fields: Any) -> Json:
    """A complete response, or an `incomplete` one for that reason. It repeats the request as the provider got it."""
    return {
        "id": ID,
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed" if incomplete is None else "incomplete",
        "background": False,
        "error": None,
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "instructions": "What the provider got.",
        "max_output_tokens": 1_000,
        "metadata": {},
        "model": MODEL,
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": "pseudonym",
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": reported or usage(),
        **fields,
    }


def failed(code: str = "server_error", message: str = "Failed at api.acme.example.") -> Json:
    return response(status="failed", error={"code": code, "message": message}, usage=None)


def events(whole: Json, *, piece: int = 4) -> list[Json]:
    """The events that stream `whole`: text in pieces, in the order of OpenAI's own streams."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None, "error": None}
    found: list[Json] = [{"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun}]
    for index, item in enumerate(whole["output"]):
        found += _item_events(index, item, piece)
    found.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(found)]


def _item_events(index: int, item: Json, size: int) -> list[Json]:
    at = {"output_index": index, "item_id": item["id"]}
    empty = {name: value for name, value in item.items() if name != "encrypted_content"}
    found: list[Json] = []
    match item["type"]:
        case "message":
            empty["content"] = []
            for position, part in enumerate(item["content"]):
                found += _part_events({**at, "content_index": position}, part, size)
        case "reasoning":
            empty["summary"] = []
            for position, part in enumerate(item["summary"]):
                place = {**at, "summary_index": position}
                found.append({"type": "response.reasoning_summary_part.added", **place, "part": {**part, "text": ""}})
                found += _deltas("response.reasoning_summary_text.delta", place, part["text"], size)
                found.append({"type": "response.reasoning_summary_text.done", **place, "text": part["text"]})
                found.append({"type": "response.reasoning_summary_part.done", **place, "part": part})
        case "function_call":
            empty["arguments"] = ""
            found += _deltas("response.function_call_arguments.delta", at, item["arguments"], size)
            whole = {"name": item["name"], "arguments": item["arguments"]}
            found.append({"type": "response.function_call_arguments.done", **at, **whole})
        case "custom_tool_call":
            empty["input"] = ""
            found += _deltas("response.custom_tool_call_input.delta", at, item["input"], size)
            found.append({"type": "response.custom_tool_call_input.done", **at, "input": item["input"]})
    if "status" in empty:
        empty["status"] = "in_progress"
    added = {"type": "response.output_item.added", "output_index": index, "item": empty}
    return [added, *found, {"type": "response.output_item.done", "output_index": index, "item": item}]


def _part_events(at: Json, part: Json, size: int) -> list[Json]:
    kind, field = ("output_text", "text") if part["type"] == "output_text" else ("refusal", "refusal")
    more = {"logprobs": []} if kind == "output_text" else {}
    deltas = [{**event, **more} for event in _deltas(f"response.{kind}.delta", at, part[field], size)]
    return [
        {"type": "response.content_part.added", **at, "part": {**part, field: ""}},
        *deltas,
        {"type": f"response.{kind}.done", **at, field: part[field], **more},
        {"type": "response.content_part.done", **at, "part": part},
    ]


def _deltas(kind: str, at: Json, words: str, size: int) -> list[Json]:
    return [{"type": kind, **at, "delta": words[start : start + size]} for start in range(0, len(words), size)]


def event(data: Json) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def wire(whole: Json) -> bytes:
    """The bytes of a stream that carries `whole`."""
    return b"".join(map(event, events(whole)))


def script_of(whole: Json, *, also: tuple[Piece, ...] = ()) -> Any:
    """A script that answers with `whole`, streamed if the body asks for it."""

    def script(request: Request) -> ScriptedResponse:
        return stream(*map(event, events(whole)), *also) if request.json.get("stream") else json_response(whole)

    return script
