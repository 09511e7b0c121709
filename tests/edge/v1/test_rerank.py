"""Rerank: the request to the provider, the results, the charge, scores from embeddings, and the default model."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import pytest

from edge.v1.rerank import MAX_DOCUMENTS, embedding_call, parse, rank_embeddings
from shared.core.errors import InvalidRequest
from shared.dialects.base import MalformedStream
from shared.dialects.rerank import RERANK, max_search_units
from shared.ledger.receipt_proof import check_receipt
from shared.operations.model_aliases import create_alias
from tests import factories
from tests.edge.shared_edge import CREDITS, Reply, Sandbox
from tests.factories import ORIGIN
from tests.servers.process import eventually
from tests.upstream import Request, Upstream
from tests.upstream_responses import ScriptedResponse, context_too_long, error_response, json_response

Json = dict[str, Any]
PER_UNIT = 2_000
DOCUMENTS = ["a dog", {"text": "a cat", "source": "zoo"}, "rain"]
SCORES = {"a dog": 0.25, "a cat": 0.75, "rain": 0.0}
VECTORS = {"animals": [2.0, 0.0], "a dog": [1.0, 1.0], "a cat": [0.5, 0.0], "rain": [0.0, 3.0]}


def ranked(request: Request) -> ScriptedResponse:
    """A provider that returns the documents in the order of the request, and counts as Jina does."""
    rows = [
        {"index": index, "relevance_score": SCORES[text], "document": {"text": "not ours"}}
        for index, text in enumerate(request.json["documents"])
    ]
    return json_response({"id": "x", "results": rows, "usage": {"total_tokens": 20}})


def billed(request: Request) -> ScriptedResponse:
    """A provider that counts search units, as Cohere does."""
    rows = [{"index": index, "relevance_score": 1 / (index + 1)} for index in range(len(request.json["documents"]))]
    return json_response({"id": "x", "results": rows, "meta": {"billed_units": {"search_units": 3}}})


def embedded(request: Request) -> ScriptedResponse:
    rows = [{"index": index, "embedding": VECTORS[text]} for index, text in enumerate(request.json["input"])]
    return json_response({"data": rows, "usage": {"prompt_tokens": 40}})


class Shop(NamedTuple):
    """A rerank model and an embedding model for one test, and the provider behind them."""

    sandbox: Sandbox
    upstream: Upstream
    reranker: str
    embedder: str

    def rerank(self, path: str = "/v1/rerank", **fields: Any) -> Reply:
        body = {"model": self.reranker, "query": "animals", "documents": DOCUMENTS, **fields}
        return self.sandbox.post(json.dumps(body).encode(), path=path)


@pytest.fixture
def shop(sandbox: Sandbox, upstream: Upstream) -> Shop:
    made = Shop(sandbox, upstream, f"rank-{sandbox.model}", f"vectors-{sandbox.model}")
    channel = factories.channel(upstream.url)
    factories.model(made.reranker, channel, kind="rerank", input=1_000, output=0, per_call=PER_UNIT)
    factories.model(made.embedder, channel, kind="embedding", input=1_000, output=0, minimum=10)
    create_alias(f"alias-{made.embedder}", made.embedder, origin=ORIGIN)
    eventually(lambda: sandbox.get(f"/v1/models/{made.embedder}").status == 200, "the edge knows the models")
    return made


def test_the_results_are_sorted_and_charged(shop: Shop) -> None:
    shop.upstream.default = ranked
    reply = shop.rerank(user="ann", raw_scores=False, return_documents=False)
    assert reply.status == 200, reply.body
    assert [(row["index"], row["relevance_score"]) for row in reply.json["results"]] == [(1, 0.75), (0, 0.25), (2, 0.0)]
    assert "document" not in reply.json["results"][0]
    assert (reply.json["model"], reply.json["usage"]) == (shop.reranker, {"prompt_tokens": 20, "total_tokens": 20})
    assert reply.json["meta"]["billed_units"] == {"search_units": 1}
    assert reply.json["yout"] == {"credits_charged": PER_UNIT + 20, "balance": CREDITS - PER_UNIT - 20}
    [call] = shop.upstream.calls
    user = call.json["user"]
    assert user not in (None, "ann")
    assert (call.path, call.json) == (
        "/v1/rerank",
        {
            "model": "acme-model",
            "query": "animals",
            "documents": ["a dog", "a cat", "rain"],
            "raw_scores": False,
            "user": user,
        },
    )
    assert (shop.sandbox.charged, shop.sandbox.held) == (PER_UNIT + 20, 0)
    reply = shop.rerank("/v2/rerank", top_n=2, return_documents=True)  # the provider ignores `top_n`
    assert [row["document"] for row in reply.json["results"]] == [{"text": "a cat", "source": "zoo"}, {"text": "a dog"}]


def test_search_units_are_charged_per_unit(shop: Shop) -> None:
    shop.upstream.default = billed
    many = shop.rerank(documents=["word " * 5] * 250)
    assert many.json["meta"]["billed_units"] == {"search_units": 3}
    [row] = shop.sandbox.usage()
    assert (row.extra_usage, row.estimated) == ({"search_units": 3}, True)
    assert row.credits == 3 * PER_UNIT + row.input_tokens == shop.sandbox.charged
    receipt = shop.sandbox.get(f"/api/receipts/{many.headers['x-request-id']}/").json
    assert (receipt["cost"], receipt["why"]) == (row.credits, None)
    assert check_receipt(receipt) == []
    assert {"step": "search units × credits", "count": 3, "rate": PER_UNIT, "result": 3_000 * PER_UNIT} in receipt["steps"]
    few = shop.rerank()  # three documents cannot be three search units
    assert few.json["meta"]["billed_units"] == {"search_units": 1}
    assert shop.sandbox.held == 0


def test_an_embedding_model_ranks_by_cosine(shop: Shop) -> None:
    shop.upstream.default = embedded
    reply = shop.rerank(model=shop.embedder, return_documents=True)
    assert reply.status == 200, reply.body
    scores = [(row["index"], round(row["relevance_score"], 6)) for row in reply.json["results"]]
    assert scores == [(1, 1.0), (0, round(math.sqrt(0.5), 6)), (2, 0.0)]
    assert reply.json["results"][0]["document"]["text"] == "a cat"
    assert (reply.json["model"], reply.json["usage"]["total_tokens"]) == (shop.embedder, 40)
    [call] = shop.upstream.calls
    assert (call.path, call.json["input"]) == ("/v1/embeddings", ["animals", "a dog", "a cat", "rain"])
    assert (shop.sandbox.charged, shop.sandbox.held) == (40, 0)
    other = shop.rerank(model=f"alias-{shop.embedder}")
    assert (other.headers["x-yout-model"], other.json["results"][0]["index"]) == (shop.embedder, 1)
    shop.upstream.script(error_response(400, {"error": {"message": "too long", "param": "input[2]"}}))
    assert shop.rerank(model=shop.embedder).error["param"] == "documents[1]"


def test_the_default_is_the_only_reranker_or_embedder(shop: Shop) -> None:
    shop.upstream.default = lambda request: (ranked if request.path.endswith("/rerank") else embedded)(request)
    for allowed, model in (
        ([shop.reranker, shop.embedder], shop.reranker),
        ([shop.embedder, shop.sandbox.model], shop.embedder),
    ):
        secret = factories.api_key(shop.sandbox.account, allowed_models=allowed)[1]
        body = json.dumps({"query": "animals", "documents": DOCUMENTS}).encode()
        reply = shop.sandbox.post(body, {"authorization": f"Bearer {secret}"}, path="/v1/rerank")
        assert (reply.status, reply.json["model"]) == (200, model)
    secret = factories.api_key(shop.sandbox.account, allowed_models=[shop.sandbox.model])[1]
    none = shop.sandbox.post(body, {"authorization": f"Bearer {secret}"}, path="/v1/rerank")
    assert (none.status, none.error["param"]) == (400, "model")


def test_errors_cost_nothing(shop: Shop) -> None:
    shop.upstream.script(context_too_long(), json_response({"results": []}))
    assert shop.rerank().error["code"] == "context_length_exceeded"
    shop.upstream.default = lambda _: error_response(500)
    assert shop.rerank().status == 502
    assert shop.rerank(model=shop.sandbox.model).status == 404
    assert (shop.sandbox.charged, shop.sandbox.held) == (0, 0)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        [1, 2, 3],
        [{"index": 0, "relevance_score": 1}] * 3,
        [{"index": index, "relevance_score": 1} for index in (0, 1, 3)],
        *([{"index": index, "relevance_score": score} for index in range(3)] for score in (True, None, "1")),
    ],
)
def test_a_score_is_missing(rows: Any) -> None:
    with pytest.raises(MalformedStream):
        RERANK.parse_response(json.dumps({"results": rows}).encode(), call_of(), "chatcmpl-1", 0)


def call_of(**fields: Any) -> Any:
    return parse(json.dumps({"model": "m", "query": "animals", "documents": DOCUMENTS, **fields}).encode())[0]


def test_limits_of_a_call() -> None:
    call = call_of(top_n=2)
    assert (call.choices, call.output_limit, call.kind, call.max_search_units) == (3, 0, "rerank", 1)
    assert call.input_estimate < call.input_bound
    assert call.input_bound >= 3 * len("animals") + len("a doga catrain")
    embeds = embedding_call(call_of(max_tokens_per_doc=1))
    assert (embeds.choices, embeds.kind) == (4, "embedding")
    assert embeds.body["input"] == ["animals", "a d", "a c", "rai"]
    names = {"input[0]": "query", "input[3]": "documents[2]", "input": "documents", "user": "user", "input[x]": "input[x]"}
    assert {name: embeds.field_name(name) for name in names} == names


def test_search_units_are_bounded_as_cohere_counts_them() -> None:
    assert max_search_units("q", ["word"] * 100, None) == 1
    assert max_search_units("q", ["word"] * 101, None) == 2
    assert max_search_units("q", ["x" * 1_000] * 100, None) == 3  # three chunks each, with the query
    assert max_search_units("q", ["x" * 1_000_000] * 100, None) == 9  # cut off after 4,096 tokens
    assert max_search_units("q", ["x" * 1_000_000] * 100, 400) == 1


@pytest.mark.parametrize("vector", [[0.0, 0.0], [1.0], [math.inf, 1.0], [math.nan, 1.0]])
def test_a_vector_without_a_cosine_scores_zero(vector: list[float]) -> None:
    body = {"model": "m", "data": [{"embedding": [1.0, 0.0]}, {"embedding": vector}]}
    assert rank_embeddings(body, None)["results"] == [{"index": 0, "relevance_score": 0.0}]


WRONG: list[tuple[Json, str]] = [
    *(({"query": value}, "query") for value in (None, "", " ", 1, ["a"], "x" * 32_001)),
    *(({"documents": value}, "documents") for value in (None, [], "a", {})),
    *(({"documents": ["a", value]}, "documents[1]") for value in ("", " ", 1)),
    *(({"documents": ["a", value]}, "documents[1].text") for value in ({}, {"text": ""}, {"image": "x"})),
    ({"documents": ["a"] * (MAX_DOCUMENTS + 1)}, "documents"),
    *(({"top_n": value}, "top_n") for value in (0, -1, True, 1.5, "2")),
    ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
    ({"return_documents": 1}, "return_documents"),
    ({"rank_fields": ["title"]}, "rank_fields"),
    ({"user": 1}, "user"),
    ({"model": 1}, "model"),
    ({"stream": True}, "stream"),
]


@pytest.mark.parametrize(("asked", "param"), WRONG)
def test_an_invalid_field_is_named(asked: Json, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        call_of(**asked)
    assert caught.value.param == param
