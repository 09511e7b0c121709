"""The real model in a real process, called with OpenAI's SDK and with raw requests."""

import asyncio
import json

import aiohttp
import openai
import pytest
from pydantic import BaseModel

from tests.embedded.embedded_server import KEY, SMOLLM, Server, until_busy

HELLO = [{"role": "user", "content": "Say hello."}]
HEADERS = {"Authorization": f"Bearer {KEY}"}


# A real model's output is random, except at temperature 0.
DETERMINISTIC = {"temperature": 0}


def ask(client, messages=HELLO, **rest):
    return client.chat.completions.create(model=SMOLLM, messages=messages, **({"max_tokens": 8} | DETERMINISTIC | rest))


def test_an_answer_has_usage_and_no_llama_cpp_fields(client):
    answer = ask(client)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert 0 < answer.usage.completion_tokens <= 8
    assert answer.usage.prompt_tokens > 3
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.model == SMOLLM
    assert not answer.model_extra
    assert not answer.usage.model_extra


def test_a_stream_has_one_id_one_role_one_finish_reason_and_then_usage(client):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.delta.role for choice in choices] == ["assistant"] + [None] * (len(choices) - 1)
    assert [choice.finish_reason is None for choice in choices] == [True] * (len(choices) - 1) + [False]
    assert not any(chunk.model_extra for chunk in chunks)


def test_streamed_and_whole_answers_agree(client):
    # The second call reuses the first one's cached prompt.
    whole = ask(client, max_completion_tokens=5, max_tokens=50)
    chunks = list(ask(client, max_completion_tokens=5, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert whole.usage.completion_tokens == 5
    assert whole.choices[0].finish_reason == "length"


def test_accepts_parts_null_content_and_the_developer_role(client):
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        {"role": "assistant", "content": None},
        *HELLO,
    ]
    joined = [{"role": "system", "content": "Be brief."}, {"role": "assistant", "content": ""}, *HELLO]
    one, other = (ask(client, turns, max_tokens=1).usage.prompt_tokens for turns in (messages, joined))
    assert one == other


def test_the_same_seed_gives_the_same_answer(client):
    one, other = (ask(client, temperature=1.5, seed=-7).choices[0].message.content for _ in range(2))
    assert one == other


def test_output_follows_the_json_schema(client):
    class Person(BaseModel):
        name: str
        age: int

    answer = client.chat.completions.parse(
        model=SMOLLM,
        messages=[{"role": "user", "content": "Describe Ann."}],
        response_format=Person,
        max_tokens=200,
        **DETERMINISTIC,
    )
    assert isinstance(answer.choices[0].message.parsed.age, int)


def test_json_object_is_json(client):
    messages = [{"role": "user", "content": 'Reply with {"ok": true} and nothing else.'}]
    answer = ask(client, messages, response_format={"type": "json_object"}, max_tokens=300)
    assert answer.choices[0].finish_reason == "stop"
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_log_probabilities_are_in_openais_format(client):
    answer = ask(client, logprobs=True, top_logprobs=2, max_tokens=3)
    entries = answer.choices[0].logprobs.content
    assert len(entries) == 3
    assert all(len(entry.top_logprobs) == 2 and not entry.model_extra for entry in entries)


@pytest.mark.parametrize("stream", [False, True])
def test_a_too_long_prompt_is_rejected_with_its_code(client, stream):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, [{"role": "user", "content": "word " * 5000}], stream=stream)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
    assert "maximum context length is 4096 tokens" in caught.value.body["message"]


TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
NONSENSE = {"type": "nonsense"}
HUGE = {"enum": [f"choice number {number}" for number in range(2000)]}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"tools": [TOOL]}, "tools"),
        ({"messages": [{"role": "user", "content": [IMAGE]}]}, "messages"),
        ({"messages": [{"role": "tool", "tool_call_id": "call_1", "content": "noon"}]}, "messages"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": NONSENSE}}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": HUGE}}}, "response_format"),
    ],
)
def test_an_unsupported_field_is_a_400_naming_it(client, fields, param):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert caught.value.param == param


def test_tools_with_tool_choice_none_are_accepted(client):
    assert ask(client, tools=[TOOL], tool_choice="none").choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("prompt", "case"), [("Tell a very long story about the sea.", "writing"), ("sea " * 3500, "reading")])
async def test_generation_stops_when_the_client_disconnects(server: Server, stream, prompt, case):
    body = {"model": SMOLLM, "messages": [{"role": "user", "content": prompt}], "stream": stream, "max_tokens": 2000}
    async with aiohttp.ClientSession(server.url, headers=HEADERS) as session:
        call = asyncio.create_task(_post(session, body))
        await until_busy(session, 1)
        call.cancel()
        # Both would take longer than the timeout even on an idle machine: thousands of tokens to read or write.
        async with asyncio.timeout(15):
            await until_busy(session, 0)


async def _post(session: aiohttp.ClientSession, body: dict) -> None:
    async with session.post("/v1/chat/completions", json=body) as reply:
        await reply.read()


async def test_more_callers_than_slots_are_all_answered(server: Server):
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0) as client:
        calls = [client.chat.completions.create(model=SMOLLM, messages=HELLO, max_tokens=4, **DETERMINISTIC) for _ in range(5)]
        answers = await asyncio.gather(*calls)
    assert all(answer.choices[0].message.content for answer in answers)
