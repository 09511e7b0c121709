"""One reply, streamed and whole, in every dialect: both give the same result, however the stream is split into reads."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from shared.billing.token_usage import PartialUsage
from tests import anthropic_payloads as claude
from tests import gemini_payloads as gemini
from tests import openai_payloads as openai
from tests import responses_payloads as responses
from tests.shared.dialects.calls import Json, comparable, message_of, read_stream, read_whole, split

EMOJI = "Grüße 🙂, naïve Ωmega"


class Reply(NamedTuple):
    """One provider reply in both forms, and the expected result."""

    dialect: str
    whole: Json
    stream: bytes
    usage: PartialUsage
    finish: str


def of_claude(*content: Json, stop: str = "end_turn", finish: str = "stop", **counts: Any) -> Reply:
    whole = claude.message(*content, stop=stop, reported=claude.usage(**counts))
    read, written = counts.get("read", 0), counts.get("written", 0)
    input_tokens = counts.get("input", 7) + read + written
    meant = PartialUsage(
        input_tokens, counts.get("output", 3), read, counts.get("thought") or 0, written, extra={"service_tier": ""}
    )
    return Reply("anthropic", whole, claude.wire(whole), meant, finish)


def of_gemini(*parts: Json, stop: str = "STOP", finish: str = "stop", **counts: Any) -> Reply:
    whole = gemini.answer(*parts, finish=stop, reported=gemini.usage(**counts))
    thoughts = counts.get("thoughts", 0)
    meant = PartialUsage(counts.get("input", 7), counts.get("output", 3) + thoughts, counts.get("cached", 0), thoughts)
    return Reply("gemini", whole, gemini.wire(whole), meant, finish)


def of_openai(words: str) -> Reply:
    counts = openai.tokens(7, 3, cached=2, reasoning=1)
    pieces = [openai.role(), *(openai.chunk(word) for word in words), openai.finish(), openai.event([], usage=counts)]
    return Reply(
        "openai",
        openai.completion(words, usage=counts),
        openai.frames(*pieces) + openai.DONE,
        PartialUsage(7, 3, 2, 1),
        "stop",
    )


def of_responses(*output: Json, incomplete: str | None = None, finish: str = "stop", **counts: int) -> Reply:
    whole = responses.response(*output, incomplete=incomplete, reported=responses.usage(**counts))
    details = (counts.get("cached", 0), counts.get("reasoning", 0), counts.get("written", 0))
    meant = PartialUsage(counts.get("input", 7), counts.get("output", 3), *details, extra={"web_searches": 0, "service_tier": ""})
    return Reply("responses", whole, responses.wire(whole), meant, finish)


REPLIES = {
    "openai text": of_openai(EMOJI),
    "claude text": of_claude(claude.text(EMOJI)),
    "claude several texts": of_claude(claude.text("One. "), claude.text("Two.")),
    "claude cached": of_claude(claude.text("Hi"), read=100, written=20),
    "claude limit": of_claude(claude.text("Hi"), stop="max_tokens", finish="length"),
    "claude window": of_claude(claude.text("Hi"), stop="model_context_window_exceeded", finish="length"),
    "claude stop sequence": of_claude(claude.text("Hi"), stop="stop_sequence"),
    "claude refusal": of_claude(claude.text("I"), stop="refusal", finish="content_filter"),
    "claude thinking": of_claude(claude.thinking("Let me see: " + EMOJI), claude.text("42"), thought=2),
    "claude redacted": of_claude({"type": "redacted_thinking", "data": "b3BhcXVl"}, claude.text("42")),
    "claude tools": of_claude(
        claude.text("I look."),
        claude.tool_use("toolu_1", "weather", city="Köln 🙂", days=[1, 2]),
        claude.tool_use("toolu_2", "now"),
        stop="tool_use",
        finish="tool_calls",
    ),
    "gemini text": of_gemini(gemini.text(EMOJI)),
    "gemini cached": of_gemini(gemini.text("Hi"), input=200, cached=100),
    "gemini limit": of_gemini(gemini.text("Hi"), stop="MAX_TOKENS", finish="length"),
    "gemini safety": of_gemini(gemini.text("I"), stop="SAFETY", finish="content_filter"),
    "gemini recitation": of_gemini(gemini.text("I"), stop="RECITATION", finish="content_filter"),
    "gemini thoughts": of_gemini(gemini.thought("Let me see"), gemini.text("42"), thoughts=9),
    "gemini tools": of_gemini(
        gemini.text("I look."),
        gemini.call("weather", signature="c2ln", city="Köln 🙂", days=[1, 2]),
        gemini.call("now"),
        finish="tool_calls",
    ),
    "responses text": of_responses(responses.text(EMOJI)),
    "responses several parts": of_responses(responses.text("One. ", "Two.")),
    "responses several messages": of_responses(responses.text("I look."), responses.text("Found it.", id="msg_2")),
    "responses cached": of_responses(responses.text("Hi"), input=200, cached=100, written=20),
    "responses limit": of_responses(responses.text("Hi"), incomplete="max_output_tokens", finish="length"),
    "responses filter": of_responses(responses.text("I"), incomplete="content_filter", finish="content_filter"),
    "responses refusal": of_responses(responses.refusal("I cannot do that.")),
    "responses reasoning": of_responses(
        responses.reasoning("Let me see: " + EMOJI, "Yes."), responses.text("42"), output=9, reasoning=6
    ),
    "responses hidden reasoning": of_responses(responses.reasoning(), responses.text("42"), output=9, reasoning=6),
    "responses tools": of_responses(
        responses.reasoning(encrypted=None),
        responses.text("I look."),
        responses.call("weather", id="call_1", city="Köln 🙂", days=[1, 2]),
        responses.call("now", id="call_2"),
        finish="tool_calls",
    ),
    "responses custom tool": of_responses(responses.custom_call("apply_patch", "*** Begin\n+" + EMOJI), finish="tool_calls"),
}
each = pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)


@each
def test_the_providers_own_sdk_parses_the_test_data(reply: Reply) -> None:
    events = [json.loads(line[6:]) for line in reply.stream.decode().splitlines() if line.startswith("data: {")]
    if reply.dialect == "anthropic":
        Message.model_validate(reply.whole)
        reader: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
        for event in events:
            if event["type"] != "ping":  # the SDK handles pings before it validates types
                reader.validate_python(event)
    elif reply.dialect == "responses":
        Response.model_validate(reply.whole)
        stream_event: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
        for event in events:
            stream_event.validate_python(event)
    elif reply.dialect == "gemini":
        for response in (reply.whole, *events):
            GenerateContentResponse.model_validate(response, extra="forbid")


@each
def test_stream_and_whole_answer_agree(reply: Reply) -> None:
    answer = read_whole(reply.dialect, reply.whole)
    streamed = read_stream(reply.dialect, [reply.stream])
    (choice,) = answer.body["choices"]
    assert comparable(message_of(streamed.chunks)) == comparable({**choice["message"], "finish_reason": choice["finish_reason"]})
    assert choice["finish_reason"] == reply.finish
    assert answer.usage == streamed.usage == reply.usage
    assert (answer.delivered, streamed.delivered) == (True, True)
    assert "" not in (streamed.text, answer.text)


@each
def test_openais_sdk_parses_the_callers_response(reply: Reply) -> None:
    ChatCompletion.model_validate(read_whole(reply.dialect, reply.whole).body)
    chunks = read_stream(reply.dialect, [reply.stream]).chunks
    if "custom" not in str(chunks):  # the SDK has no type for deltas of custom tools
        for chunk in chunks:
            ChatCompletionChunk.model_validate(chunk)
    assert {(chunk["id"][:9], chunk["model"]) for chunk in chunks} == {("chatcmpl-", "our-model")}
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in choice["delta"] for chunk in chunks[1:] for choice in chunk["choices"])


@each
def test_every_single_split_gives_the_same_result(reply: Reply) -> None:
    expected = read_stream(reply.dialect, [reply.stream])
    for place in range(len(reply.stream)):
        assert read_stream(reply.dialect, [reply.stream[:place], reply.stream[place:]]) == expected


@given(st.sampled_from(list(REPLIES.values())), st.lists(st.integers(0, 10_000), max_size=30))
def test_any_splits_give_the_same_result(reply: Reply, positions: list[int]) -> None:
    assert read_stream(reply.dialect, split(reply.stream, positions)) == read_stream(reply.dialect, [reply.stream])


@given(st.sampled_from(["anthropic", "gemini", "responses"]), st.binary(max_size=300))
def test_noise_is_rejected_and_never_crashes(dialect: str, noise: bytes) -> None:
    streamed = read_stream(dialect, [noise, b"\n\n"])
    assert streamed.error or streamed.chunks


NAMES = st.sampled_from(
    [
        *("type", "delta", "content_block", "message", "usage", "text", "index", "stop_reason", "input_tokens"),
        *("candidates", "content", "parts", "functionCall", "finishReason", "usageMetadata", "promptFeedback", "name"),
        *("response", "output", "output_index", "item", "status", "error", "call_id", "arguments"),
    ]
)
TYPES = [
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"),
    *("response.created", "response.output_item.added", "response.output_item.done", "response.output_text.delta"),
    *("response.function_call_arguments.delta", "response.completed", "response.failed", "error", "message", "function_call"),
]


def objects(values: Any) -> Any:
    return st.dictionaries(NAMES, values, max_size=5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner) | objects(inner),
    max_leaves=8,
)


@given(st.sampled_from(["anthropic", "gemini", "responses"]), st.lists(objects(JSON | st.sampled_from(TYPES)), max_size=4))
def test_unexpected_events_never_crash(dialect: str, events: list[Json]) -> None:
    data = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
    streamed = read_stream(dialect, [data])
    assert streamed.error in (None, "MalformedStream", "BrokenStream")
