"""Moderations: the request to the provider, the response, the charge, and the default model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from edge.v1.moderations import MAX_INPUTS, parse
from shared.core.errors import InvalidRequest
from shared.models import AIModel
from tests import factories
from tests.edge.shared_edge import CREDITS, Sandbox
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, error_response, html_response, json_response

Json = dict[str, Any]
PRICE = 7
IMAGE_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
NAMES = ("harassment", "hate", "self-harm", "sexual", "violence")


def verdict(flagged: bool) -> Json:
    return {
        "flagged": flagged,
        "categories": dict.fromkeys(NAMES, flagged),
        "category_scores": dict.fromkeys(NAMES, 0.9 if flagged else 0.1),
    }


def judged(request: Request) -> ScriptedResponse:
    """A provider that flags every text containing a bad word, and returns one result for a list of parts."""
    inputs = request.json["input"]
    texts = inputs if isinstance(inputs, list) and isinstance(inputs[0], str) else [json.dumps(inputs)]
    results = [verdict("bad" in text) for text in texts]
    return json_response({"id": "modr-acme", "model": "acme-model", "results": results})


@pytest.fixture
def judge(sandbox: Sandbox, upstream: Upstream) -> Iterator[tuple[OpenAI, str, Upstream]]:
    """A client, a model for this test only, and the provider behind it."""
    model = f"judge-{sandbox.model}"
    channel = factories.channel(upstream.url, settings={"body": {"store": False}, "headers": {"x-no-log": "1"}})
    factories.model(model, channel, kind="moderation", input=0, output=0, per_call=PRICE)
    with OpenAI(base_url=sandbox.api, api_key=sandbox.secret, max_retries=0) as client:
        eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 200, "the edge knows the model")
        yield client, model, upstream


def test_texts_and_parts(judge: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = judge
    upstream.default = judged
    one = client.moderations.create(model=model, input="a bad text")
    many = client.moderations.create(model=model, input=["good", "bad"], extra_body={"user": "ann"})
    parts = client.moderations.create(model=model, input=[{"type": "text", "text": "good"}, IMAGE_PART])  # type: ignore[list-item]  # a plain dict
    assert [[item.flagged for item in answer.results] for answer in (one, many, parts)] == [[True], [False, True], [False]]
    assert one.results[0].category_scores.self_harm == 0.9
    assert (many.id, many.model) == ("modr-acme", model)
    assert parts.yout == {"credits_charged": PRICE, "balance": CREDITS - 3 * PRICE}  # type: ignore[attr-defined]  # ours, beside their fields
    first, second, third = upstream.calls
    assert (first.path, first.json) == ("/v1/moderations", {"model": "acme-model", "input": "a bad text", "store": False})
    assert (first.headers["x-no-log"], first.headers["authorization"]) == ("1", f"Bearer {factories.UPSTREAM_SECRET}")
    assert "http-referer" in first.headers
    user = second.json["user"]
    assert user not in (None, "ann")
    assert second.json == {"model": "acme-model", "input": ["good", "bad"], "user": user, "store": False}
    assert third.json["input"] == [{"type": "text", "text": "good"}, IMAGE_PART]
    result = [(row.input_tokens, row.output_tokens, row.estimated, row.credits) for row in sandbox.usage()]
    assert result == [(0, 0, False, PRICE)] * 3
    assert (sandbox.charged, sandbox.held) == (3 * PRICE, 0)


def test_the_only_allowed_model_is_the_default(judge: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = judge
    upstream.default = judged
    second = f"second-{model}"
    factories.model(second, factories.channel(upstream.url), kind="moderation", input=0, output=0, per_call=1)
    eventually(lambda: sandbox.get(f"/v1/models/{second}").status == 200, "the edge knows the second model")
    for allowed in ([model], [model, sandbox.model]):
        secret = factories.api_key(sandbox.account, allowed_models=allowed)[1]
        assert client.with_options(api_key=secret).moderations.create(input="good").model == model
    assert (sandbox.charged, sandbox.usage()[0].model) == (2 * PRICE, model)
    both = factories.api_key(sandbox.account, allowed_models=[second, model])[1]
    with pytest.raises(openai.BadRequestError) as unclear:
        client.with_options(api_key=both).moderations.create(input="good")
    assert unclear.value.param == "model"
    assert f"{model}, {second}" in str(unclear.value)
    none = factories.api_key(sandbox.account, allowed_models=[sandbox.model])[1]
    with pytest.raises(openai.BadRequestError) as without:
        client.with_options(api_key=none).moderations.create(input="good")
    assert model not in str(without.value)
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key=f"{sandbox.secret[:-4]}aaaa").moderations.create(input="good")
    assert sandbox.held == 0


@pytest.mark.parametrize(
    "answer",
    [
        json_response({"results": []}),
        json_response({"results": [verdict(True)] * 2}),
        json_response({"results": [{"flagged": True}]}),
        json_response(b"[]"),
        html_response(),
        error_response(500),
        error_response(401),
    ],
)
def test_a_broken_answer_costs_nothing(judge: tuple[OpenAI, str, Upstream], sandbox: Sandbox, answer: ScriptedResponse) -> None:
    client, model, upstream = judge
    upstream.default = lambda _: answer
    with pytest.raises(openai.InternalServerError):
        client.moderations.create(model=model, input="a")
    assert (sandbox.charged, sandbox.held) == (0, 0)


def test_another_channel_takes_over(judge: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = judge
    model = f"pair-{model}"
    channels = [factories.channel(upstream.url) for _ in range(2)]
    factories.model(model, *channels, kind="moderation", input=0, output=0, per_call=PRICE)
    eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 200, "the edge knows the model")
    upstream.script(error_response(503), json_response({"id": "x", "results": [verdict(False)]}))
    raw = client.moderations.with_raw_response.create(model=model, input="a")
    assert raw.headers["x-yout-attempts"] == "2"
    assert raw.parse().id == f"modr-{raw.headers['x-request-id'].removeprefix('req_')}"
    assert "x-ratelimit-remaining-requests" in raw.headers
    assert (sandbox.charged, sandbox.held) == (PRICE, 0)


def test_errors(judge: tuple[OpenAI, str, Upstream], sandbox: Sandbox) -> None:
    client, model, upstream = judge
    refusal = {"message": f"No acme-model for {factories.UPSTREAM_SECRET}.", "param": "input", "code": "too_long"}
    upstream.script(error_response(400, {"error": refusal}))
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(model=model, input="a")
    assert (refused.value.code, refused.value.param) == ("too_long", "input")
    assert factories.UPSTREAM_SECRET not in str(refused.value)
    for path, wrong in (("/v1/moderations", sandbox.model), ("/v1/chat/completions", model), ("/v1/embeddings", model)):
        body = {"model": wrong, "input": "a", "messages": [{"role": "user", "content": "Hi"}]}
        answer = sandbox.post(json.dumps(body).encode(), path=path)
        assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    poor = factories.api_key(factories.account(credits=PRICE - 1))[1]
    with pytest.raises(openai.APIStatusError) as broke:
        client.with_options(api_key=poor).moderations.create(model=model, input="a")
    assert broke.value.status_code == 402
    capped = sandbox.post(json.dumps({"model": model, "input": "a"}).encode(), {"x-yout-max-credits": "6"}, "/v1/moderations")
    assert capped.status == 402
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="nothing").moderations.create(model=model, input="a")
    AIModel.update(status="disabled").where(AIModel.id == model).execute()
    factories.raise_catalog_version()
    eventually(lambda: sandbox.get(f"/v1/models/{model}").status == 404, "the edge forgets the model")
    with pytest.raises(openai.NotFoundError):
        client.moderations.create(model=model, input="a")
    assert (sandbox.charged, sandbox.held) == (0, 0)


def call_of(**fields: Any) -> Any:
    return parse(json.dumps({"model": "m", "input": "Hi", **fields}).encode())


def test_limits_of_a_request() -> None:
    texts = call_of(input=["abcd"] * 3)
    assert (texts.choices, texts.output_limit, texts.kind) == (3, 0, "moderation")
    assert texts.input_estimate < texts.input_bound
    large = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    parts = call_of(input=[{"type": "text", "text": "Hi"}, large, large])
    assert parts.choices == 1
    assert parts.input_bound < 10_000, "an image has a fixed cost, independent of its bytes"
    assert call_of(model=None).model == ""


WRONG: list[tuple[Json, str]] = [
    *(({"input": value}, "input") for value in (None, "", [], 1, {})),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": ["a", IMAGE_PART]}, "input[1]"),
    ({"input": [IMAGE_PART, "a"]}, "input[1]"),
    ({"input": [{"type": "input_audio"}]}, "input[0]"),
    ({"input": [1]}, "input[0]"),
    ({"input": [{"type": "text", "text": ""}]}, "input[0].text"),
    ({"input": [{"type": "image_url", "image_url": "x"}]}, "input[0].image_url"),
    ({"input": ["a"] * (MAX_INPUTS + 1)}, "input"),
    ({"model": 1}, "model"),
    ({"user": 1}, "user"),
    ({"stream": True}, "stream"),
]


@pytest.mark.parametrize(("asked", "param"), WRONG)
def test_an_invalid_field_is_named(asked: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call_of(**asked)
    assert caught.value.param == param
