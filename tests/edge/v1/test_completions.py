"""The legacy completions API on chat models, called with the official SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from edge.v1.completions import parse
from shared.core.errors import InvalidRequest
from tests.edge.sdks.scripts import broken_stream, streamed_or_whole, text_answer
from tests.edge.shared_edge import CREDITS, DEFAULT_COST, Sandbox
from tests.openai_payloads import completion, finish, tokens

YOUT = {"credits_charged": DEFAULT_COST, "balance": CREDITS - DEFAULT_COST}


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[OpenAI]:
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as made:
        yield made


def test_a_prompt_is_completed_and_charged(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    answer = client.completions.create(model=sandbox.model, prompt="Hi", stop=["\n"], temperature=0.5)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason, choice.index, choice.logprobs) == ("Hello there.", "stop", 0, None)
    assert (answer.object, answer.model, answer.id) == ("text_completion", sandbox.model, f"cmpl-{sandbox.usage()[0].id.hex}")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 10
    assert answer.yout == YOUT  # type: ignore[attr-defined]  # ours, beside their fields
    asked = sandbox.provider.calls[0].json
    assert (asked["messages"], asked["max_tokens"]) == ([{"role": "user", "content": "Hi"}], 16)
    assert (asked["stop"], asked["temperature"]) == (["\n"], 0.5)


def test_a_stream(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    options: Any = {"include_usage": True}
    *chunks, last = client.completions.create(model=sandbox.model, prompt="Hi", stream=True, stream_options=options, echo=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "HiHello there."
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.yout) == ([], YOUT)  # type: ignore[attr-defined]  # ours, beside their fields
    assert last.usage is not None
    assert last.usage.total_tokens == 10


def test_without_usage_the_last_chunk_has_the_charge(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(text_answer("Hello there."))
    chunks = list(client.completions.create(model=sandbox.model, prompt=["Hi"], stream=True, max_tokens=40))
    assert [getattr(chunk, "yout", None) for chunk in chunks] == [None] * (len(chunks) - 1) + [YOUT]
    assert sandbox.provider.calls[0].json["max_tokens"] == 40


def test_two_choices(client: OpenAI, sandbox: Sandbox) -> None:
    body = completion("A", usage=tokens(7, 6))
    body["choices"].append({**body["choices"][0], "index": 1})
    sandbox.provider.script(streamed_or_whole(body, finish()))
    answer = client.completions.create(model=sandbox.model, prompt="Hi", n=2, echo=True, best_of=2)
    assert [(choice.index, choice.text) for choice in answer.choices] == [(0, "HiA"), (1, "HiA")]


def test_failures(client: OpenAI, sandbox: Sandbox) -> None:
    sandbox.provider.script(broken_stream())
    with pytest.raises(openai.APIError) as caught:
        list(client.completions.create(model=sandbox.model, prompt="Hi", stream=True))
    assert caught.value.code == "upstream_error"
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="nobody", prompt="Hi")


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        *(({"prompt": value}, "prompt") for value in (None, "", [], ["a", "b"], [1, 2])),
        ({"suffix": "x"}, "suffix"),
        ({"logprobs": 2}, "logprobs"),
        *(({"best_of": value}, "best_of") for value in (3, True, 1.0, "1")),
        ({"n": True, "best_of": True}, "n"),
        ({"echo": "yes"}, "echo"),
        ({"tools": [{}]}, "tools"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_an_invalid_field_is_named(asked: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(json.dumps({"model": "m", "prompt": "Hi", **asked}).encode())
    assert caught.value.param == param
