"""Builders for the JSON of Gemini's generateContent, following `google.genai.types`; `tests/upstream.py` sends it."""

from __future__ import annotations

import json
from typing import Any

from tests.upstream import Request
from tests.upstream_responses import Piece, ScriptedResponse, json_response, stream

Json = dict[str, Any]
MODEL = "gemini-test-1"


def usage(input: int = 7, output: int = 3, *, cached: int = 0, thoughts: int = 0) -> Json:
    """`UsageMetadata`: `candidatesTokenCount` excludes thoughts, and the prompt count includes cached tokens."""
    reported: Json = {"promptTokenCount": input, "candidatesTokenCount": output, "totalTokenCount": input + output + thoughts}
    if cached:
        reported["cachedContentTokenCount"] = cached
    if thoughts:
        reported["thoughtsTokenCount"] = thoughts
    return reported


def text(words: str) -> Json:
    return {"text": words}


def thought(words: str) -> Json:
    return {"text": words, "thought": True}


def call(name: str, *, signature: str | None = None, **args: Any) -> Json:
    part: Json = {"functionCall": {"name": name, "args": args}}
    return part if signature is None else {**part, "thoughtSignature": signature}


def answer(*parts: Json, finish: str | None = "STOP", reported: Json | None = None, index: int = 0) -> Json:
    """A `GenerateContentResponse` with one candidate."""
    candidate: Json = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    if finish:
        candidate["finishReason"] = finish
    body: Json = {"candidates": [candidate], "modelVersion": MODEL, "responseId": "mAitaLmkHPPlz7IPvtfUqQ4"}
    return {**body, "usageMetadata": reported or usage()}


def blocked(reason: str = "PROHIBITED_CONTENT") -> Json:
    return {"promptFeedback": {"blockReason": reason}, "usageMetadata": {"promptTokenCount": 7, "totalTokenCount": 7}}


def events(whole: Json, *, piece: int = 4) -> list[Json]:
    """The responses that stream `whole`: text in pieces, growing counts, and the finish reason at the end."""
    (candidate,) = whole["candidates"]
    head = {name: value for name, value in whole.items() if name not in ("candidates", "usageMetadata")}
    found: list[Json] = []
    for part in candidate["content"]["parts"]:
        for cut in _pieces(part, piece):
            content = {"parts": [cut], "role": "model"}
            counted = {"promptTokenCount": whole["usageMetadata"]["promptTokenCount"], "totalTokenCount": 1}
            found.append({**head, "candidates": [{"content": content, "index": candidate["index"]}], "usageMetadata": counted})
    last = {"content": {"parts": [{"text": ""}], "role": "model"}, "index": candidate["index"]}
    last["finishReason"] = candidate["finishReason"]
    if "logprobsResult" in candidate:
        last["logprobsResult"] = candidate["logprobsResult"]
    return [*found, {**head, "candidates": [last], "usageMetadata": whole["usageMetadata"]}]


def _pieces(part: Json, size: int) -> list[Json]:
    if "text" not in part:
        return [part]
    words = part["text"]
    return [{**part, "text": words[start : start + size]} for start in range(0, len(words), size)]


def event(data: Json) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\r\n\r\n".encode()


def wire(whole: Json) -> bytes:
    """The bytes of a stream that carries `whole`."""
    return b"".join(map(event, events(whole)))


def failure(code: int, status: str, words: str, *details: Json) -> Json:
    return {"error": {"code": code, "message": words, "status": status, "details": list(details)}}


def script_of(whole: Json, *, also: tuple[Piece, ...] = ()) -> Any:
    """A script that answers with `whole`, streamed if the path asks for it."""

    def script(request: Request) -> ScriptedResponse:
        return stream(*map(event, events(whole)), *also) if ":streamGenerateContent" in request.path else json_response(whole)

    return script
