"""The model demo-echo: no model, but exact, repeatable responses for testing a client.

A token is a word: characters between white space. Every message and every choice counts at least one.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from embedded.catalog import DEMO_ECHO
from embedded.chat_request import ChatRequest
from embedded.demo_schema import NoInstance, Schema, minimal_instance
from embedded.demo_script import Directives, parse_directives, scripted_error
from embedded.errors import invalid_request
from embedded.generation_events import AbortConnection, Delta, Events, Usage
from embedded.messages import ChatMessage, last_user_text
from embedded.tool_choice import Tool


@dataclass(frozen=True, slots=True)
class _Plan:
    """A choice that is not sent yet: the function name if it is a tool call, the words, and the finish reason."""

    function: str | None
    words: list[str]
    finish_reason: str

    def tokens(self) -> int:
        """Count the words, plus one for a function name."""
        return max(1, len(self.words) + (self.function is not None))


class DemoEcho:
    """Answers from the request alone: the same request always gets the same answer, whatever its seed or temperature."""

    async def answer(self, request: ChatRequest) -> Events:
        """Yield the planned words, one choice after another. Raises ApiError, CutConnection."""
        if request.top_logprobs is not None:
            raise invalid_request("logprobs", f"'logprobs' is not supported by {DEMO_ECHO.id}.")
        script = parse_directives(last_user_text(request.messages))
        if script.fail_status is not None:
            raise scripted_error(script.fail_status)
        plan = _plan(request, script)
        sent = 0
        for index in range(request.n):
            for piece in _pieces(plan, index, request.messages):
                if sent == script.cut_after_words:
                    raise AbortConnection
                if piece.finish_reason is None and script.word_delay_ms:
                    await asyncio.sleep(script.word_delay_ms / 1000)
                sent += 1
                yield piece
        yield Usage(sum(map(_tokens, request.messages)), plan.tokens() * request.n)


def _tokens(message: ChatMessage) -> int:
    return max(1, len(message.text.split()))


def _plan(request: ChatRequest, script: Directives) -> _Plan:
    tool = _called_tool(request, script)
    if tool is not None:
        arguments = _json_instance(tool.parameters, "tools")
        words, finish = _cut_short(_words(arguments), request.max_tokens, reserved=1, default="tool_calls")
        return _Plan(tool.name, words, finish)
    words = _words(_before_stop(_text(request, script), request.stop))
    words, finish = _cut_short(words, request.max_tokens, reserved=0, default="stop")
    return _Plan(None, words, finish)


def _called_tool(request: ChatRequest, script: Directives) -> Tool | None:
    """Return the tool to call. A forced tool is called even after a tool result; an optional one is not."""
    choice = request.tool_choice
    if choice.mode == "required":
        return next(tool for tool in request.tools if choice.name in (None, tool.name))
    if choice.mode == "none" or not request.tools or request.messages[-1].role == "tool":
        return None
    return request.tools[0] if "tool" in script.text.lower() else None


def _text(request: ChatRequest, script: Directives) -> str:
    if request.schema is not None:
        return _json_instance(request.schema, "response_format")
    if request.format == "json_object":
        return json.dumps({"you_said": script.text}, ensure_ascii=False)
    if script.answer_words is not None:
        return " ".join(f"word{number}" for number in range(1, script.answer_words + 1))
    if request.messages[-1].role == "tool":
        return f"The tool said: {request.messages[-1].text}"
    return f"You said: {script.text}"


def _json_instance(schema: Schema, param: str) -> str:
    try:
        return json.dumps(minimal_instance(schema), ensure_ascii=False)
    except NoInstance as error:
        raise invalid_request(param, f"{DEMO_ECHO.id} cannot generate an example of this schema: {error}.") from error


def _before_stop(text: str, stops: tuple[str, ...]) -> str:
    return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))]


def _words(text: str) -> list[str]:
    """Return the words with their preceding white space, so that joining them restores the text."""
    return re.findall(r"\s*\S+", text)


def _cut_short(words: list[str], limit: int | None, reserved: int, default: str) -> tuple[list[str], str]:
    max_words = min(limit or DEMO_ECHO.max_output_tokens, DEMO_ECHO.max_output_tokens) - reserved
    return (words[:max_words], "length") if len(words) > max_words else (words, default)


def _pieces(plan: _Plan, index: int, messages: tuple[ChatMessage, ...]) -> Iterator[Delta]:
    if plan.function is None:
        yield from (Delta(index, text=word) for word in plan.words)
    else:
        function: dict[str, Any] = {"name": plan.function, "arguments": ""}
        yield Delta(index, tool_call={"index": 0, "id": _call_id(messages, index), "type": "function", "function": function})
        for word in plan.words:
            yield Delta(index, tool_call={"index": 0, "function": {"arguments": word}})
    yield Delta(index, finish_reason=plan.finish_reason)


def _call_id(messages: tuple[ChatMessage, ...], index: int) -> str:
    """Return an id that depends only on the conversation and the choice."""
    return "call_" + hashlib.sha256(repr((messages, index)).encode()).hexdigest()[:24]
