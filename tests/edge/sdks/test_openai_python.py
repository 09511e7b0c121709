"""The unmodified official Python SDK against a real edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from shared.billing.rates import Rate
from shared.identity.api_key_format import new_key
from tests import factories, openai_payloads
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox, Stack
from tests.openai_payloads import DONE, chunk, completion, finish, role, tokens, usage
from tests.servers.process import eventually
from tests.upstream_responses import HANG, Gate, context_too_long, error_response, json_response, no_response, stream

HI: Any = [{"role": "user", "content": "Hi"}]
YOUT = {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "strict": True,
        "parameters": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(sandbox: Sandbox) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


# Models


def test_models_are_listed_and_retrieved(client: OpenAI, sandbox: Sandbox) -> None:
    listed = {model.id: model for model in client.models.list()}
    found = client.models.retrieve(sandbox.model)
    assert found.model_dump() == listed[sandbox.model].model_dump()
    assert (found.object, found.owned_by) == ("model", "yout")
    extra = found.model_extra or {}
    assert (extra["pricing"]["prompt"], extra["pricing"]["completion"]) == ("0.000001", "0.000002")
    credits = {name: value for name, value in extra["pricing"].items() if name.startswith("credits_")}
    assert credits == {
        "credits_per_1k_input": 1_000,
        "credits_per_1k_output": 2_000,
        "credits_per_1k_cached_input": 1_000,
        "credits_per_1k_cache_write": 1_000,
        "credits_per_call": 0,
    }
    assert {"context_window", "max_output_tokens", "modality", "capabilities"} <= set(extra)


def test_an_unknown_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("nobody/knows")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_key_lists_only_the_models_that_it_may_use(stack: Stack, sandbox: Sandbox) -> None:
    other = stack.new_sandbox(allowed_models=[sandbox.model])
    with OpenAI(base_url=sandbox.api, api_key=other.secret) as client:
        assert [model.id for model in client.models.list()] == [sandbox.model]
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve(sandbox.pair)
        with pytest.raises(openai.PermissionDeniedError) as caught:
            client.chat.completions.create(model=sandbox.pair, messages=HI)
    assert caught.value.code == "model_not_allowed"


# Chat


def test_a_chat_is_answered_and_charged(client: OpenAI, sandbox: Sandbox) -> None:
    answer = client.chat.completions.create(model=sandbox.model, messages=HI)
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == sandbox.model
    assert answer.choices[0].message.content == "Hello there."
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    assert answer.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    assert sandbox.charged == DEFAULT_COST


async def test_a_chat_works_asynchronously(async_client: AsyncOpenAI, sandbox: Sandbox) -> None:
    answer = await async_client.chat.completions.create(model=sandbox.model, messages=HI)
    assert answer.choices[0].message.content == "Hello there."
    assert answer.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields


def test_a_stream_is_iterated(client: OpenAI, sandbox: Sandbox) -> None:
    with client.chat.completions.create(model=sandbox.model, messages=HI, stream=True) as events:
        chunks = list(events)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there."
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert [getattr(chunk, "yout", None) for chunk in chunks] == [None] * (len(chunks) - 1) + [YOUT]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"


def test_usage_comes_last_if_requested(client: OpenAI, sandbox: Sandbox) -> None:
    options: Any = {"include_usage": True}
    with client.chat.completions.create(model=sandbox.model, messages=HI, stream=True, stream_options=options) as events:
        *chunks, last = list(events)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (7, 3, 10)
    assert last.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    assert [chunk.usage for chunk in chunks] == [None] * len(chunks)
    assert [chunk for chunk in chunks if hasattr(chunk, "yout")] == []


async def test_a_stream_is_iterated_asynchronously(async_client: AsyncOpenAI, sandbox: Sandbox) -> None:
    text = ""
    async for event in await async_client.chat.completions.create(model=sandbox.model, messages=HI, stream=True):
        text += event.choices[0].delta.content or ""
    assert text == "Hello there."


def test_the_stream_helper_assembles_the_answer(client: OpenAI, sandbox: Sandbox) -> None:
    with client.chat.completions.stream(model=sandbox.model, messages=HI, stream_options={"include_usage": True}) as helper:
        kinds = {event.type for event in helper}
        final = helper.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Hello there."
    assert final.usage is not None
    assert final.usage.total_tokens == 10


async def test_the_stream_helper_works_asynchronously(async_client: AsyncOpenAI, sandbox: Sandbox) -> None:
    async with async_client.chat.completions.stream(model=sandbox.model, messages=HI) as helper:
        final = await helper.get_final_completion()
    assert final.choices[0].message.content == "Hello there."


def test_the_raw_response_has_the_headers(client: OpenAI, sandbox: Sandbox) -> None:
    raw = client.chat.completions.with_raw_response.create(model=sandbox.model, messages=HI)
    assert raw.headers["content-type"] == "application/json"
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.headers["x-request-id"] == f"req_{sandbox.usage()[0].id.hex}"
    for what in ("requests", "tokens"):
        limit, remaining = (int(raw.headers[f"x-ratelimit-{kind}-{what}"]) for kind in ("limit", "remaining"))
        assert 0 < remaining < limit
        assert raw.headers[f"x-ratelimit-reset-{what}"].endswith(("s", "ms"))
    assert raw.parse().choices[0].message.content == "Hello there."


def test_a_raw_stream_has_the_headers(client: OpenAI, sandbox: Sandbox) -> None:
    with client.chat.completions.with_streaming_response.create(model=sandbox.model, messages=HI, stream=True) as raw:
        assert raw.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert raw.headers["cache-control"] == "no-store"
        assert raw.headers["x-request-id"].startswith("req_")
        assert "x-ratelimit-limit-requests" in raw.headers
        assert list(raw.iter_lines())[-2:] == ["data: [DONE]", ""]


# Requests to the provider


def test_every_documented_field_reaches_the_provider(client: OpenAI, sandbox: Sandbox) -> None:
    model = f"audio-{sandbox.model}"
    factories.model(model, factories.channel(sandbox.provider.url), rates=(Rate("audio_input", 0, 100),))
    eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 200, "the edge knows the model")
    asked: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "What is this?"}, image(), sound(), file()]},
            {"role": "assistant", "content": None, "tool_calls": [call("call_1", '{"city":"Bonn"}')]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Rain."}]},
        ],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}},
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"50256": -100},
        "n": 2,
        "stop": ["\n", "END"],
        "seed": 7,
        "temperature": 0.5,
        "top_p": 0.9,
        "presence_penalty": -1.5,
        "frequency_penalty": 1,
        "reasoning_effort": "low",
        "verbosity": "low",
        "max_completion_tokens": 50,
        "service_tier": "auto",
        "prediction": {"type": "content", "content": "x"},
        "modalities": ["text"],
        "metadata": {"run": "1"},
    }
    extra = {"top_k": 5, "min_p": 0.1, "unheard_of": None, "chat_template_kwargs": {"größe": [1.5, {"x": "é🙂"}]}}
    client.chat.completions.create(model=model, extra_body=extra, **asked)
    del asked["metadata"]  # never sent
    [received] = sandbox.provider.calls
    assert received.json == {**asked, **extra, "model": "acme-model"}


def image() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}


def sound() -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


def file() -> dict[str, Any]:
    return {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}


def call(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def test_explicit_nulls_count_as_omitted(client: OpenAI, sandbox: Sandbox) -> None:
    names = (
        *("temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty"),
        *("logit_bias", "user", "seed", "tools", "tool_choice", "response_format", "stream", "stream_options", "logprobs"),
        *("top_logprobs", "metadata", "store", "parallel_tool_calls", "functions", "modalities", "reasoning_effort"),
    )
    nulls: dict[str, Any] = dict.fromkeys(names)
    answer = client.chat.completions.create(model=sandbox.model, messages=HI, extra_body=nulls)
    assert answer.choices[0].message.content == "Hello there."


def test_two_choices_are_returned_and_billed_by_the_providers_count(client: OpenAI, sandbox: Sandbox) -> None:
    body = completion("A", usage=tokens(7, 6))
    body["choices"].append({**body["choices"][0], "index": 1})
    sandbox.provider.script(json_response(body))
    answer = client.chat.completions.create(model=sandbox.model, messages=HI, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert sandbox.charged == 7 + 2 * 6


# Tools and structured output


def test_streamed_tool_calls(client: OpenAI, sandbox: Sandbox) -> None:
    parts = ['{"ci', 'ty":"Bo', 'nn"}']
    first = [{"index": 0, **call("call_1", "")}]
    rest = [chunk(tool_calls=[{"index": 0, "function": {"arguments": part}}]) for part in parts]
    sandbox.provider.script(stream(role(), chunk(tool_calls=first), *rest, finish("tool_calls"), usage(7, 3), DONE))
    with client.chat.completions.stream(model=sandbox.model, messages=HI, tools=[WEATHER]) as helper:
        final = helper.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"
    [made] = final.choices[0].message.tool_calls or []
    assert (made.id, made.function.name, made.function.arguments) == ("call_1", "weather", '{"city":"Bonn"}')
    assert sandbox.charged == DEFAULT_COST


def test_a_tool_round_trip(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(
        json_response(completion(None, usage=tokens(7, 3), finish="tool_calls", tool_calls=[call("c1", "{}")]))
    )
    asked = client.chat.completions.create(model=sandbox.model, messages=HI, tools=[WEATHER])
    message = asked.choices[0].message
    messages = [*HI, message, {"role": "tool", "tool_call_id": "c1", "content": "Rain."}]
    answer = client.chat.completions.create(model=sandbox.model, messages=messages, tools=[WEATHER])
    assert answer.choices[0].message.content == "Hello there."
    assert sandbox.provider.calls[1].json["messages"][1]["tool_calls"] == [call("c1", "{}")]
    assert sandbox.charged == 2 * DEFAULT_COST


def test_structured_output_is_parsed(client: OpenAI, sandbox: Sandbox) -> None:
    class City(BaseModel):
        name: str

    sandbox.provider.script(json_response(completion('{"name": "Bonn"}', usage=tokens(7, 3))))
    answer = client.chat.completions.parse(model=sandbox.model, messages=HI, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Bonn")
    assert sandbox.provider.calls[0].json["response_format"]["json_schema"]["strict"] is True


# Errors


@pytest.mark.parametrize("key", ["sk-wrong", "yout-" + "a" * 38, "an unknown one"])
def test_an_invalid_key(sandbox: Sandbox, key: str) -> None:
    with OpenAI(base_url=sandbox.api, api_key=new_key().secret if " " in key else key) as client:
        for ask in (client.models.list, lambda: client.chat.completions.create(model=sandbox.model, messages=HI)):
            with pytest.raises(openai.AuthenticationError) as caught:
                ask()
            assert (caught.value.code, caught.value.type) == ("invalid_api_key", "authentication_error")
            assert caught.value.request_id
            assert "Incorrect API key provided" in str(caught.value)


@pytest.mark.parametrize("streaming", [False, True])
def test_insufficient_credits_are_a_402_that_is_not_retried(sandbox: Sandbox, streaming: bool) -> None:
    secret = factories.api_key(factories.account(credits=9))[1]
    seen: list[int] = []
    hooks: Any = {"response": [lambda response: seen.append(response.status_code)]}
    with (
        httpx2.Client(event_hooks=hooks) as http,
        OpenAI(base_url=sandbox.api, api_key=secret, http_client=http, max_retries=2) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=sandbox.model, messages=HI, stream=streaming)
    error = caught.value
    assert (error.status_code, error.code, error.type) == (402, "insufficient_credits", "insufficient_credits")
    assert error.response.headers["x-should-retry"] == "false"
    result = error.response.json()["yout"]
    assert result["balance"] == 9 < result["required"]
    assert result["max_tokens_affordable"] >= 0
    assert "rate limit" not in str(error).lower()
    assert seen == [402]
    assert sandbox.provider.calls == []


def test_an_unknown_model(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-nobody", messages=HI)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_bad_request_names_the_field(client: OpenAI, sandbox: Sandbox) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=sandbox.model, messages=HI, temperature=9)
    assert (caught.value.param, caught.value.code, caught.value.type) == (
        "temperature",
        "invalid_request",
        "invalid_request_error",
    )


def test_a_too_long_context(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(context_too_long())
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=sandbox.model, messages=HI, stream=True)
    assert caught.value.code == "context_length_exceeded"


def test_a_too_large_request(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.edge = stack.edge(max_body_bytes=10_000)
    with (
        OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model=sandbox.model, messages=[{"role": "user", "content": "x" * 20_000}])
    assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


def test_a_rate_limit_says_how_long_to_wait(stack: Stack, sandbox: Sandbox) -> None:
    limited = stack.new_sandbox(rpm=1)
    with OpenAI(base_url=sandbox.api, api_key=limited.secret, max_retries=0) as client:
        client.chat.completions.create(model=sandbox.model, messages=HI)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model=sandbox.model, messages=HI)
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    assert 0 < int(headers["retry-after"]) <= 60
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (error_response(500), (502, "upstream_error")),
        (error_response(429), (503, "no_upstream_available")),
        (no_response(), (504, "upstream_timeout")),
    ],
)
def test_provider_failures_are_server_errors(short_timeout_sandbox: Sandbox, fault: Any, expected: tuple[int, str]) -> None:
    short_timeout_sandbox.provider.default = fault
    with OpenAI(base_url=short_timeout_sandbox.api, api_key=short_timeout_sandbox.secret, max_retries=0) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(model=short_timeout_sandbox.model, messages=HI, stream=True)
        assert (caught.value.status_code, caught.value.code) == expected
    assert (short_timeout_sandbox.charged, short_timeout_sandbox.held) == (0, 0)


def test_an_sdk_retry_is_charged_once(sandbox: Sandbox) -> None:
    sandbox.provider.script(error_response(401), error_response(401))
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=2) as client:
        client.chat.completions.create(model=sandbox.model, messages=HI)
    assert sandbox.charged == DEFAULT_COST


def test_a_broken_stream_raises(client: OpenAI, sandbox: Sandbox) -> None:
    gate = Gate()
    sandbox.provider.script(stream(role(), chunk("Hel"), gate, openai_payloads.failure("Boom.")))
    with client.chat.completions.create(model=sandbox.model, messages=HI, stream=True) as events:
        while not next(events).choices[0].delta.content:
            pass
        gate.open()
        with pytest.raises(openai.APIError) as caught:
            next(events)
    assert (caught.value.code, caught.value.type) == ("upstream_error", "upstream_error")


# Disconnecting


def test_closing_a_stream_cancels_the_upstream_and_bills_delivered_output(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    with client.chat.completions.create(model=sandbox.model, messages=HI, stream=True) as events:
        while not next(events).choices[0].delta.content:
            pass
    assert_left(sandbox)


async def test_closing_an_async_stream_does_the_same(async_client: AsyncOpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(stream(role(), chunk("Hello there, you "), HANG))
    events = await async_client.chat.completions.create(model=sandbox.model, messages=HI, stream=True)
    async for event in events:
        if event.choices[0].delta.content:
            break
    await events.close()
    assert_left(sandbox)


def assert_left(sandbox: Sandbox) -> None:
    assert sandbox.provider.calls[0].wait_outcome() == "disconnected"
    eventually(lambda: bool(sandbox.usage()), "the call is settled")
    [row] = sandbox.usage()
    assert (row.status, row.error_code, row.estimated) == ("cancelled", "client_closed", True)
    assert sandbox.charged == row.credits > 0
    assert sandbox.held == 0


def test_an_sdk_timeout_before_the_first_token_bills_the_prompt(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(no_response())
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=sandbox.model, messages=HI)
    eventually(lambda: bool(sandbox.usage()), "the call is settled")
    assert (sandbox.charged, sandbox.held) == (10, 0)  # the minimum charge: the provider was working
