"""Embeddings: the request to the provider, the response in both encodings, and the charge."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from edge.v1.embeddings import MAX_INPUTS, parse
from shared.core.errors import InvalidRequest
from tests import factories
from tests.edge.shared_edge import CREDITS, Sandbox
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, context_too_long, error_response, json_response

Json = dict[str, Any]
VECTORS = [[0.5, -0.25, 1.0], [0.125, 0.0, -2.0]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def embedded(request: Request) -> ScriptedResponse:
    """A provider that honors `encoding_format` and returns the last input first."""
    inputs = request.json["input"]
    count = len(inputs) if isinstance(inputs, list) and not isinstance(inputs[0], int) else 1
    encode: Any = packed if request.json.get("encoding_format") == "base64" else list
    data = [{"object": "embedding", "index": index, "embedding": encode(VECTORS[index])} for index in reversed(range(count))]
    return json_response(
        {"object": "list", "data": data, "model": "acme-model", "usage": {"prompt_tokens": 20, "total_tokens": 20}}
    )


def floats_only(request: Request) -> ScriptedResponse:
    """A provider without base64 support that reports no usage."""
    return json_response({"data": [{"index": 0, "embedding": VECTORS[0]}]})


def packed_only(request: Request) -> ScriptedResponse:
    return json_response({"data": [{"index": 0, "embedding": packed(VECTORS[0])}], "usage": {"prompt_tokens": 20}})


@pytest.fixture
def vectors(sandbox: Sandbox, upstream: Upstream) -> Iterator[tuple[OpenAI, str, Upstream]]:
    """A client, a model for this test only, and the provider behind it."""
    model = f"vectors-{sandbox.model}"
    factories.model(model, factories.channel(upstream.url), kind="embedding", input=1_000, output=0, minimum=10)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client:
        eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 200, "the edge knows the model")
        yield client, model, upstream


def test_a_batch_in_both_encodings(vectors: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = vectors
    upstream.default = embedded
    packed_answer = client.embeddings.create(model=model, input=["a", "b"])  # the SDK requests base64 by default
    plain = client.embeddings.create(model=model, input=["a", "b"], encoding_format="float", dimensions=3, user="ann")
    for answer in (packed_answer, plain):
        assert [row.index for row in answer.data] == [0, 1]
        assert [row.embedding for row in answer.data] == VECTORS
        assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (model, 20, 20)
    assert plain.yout == {"credits_charged": 20, "balance": CREDITS - 40}  # type: ignore[attr-defined]  # ours, beside their fields
    first, second = (call.json for call in upstream.calls)
    assert first == {"model": "acme-model", "input": ["a", "b"], "encoding_format": "base64"}
    assert (second["dimensions"], second["encoding_format"]) == (3, "float")
    assert second["user"] not in (None, "ann")
    row = sandbox.usage()[0]
    assert (row.input_tokens, row.output_tokens, row.estimated, row.credits) == (20, 0, False, 20)
    assert (sandbox.charged, sandbox.held) == (40, 0)


def test_the_encoding_of_a_provider_is_converted(vectors: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = vectors
    upstream.script(floats_only, packed_only)
    body = {"model": model, "input": "a small text", "encoding_format": "base64"}
    assert sandbox.post(json.dumps(body).encode(), path="/v1/embeddings").json["data"][0]["embedding"] == packed(VECTORS[0])
    assert client.embeddings.create(model=model, input="a", encoding_format="float").data[0].embedding == VECTORS[0]
    row = sandbox.usage()[0]
    assert (row.input_tokens, row.estimated, row.credits) == (3, True, 10)


def test_tokens_are_passed_on(vectors: tuple[OpenAI, str, Upstream]) -> None:
    client, model, upstream = vectors
    upstream.default = embedded
    assert client.embeddings.create(model=model, input=[[1, 2], [3]]).data[1].embedding == VECTORS[1]
    assert upstream.calls[0].json["input"] == [[1, 2], [3]]


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"data": []}),
        json_response({"data": [{"index": 1, "embedding": [1.0]}]}),
        json_response({"data": [{"index": 0, "embedding": "x"}]}),
        json_response({"data": [{"index": 0, "embedding": ["x"]}]}),
        error_response(500),
    ],
)
def test_a_broken_answer_costs_nothing(vectors: tuple[OpenAI, str, Upstream], sandbox: Sandbox, answer: ScriptedResponse) -> None:
    client, model, upstream = vectors
    upstream.default = lambda _: answer
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model=model, input="a", encoding_format="float")
    assert (sandbox.charged, sandbox.held) == (0, 0)


def test_errors(vectors: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = vectors
    upstream.script(context_too_long())
    with pytest.raises(openai.BadRequestError) as long:
        client.embeddings.create(model=model, input="a")
    assert long.value.code == "context_length_exceeded"
    for path, wrong in (("/v1/embeddings", sandbox.model), ("/v1/chat/completions", model)):
        body = {"model": wrong, "input": "a", "messages": [{"role": "user", "content": "Hi"}]}
        reply = sandbox.post(json.dumps(body).encode(), path=path)
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    poor = factories.api_key(factories.account(credits=9))[1]
    with pytest.raises(openai.APIStatusError) as broke:
        client.with_options(api_key=poor).embeddings.create(model=model, input="a")
    assert broke.value.status_code == 402


def call_of(**fields: Any) -> Any:
    return parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def test_limits_of_a_batch() -> None:
    texts = call_of(input=["abcd"] * 3)
    assert (texts.choices, texts.output_limit, texts.kind) == (3, 0, "embedding")
    assert texts.input_estimate < texts.input_bound
    tokens = call_of(input=[[1, 2], [3]])
    assert (tokens.choices, tokens.input_bound, tokens.input_estimate) == (2, 3, 3)
    assert call_of(input=[1, 2, 3]).choices == 1


WRONG: list[tuple[Json, str]] = [
    *(({"input": value}, "input") for value in (None, "", [], 1, {})),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": ["a", [1]]}, "input"),
    ({"input": [[1], [-1]]}, "input[1]"),
    ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
    ({"model": 1}, "model"),
    ({"encoding_format": "int8"}, "encoding_format"),
    ({"dimensions": 0}, "dimensions"),
    ({"user": 1}, "user"),
    ({"stream": True}, "stream"),
]


@pytest.mark.parametrize(("asked", "param"), WRONG)
def test_an_invalid_field_is_named(asked: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call_of(**asked)
    assert caught.value.param == param
