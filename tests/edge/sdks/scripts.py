"""Scripted provider responses for the SDK tests: the same answers at every endpoint."""

from __future__ import annotations

from typing import Any

from tests.openai_payloads import DONE, Json, chunk, completion, failure, finish, role, tokens, usage
from tests.upstream import Request
from tests.upstream_responses import Pause, ScriptedResponse, json_response, stream

SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ARGUMENTS = '{"city":"Bonn"}'
WEATHER_CALL: Json = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}


def streamed_or_whole(whole: Json, *chunks: Any, input: int = 7, output: int = 3) -> Any:
    """One answer, streamed or whole as the request asks."""

    def answer(request: Request) -> ScriptedResponse:
        if request.json.get("stream"):
            return stream(role(), *chunks, usage(input, output), DONE)
        return json_response(whole)

    return answer


def text_answer(text: str, *, reasoning: str = "") -> Any:
    """A text answer, optionally after reasoning."""
    thought = [chunk(reasoning_content=reasoning)] if reasoning else []
    more: Json = {"reasoning_content": reasoning} if reasoning else {}
    half = len(text) // 2
    return streamed_or_whole(completion(text, usage=tokens(), **more), *thought, chunk(text[:half]), chunk(text[half:]), finish())


def weather_call(name: str = "weather", *, text: str | None = None, reasoning: str = "") -> Any:
    """A call of the tool `weather`, or of another tool that takes a city, with arguments in pieces; optionally after text."""
    call = {**WEATHER_CALL, "function": {"name": name, "arguments": ARGUMENTS}}
    head = {"index": 0, **call, "function": {"name": name, "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": part}} for part in (ARGUMENTS[:6], ARGUMENTS[6:])]
    chunks = [chunk(tool_calls=[part]) for part in (head, *parts)]
    thought, words = [chunk(reasoning_content=reasoning)] if reasoning else [], [chunk(text)] if text else []
    more: Json = {"reasoning_content": reasoning} if reasoning else {}
    whole = completion(text, usage=tokens(), finish="tool_calls", tool_calls=[call], **more)
    return streamed_or_whole(whole, *thought, *words, *chunks, finish("tool_calls"))


def broken_stream() -> ScriptedResponse:
    """A stream that fails after some text. The pause makes the text arrive separately, so that the edge does not retry."""
    return stream(role(), chunk("Hel"), Pause(0.3), failure("Boom."))
