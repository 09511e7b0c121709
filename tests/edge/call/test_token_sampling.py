"""Providers' token counts are compared with ours on calls that we can count exactly."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from edge.call.requests import parse_chat_request
from edge.call.token_sampling import count_sample, is_countable
from edge.store import token_sampling
from edge.store.token_sampling import TokenSampling
from shared import tokenizer
from shared.billing.token_usage import ExtraUsage, TokenUsage
from shared.catalog.snapshot import Route
from shared.models import ChannelModel, TokenSample
from shared.rollup import TokenSums
from tests import factories
from tests.edge.shared_edge import Sandbox
from tests.openai_payloads import completion, tokens
from tests.servers.process import eventually
from tests.upstream_responses import json_response

# OpenAI's own example: 19 tokens (API reference, "Create chat completion").
MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": [{"type": "text", "text": "Hello!"}]},
]
USAGE = TokenUsage(19, 9)


def route(upstream_model: str = "openai/gpt-4o-mini") -> Route:
    return Route(UUID(int=1), UUID(int=2), "c", "openai", "http://up", "", {}, upstream_model, 0, 1)


def parsed(**fields: Any) -> Any:
    return parse_chat_request(json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())


class _Outcome:
    def __init__(self, text: str, size: int | None = None) -> None:
        self._delivered = text, len(text) if size is None else size

    def delivered_text(self) -> tuple[str, int]:
        return self._delivered


async def count(text: str) -> int:
    return tokenizer.count_tokens(text)


def counted(usage: TokenUsage, outcome: Any, **fields: Any) -> TokenSums:
    return asyncio.run(count_sample(parsed(**fields), outcome, usage, count))


def test_counts_are_exact() -> None:
    answer = "Hello! How can I assist you today?"
    assert counted(USAGE, _Outcome(answer)) == TokenSums(1, 19, 19, 9, 9)
    named = [{"role": "user", "name": "ada", "content": "Hello!"}]
    assert counted(USAGE, _Outcome(""), messages=named).counted_input == 3 + 3 + 1 + 2 + 1 + tokenizer.count_tokens("ada")
    assert counted(USAGE._replace(reasoning_tokens=5), _Outcome(answer)) == TokenSums(1, 19, 19)
    assert counted(USAGE, _Outcome(answer, 10**9)) == TokenSums(1, 19, 19)


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]
CALLED = [{"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize(
    ("fields", "upstream_model", "usage", "expected"),
    [
        ({}, "gpt-4o", USAGE, True),
        ({}, "openai/o3-mini", USAGE, True),
        ({"tools": [], "temperature": 0}, "gpt-5", USAGE, True),
        ({}, "gpt-oss-120b", USAGE, False),
        ({}, "claude-sonnet-4-5", USAGE, False),
        ({}, "gpt-4o", USAGE._replace(estimated=True), False),
        ({}, "gpt-4o", USAGE._replace(extra=ExtraUsage(web_searches=1)), False),
        ({"n": 2}, "gpt-4o", USAGE, False),
        ({"tools": [TOOL]}, "gpt-4o", USAGE, False),
        ({"response_format": {"type": "json_object"}}, "gpt-4o", USAGE, False),
        ({"messages": IMAGE}, "gpt-4o", USAGE, False),
        ({"messages": CALLED}, "gpt-4o", USAGE, False),
        ({"messages": [{"role": "user", "content": "x" * 100_001}]}, "gpt-4o", USAGE, False),
    ],
)
def test_only_countable_calls_are_sampled(fields: dict[str, Any], upstream_model: str, usage: TokenUsage, expected: bool) -> None:
    assert is_countable(parsed(**fields), route(upstream_model), usage) is expected


def test_a_channel_is_sampled_at_most_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 9.9, 10.0, 10.0, 19.9, 19.9, 20.0])
    monkeypatch.setattr(token_sampling.time, "monotonic", lambda: next(clock))
    sampling, first, second = TokenSampling(), UUID(int=1), UUID(int=2)
    assert [sampling.is_due(first), sampling.is_due(first)] == [False, True], "the process has just started"
    sampling.mark(first)
    assert [sampling.is_due(first), sampling.is_due(second), sampling.is_due(first)] == [False, True, True]


def test_a_call_is_sampled(sandbox: Sandbox) -> None:
    channel = ChannelModel.get(ChannelModel.model == sandbox.model).channel
    model = f"{sandbox.model}-gpt"
    factories.model(model, channel, upstream_model="gpt-4o")
    eventually(lambda: any(one["id"] == model for one in sandbox.get("/v1/models").json["data"]), "the model is served")
    sandbox.provider.default = json_response(completion("Hello! How can I assist you today?", usage=tokens(25, 9)))
    samples = TokenSample.select().where(TokenSample.channel == channel.id)

    def sampled() -> bool:
        assert sandbox.chat(model=model, messages=MESSAGES).status == 200
        return samples.clone().exists()

    eventually(sampled, "a call is sampled", seconds=60, interval=0.2)  # not in the first seconds of the process
    assert sandbox.chat(model=model, messages=MESSAGES).status == 200
    [sample] = samples
    assert (sample.model, sample.calls) == (model, 1), "the other calls came too soon"
    assert (sample.counted_input, sample.reported_input, sample.counted_output, sample.reported_output) == (19, 25, 9, 9)
