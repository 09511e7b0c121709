"""demo-echo through OpenAI's SDK: the features and faults that it simulates."""

import json
from typing import Literal

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from tests.embedded.embedded_server import KEY, Server

MODEL = "demo-echo"
CLOCK = {
    "type": "function",
    "function": {
        "name": "read_clock",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string"}, "hour": {"type": "integer", "minimum": 3}},
            "required": ["zone", "hour"],
        },
    },
}
MAP = {"type": "function", "function": {"name": "read_map"}}


class Leaf(BaseModel):
    kind: Literal["leaf"]
    weight: float


class Tree(BaseModel):
    kind: Literal["tree"]
    left: "Tree | Leaf"
    tags: list[str]
    alive: bool


def ask(client, text, **rest):
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **rest)


def test_echoes_and_counts_words(echo):
    messages = [
        {"role": "system", "content": "Be   kind."},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "one two  three"},
    ]
    answer = echo.chat.completions.create(model=MODEL, messages=messages, seed=1)
    assert answer.choices[0].message.content == "You said: one two  three"
    assert answer.choices[0].finish_reason == "stop"
    # Two words, an empty message that counts as one, and three words; the answer has five.
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 5)


def test_every_choice_is_streamed_word_by_word(echo):
    chunks = list(ask(echo, "a b", n=2, stream=True, stream_options={"include_usage": True}))
    result = [[], []]
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        result[choice.index].append((choice.delta.role, choice.delta.content, choice.finish_reason))
    expected = [("assistant", "You", None), (None, " said:", None), (None, " a", None), (None, " b", None)]
    assert result == [[*expected, (None, None, "stop")]] * 2
    assert chunks[-1].usage.completion_tokens == 8


def test_usage_is_streamed_only_if_requested(echo):
    assert all(chunk.choices and chunk.usage is None for chunk in ask(echo, "a", stream=True))


def test_stop_and_max_tokens_end_an_answer(echo):
    assert ask(echo, "one STOP two", stop=" STOP").choices[0].message.content == "You said: one"
    cut = ask(echo, "one two three", max_tokens=9, max_completion_tokens=3)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == ("You said: one", "length")
    assert cut.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("text", "choice", "called"),
    [
        ("use a tool", "auto", "read_clock"),
        ("hello", "required", "read_clock"),
        ("hello", {"type": "function", "function": {"name": "read_map"}}, "read_map"),
        ("hello", "auto", None),
        ("use a tool", "none", None),
    ],
)
def test_calls_a_tool_if_asked_or_forced(echo, text, choice, called):
    answer = ask(echo, text, tools=[CLOCK, MAP], tool_choice=choice).choices[0]
    calls = answer.message.tool_calls or []
    assert [call.function.name for call in calls] == ([called] if called else [])
    assert answer.finish_reason == ("tool_calls" if called else "stop")
    assert (answer.message.content is None) == bool(called)


def test_a_streamed_tool_call_is_assembled_by_the_sdk_and_answered(echo):
    messages = [{"role": "user", "content": "use a tool"}]
    with echo.chat.completions.stream(model=MODEL, messages=messages, tools=[CLOCK]) as stream:
        final = stream.get_final_completion().choices[0]
    call = final.message.tool_calls[0]
    assert final.finish_reason == "tool_calls"
    assert json.loads(call.function.arguments) == {"zone": "demo", "hour": 3}
    messages += [
        {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
        {"role": "tool", "tool_call_id": call.id, "content": "three o'clock"},
    ]
    reply = echo.chat.completions.create(model=MODEL, messages=messages, tools=[CLOCK])
    assert reply.choices[0].message.content == "The tool said: three o'clock"


def test_structured_output_is_parsed_by_the_sdk(echo):
    messages = [{"role": "user", "content": "grow"}]
    parsed = echo.chat.completions.parse(model=MODEL, messages=messages, response_format=Tree).choices[0].message.parsed
    assert isinstance(parsed, Tree)
    assert isinstance(parsed.left, Leaf)


def test_json_object_contains_the_prompt(echo):
    answer = ask(echo, "give JSON", response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content) == {"you_said": "give JSON"}


def test_words_and_slow_directives_combine_and_are_not_echoed(echo):
    assert ask(echo, "/slow 1\n/words 3\nanything").choices[0].message.content == "word1 word2 word3"
    assert ask(echo, "/slow 1\nanything").choices[0].message.content == "You said: anything"
    assert ask(echo, "/unknown 1").choices[0].message.content == "You said: /unknown 1"


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, openai.RateLimitError), (500, openai.InternalServerError), (401, openai.AuthenticationError)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_fail_directive_returns_that_http_error(echo, status, error, stream):
    with pytest.raises(error) as caught:
        ask(echo, f"/fail {status}", stream=stream)
    assert caught.value.status_code == status
    assert (caught.value.response.headers.get("retry-after") == "1") == (status == 429)


def test_the_cut_directive_drops_the_connection_after_that_many_words(echo):
    seen = []
    words = (chunk.choices[0].delta.content for chunk in ask(echo, "/cut 2 a b c", stream=True))
    with pytest.raises(openai.APIConnectionError):
        seen.extend(words)
    assert seen == ["You", " said:"]


async def test_a_cut_before_the_first_byte_sends_nothing(echo_server: Server):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "/cut 0"}]}
    async with aiohttp.ClientSession(echo_server.url, headers={"Authorization": f"Bearer {KEY}"}) as session:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("text", ["/fail", "/fail 200", "/slow soon", "/words 0", "/cut -1"])
def test_a_directive_with_an_invalid_number_is_explained(echo, text):
    with pytest.raises(openai.BadRequestError, match="requires a whole number") as caught:
        ask(echo, text)
    assert caught.value.param == "messages"


def test_log_probabilities_are_rejected(echo):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(echo, "a", logprobs=True)
    assert caught.value.param == "logprobs"
