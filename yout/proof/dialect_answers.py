"""Answers of the scripted provider to calls of `yout privacy-check`, in every dialect: each contains a canary, failures too."""

from __future__ import annotations

import base64
import json
from typing import Any

from yout.proof.answers import EMBEDDED, MP3, PNG, json_answer
from yout.proof.scripted_upstream import Answer, Ending, Received

Json = dict[str, Any]
FAILURES = ("error_400", "error_401", "error_500", "html", "error_event", "garbage", "reset_midway")
MP4 = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(200)
_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
_RESPONSES_USAGE = {
    **{"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    **{"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
}


def answer_with(request: Received, text: str, file: str, code: str) -> Answer:
    """Answer with `text`. Generated files contain `file`, and errors `code`. The model in the request may name a failure."""
    failure = next((name for name in FAILURES if f"proof-{name}".encode() in request.body), None)
    streamed = b'"stream":true' in request.body.replace(b" ", b"") or "streamGenerateContent" in request.path
    if failure is not None:
        return _failure(failure, text, code, streamed=streamed)
    path = request.path.partition("?")[0]
    if path.endswith("/chat/completions"):
        return _chat(text, streamed=streamed)
    if path.endswith("/messages"):
        return _messages(text, streamed=streamed)
    if "enerateContent" in path:
        return _gemini(text, streamed=streamed)
    if path.endswith("/responses"):
        return _responses(text, streamed=streamed)
    return _other(request, path, text, file)


def _other(request: Received, path: str, text: str, file: str) -> Answer:
    if path.endswith("/embeddings"):
        return json_answer({"object": "list", "data": EMBEDDED, "model": text, "usage": _USAGE})
    if path.endswith("/moderations"):
        return json_answer({"id": text, "model": text, "results": [{"flagged": False, "categories": {}, "category_scores": {}}]})
    if path.endswith("/rerank"):
        return json_answer({"id": text, "results": [{"index": 0, "relevance_score": 0.5}], "meta": {"note": text}})
    if "/audio/" in path and not path.endswith("/speech"):
        return json_answer({"text": text})
    data = file.encode()
    if "/images/" in path:
        return json_answer({"created": 1, "data": [{"b64_json": base64.b64encode(PNG + data).decode(), "revised_prompt": text}]})
    if path.endswith("/speech"):
        return Answer([MP3 + data], content_type="audio/mpeg", length=len(MP3 + data))
    if path.endswith("/content"):
        return Answer([MP4 + data], content_type="video/mp4", length=len(MP4 + data))
    status = "queued" if request.method == "POST" else "completed"
    return json_answer({"id": "video_1", "object": "video", "status": status, "progress": 0, "prompt": text})


def _failure(name: str, text: str, code: str, *, streamed: bool) -> Answer:
    error = {"error": {"message": f"You said {text}.", "type": text, "param": f"messages {text}", "code": code}}
    if name.startswith("error_4") or name == "error_500":
        return json_answer(error, int(name.removeprefix("error_")))
    if name == "html":
        page = f"<html>{text}</html>".encode()
        return Answer([page], content_type="text/html", length=len(page))
    first, broken = _frame(_chunk(text)), f"data: {{{text}\n\n".encode()
    if not streamed:
        body = json.dumps(error if name == "error_event" else text).encode()[: None if name == "error_event" else -2]
        return Answer([body, Ending.RESET], length=len(body) + 9) if name == "reset_midway" else Answer([body], length=len(body))
    last: bytes | Ending = {"error_event": _frame(error), "garbage": broken}.get(name, Ending.RESET)
    return Answer([first, last], content_type="text/event-stream")


def _frame(event: Json, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(event).encode() + b"\n\n"


def _events(*frames: bytes) -> Answer:
    return Answer(frames, content_type="text/event-stream")


def _chunk(text: str | None, finish: str | None = None) -> Json:
    delta = {} if text is None else {"role": "assistant", "content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def _chat(text: str, *, streamed: bool) -> Answer:
    if streamed:
        usage = {**_chunk(None), "choices": [], "usage": _USAGE}
        return _events(_frame(_chunk(text)), _frame(_chunk(None, "stop")), _frame(usage), b"data: [DONE]\n\n")
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json_answer({**_chunk(None), "object": "chat.completion", "choices": [choice], "usage": _USAGE})


def _messages(text: str, *, streamed: bool) -> Answer:
    whole = {
        **{"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}]},
        **{"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 3}},
    }
    if not streamed:
        return json_answer(whole)
    events: list[Json] = [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return _events(*(_frame(event, event["type"]) for event in events))


def _gemini(text: str, *, streamed: bool) -> Answer:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "finishReason": "STOP", "index": 0}
    usage = {"promptTokenCount": 7, "candidatesTokenCount": 3, "totalTokenCount": 10}
    whole = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r"}
    return _events(_frame(whole)) if streamed else json_answer(whole)


def _responses(text: str, *, streamed: bool) -> Answer:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    whole = {
        **{"id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "m", "output": [item]},
        **{"usage": _RESPONSES_USAGE, "error": None, "incomplete_details": None, "instructions": None, "metadata": {}},
    }
    if not streamed:
        return json_answer(whole)
    started = {**whole, "status": "in_progress", "output": [], "usage": None}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Json] = [
        {"type": "response.created", "response": started},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **where, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **where, "delta": text, "logprobs": []},
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return _events(*(_frame({**event, "sequence_number": number}, event["type"]) for number, event in enumerate(events)))
