"""The model demo-echo: no model at all, but an exact and repeatable partner for trying out a client.

A token is a word: whatever stands between white space. Every message and every choice counts at least one.
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
from embedded.demo_schema import NoInstance, Schema, instance_of
from embedded.demo_script import Script, fault, read_script
from embedded.errors import invalid
from embedded.generation_events import CutConnection, Events, Piece, Usage
from embedded.messages import ChatMessage, last_user_text
from embedded.tool_choice import Tool


@dataclass(frozen=True, slots=True)
class _Plan:
    """One choice before it is told: the function's name if it is a tool call, the words, and why they end."""

    function: str | None
    words: list[str]
    finish_reason: str

    def tokens(self) -> int:
        """A function's name is a word of its own."""
        return max(1, len(self.words) + (self.function is not None))


class DemoEcho:
    """Answers from the request alone: the same request gets the same answer, whatever seed or temperature."""

    async def answer(self, request: ChatRequest) -> Events:
        """Tell the plan word by word, each choice in turn. Raises ApiError, CutConnection."""
        if request.top_logprobs is not None:
            raise invalid("logprobs", f"{DEMO_ECHO.id} has no probabilities: leave out 'logprobs'.")
        script = read_script(last_user_text(request.messages))
        if script.fail_status is not None:
            raise fault(script.fail_status)
        plan = _plan(request, script)
        told = 0
        for index in range(request.n):
            for piece in _pieces(plan, index, request.messages):
                if told == script.cut_after_words:
                    raise CutConnection
                if piece.finish_reason is None and script.word_delay_ms:
                    await asyncio.sleep(script.word_delay_ms / 1000)
                told += 1
                yield piece
        yield Usage(sum(map(_tokens, request.messages)), plan.tokens() * request.n)


def _tokens(message: ChatMessage) -> int:
    return max(1, len(message.text.split()))


def _plan(request: ChatRequest, script: Script) -> _Plan:
    tool = _called_tool(request, script)
    if tool is not None:
        arguments = _json_instance(tool.parameters, "tools")
        words, finish = _cut_short(_words(arguments), request.max_tokens, reserved=1, otherwise="tool_calls")
        return _Plan(tool.name, words, finish)
    words = _words(_before_stop(_text(request, script), request.stop))
    words, finish = _cut_short(words, request.max_tokens, reserved=0, otherwise="stop")
    return _Plan(None, words, finish)


def _called_tool(request: ChatRequest, script: Script) -> Tool | None:
    """A forced tool is called even after a tool's result, as the API promises; a free one is not."""
    choice = request.tool_choice
    if choice.mode == "required":
        return next(tool for tool in request.tools if choice.name in (None, tool.name))
    if choice.mode == "none" or not request.tools or request.messages[-1].role == "tool":
        return None
    return request.tools[0] if "tool" in script.text.lower() else None


def _text(request: ChatRequest, script: Script) -> str:
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
        return json.dumps(instance_of(schema), ensure_ascii=False)
    except NoInstance as error:
        raise invalid(param, f"{DEMO_ECHO.id} cannot make an example of this schema: {error}.") from error


def _before_stop(text: str, stops: tuple[str, ...]) -> str:
    return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))]


def _words(text: str) -> list[str]:
    """Words with the white space before them, so that joining them gives the text again."""
    return re.findall(r"\s*\S+", text)


def _cut_short(words: list[str], limit: int | None, reserved: int, otherwise: str) -> tuple[list[str], str]:
    most = min(limit or DEMO_ECHO.max_output_tokens, DEMO_ECHO.max_output_tokens) - reserved
    return (words[:most], "length") if len(words) > most else (words, otherwise)


def _pieces(plan: _Plan, index: int, messages: tuple[ChatMessage, ...]) -> Iterator[Piece]:
    if plan.function is None:
        yield from (Piece(index, text=word) for word in plan.words)
    else:
        function: dict[str, Any] = {"name": plan.function, "arguments": ""}
        yield Piece(index, tool_call={"index": 0, "id": _call_id(messages, index), "type": "function", "function": function})
        for word in plan.words:
            yield Piece(index, tool_call={"index": 0, "function": {"arguments": word}})
    yield Piece(index, finish_reason=plan.finish_reason)


def _call_id(messages: tuple[ChatMessage, ...], index: int) -> str:
    """The same for the same conversation, different for every other one."""
    return "call_" + hashlib.sha256(repr((messages, index)).encode()).hexdigest()[:24]
