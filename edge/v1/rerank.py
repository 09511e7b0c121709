"""`POST /v1/rerank`: orders documents by their relevance to a query, in the format of Cohere and Jina.

Models of the kind `rerank` are called at their provider's `/rerank`. Models of the kind `embedding` can be used too: query and
documents are embedded in one call, and a document's score is the cosine of its vector and the query's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from operator import mul
from typing import Any
from uuid import UUID

from edge.call.admission import Caller
from edge.call.endpoint_adapter import EndpointAdapter, Events, NonStreamingRenderer, ParsedRequest, cost_fields
from edge.call.exchange import Finished
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    COST_SCHEMA,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    example,
    integer,
    open_request_schema,
    response_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH, parse_json_object, requested_model
from edge.services import Services
from edge.v1.default_model import default_model
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall
from shared.dialects.rerank import best, max_search_units

KIND = "rerank"
MAX_DOCUMENTS = 1_000  # as at Cohere
MAX_QUERY_LENGTH = 32_000  # characters
MAX_TOP_N = 1_000_000
MAX_DOCUMENT_TOKENS = 1_000_000
MARKER_TOKENS = 8  # upper bound of the tokens that a model adds to a pair of texts
MIN_CHARS_PER_TOKEN = 3  # of a text in English, with a margin
_OWN_FIELDS = ("return_documents", "rank_fields", "stream")


def parse(data: bytes) -> tuple[ChatCall, list[dict[str, Any]] | None]:
    """Parse a body. Return the call (its model is "" if the body has none), and the documents if they are to be returned."""
    body = parse_json_object(data)
    model = requested_model(body) if body.get("model") is not None else ""
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not query.strip() or len(query) > MAX_QUERY_LENGTH:
        raise InvalidRequest(f"'query' must be a non-empty string of at most {MAX_QUERY_LENGTH} characters.", "query")
    if not isinstance(documents, list) or not documents:
        raise InvalidRequest("'documents' must be a list of strings, or of objects with a 'text'.", "documents")
    if len(documents) > MAX_DOCUMENTS:
        raise InvalidRequest(f"'documents' has {len(documents)} documents; the maximum is {MAX_DOCUMENTS}.", "documents")
    texts = [_text(document, index) for index, document in enumerate(documents)]
    top_n = _integer(body, "top_n", MAX_TOP_N)
    limit = _integer(body, "max_tokens_per_doc", MAX_DOCUMENT_TOKENS)
    returns = body.get("return_documents")
    if returns is not None and not isinstance(returns, bool):
        raise InvalidRequest("'return_documents' must be true or false.", "return_documents")
    if body.get("user") is not None and not isinstance(body["user"], str):
        raise InvalidRequest("'user' must be a string.", "user")
    if body.get("rank_fields") not in (None, ["text"]):
        raise InvalidRequest("'rank_fields' is not supported. Send what is to be ranked as 'text'.", "rank_fields")
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported for reranking.", "stream")
    passed = {name: value for name, value in body.items() if name not in _OWN_FIELDS and value is not None}
    size, query_size = sum(len(text.encode()) for text in texts), len(query.encode())
    pairs = query_size * len(texts)  # a reranker reads the query with every document
    call = ChatCall(
        model=model,
        body={**passed, "documents": texts, **({"top_n": top_n} if top_n is not None else {})},
        stream=False,
        include_usage=False,
        choices=len(texts),
        output_limit=0,
        input_bound=size + pairs + MARKER_TOKENS * len(texts),
        input_estimate=(size + pairs) // 4 + 1,
        kind=KIND,
        max_search_units=max_search_units(query, texts, limit),
    )
    return call, [item if isinstance(item, dict) else {"text": item} for item in documents] if returns else None


def embedding_call(call: ChatCall) -> ChatCall:
    """Return the call that embeds query and documents, in this order, for a model of the kind `embedding`.

    Documents are cut off after about `max_tokens_per_doc` tokens: the model's own tokens are not known here.
    """
    body = call.body
    limit = body.get("max_tokens_per_doc")
    end = limit * MIN_CHARS_PER_TOKEN if limit is not None else None
    texts = [body["query"], *(text[:end] for text in body["documents"])]
    size = sum(len(text.encode()) for text in texts)
    user = {"user": body["user"]} if "user" in body else {}
    return call._replace(
        body={"model": call.model, "input": texts, "encoding_format": "float", **user},
        choices=len(texts),
        input_bound=size + MARKER_TOKENS * len(texts),
        input_estimate=size // 4 + 1,
        kind="embedding",
        field_name=_field_name,
        max_search_units=1,
    )


def _field_name(param: str) -> str:
    """Return the caller's name of a field of `embedding_call`."""
    if param == "input[0]":
        return "query"
    place = param.removeprefix("input[").removesuffix("]")
    if place != param and place.isascii() and place.isdigit():
        return f"documents[{int(place) - 1}]"
    return "documents" if param == "input" else param


def rank_embeddings(body: dict[str, Any], top_n: int | None) -> dict[str, Any]:
    """Return the results for the embeddings of the query and the documents, best first."""
    query, *vectors = (row["embedding"] for row in body["data"])
    length = math.hypot(*query)
    scored = [{"index": index, "relevance_score": _cosine(query, length, vector)} for index, vector in enumerate(vectors)]
    return {"model": body["model"], "results": best(scored, top_n)}


def _cosine(query: Sequence[float], length: float, vector: Sequence[float]) -> float:
    """Return the cosine of two vectors, of which `query` has this `length`; 0 if it is not defined."""
    product: float = length * math.hypot(*vector)
    if not product or not math.isfinite(product) or len(vector) != len(query):
        return 0.0
    cosine: float = sum(map(mul, query, vector)) / product
    return max(-1.0, min(1.0, cosine))


def _text(document: object, index: int) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str) or not text.strip():
        where = f"documents[{index}]"
        raise InvalidRequest(f"'{where}' must be a non-empty string, or an object with such a 'text'.", where)
    return text


def _integer(body: dict[str, Any], name: str, high: int) -> int | None:
    value = body.get(name)
    if value is not None and (type(value) is not int or not 1 <= value <= high):
        raise InvalidRequest(f"'{name}' must be an integer between 1 and {high}.", name)
    return value


class _Model:
    """Chooses the model of a call without one, and calls models of the kind `embedding` for their embeddings."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._embeds = False

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call for its model's kind. Raises `InvalidRequest` without a default model, and the key's own errors."""
        call = self._call
        if not call.model:
            call = call._replace(model=await default_model(services, caller, KIND, "embedding"))
        model = services.catalog.models.get(call.model)
        self._embeds = model is not None and model.kind == "embedding"
        return embedding_call(call) if self._embeds else call

    async def record(self, services: Services, model: str, events: Events) -> Events:  # noqa: ARG002  (the protocol's signature)
        """Yield the events, with scores in place of embeddings. They are computed in a thread, because vectors may be many."""
        async with aclosing(events):
            async for event in events:
                if self._embeds and isinstance(event, Finished):
                    body = await asyncio.to_thread(rank_embeddings, event.body, self._call.body.get("top_n"))
                    yield event._replace(body=body)
                else:
                    yield event


class RerankRenderer(NonStreamingRenderer):
    """Renders the results, with the caller's `documents` unless they are None."""

    __slots__ = ("_documents", "_id")

    def __init__(self, id: str, documents: list[dict[str, Any]] | None) -> None:
        self._id = id
        self._documents = documents

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the results, best first."""
        results = event.body["results"]
        if self._documents is not None:
            results = [{**result, "document": self._documents[result["index"]]} for result in results]
        used, extra = event.usage.input_tokens, event.usage.extra
        units = extra.search_units if extra is not None else 0
        return {
            "id": self._id,
            "model": event.body["model"],
            "results": results,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": units or 1}},
            "usage": {"prompt_tokens": used, "total_tokens": used},
            "yout": cost_fields(event),
        }


def _open(data: bytes, call_id: UUID) -> ParsedRequest:
    call, documents = parse(data)
    return ParsedRequest(call, RerankRenderer(f"rerank-{call_id.hex}", documents), _Model(call))


DECLARATION = describe_model_call(
    "Rerank documents",
    ResponseSpec(
        response_schema(
            {
                "id": STRING,
                "model": STRING,
                "results": array(OPEN_OBJECT),
                "meta": OPEN_OBJECT,
                "usage": response_schema({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
                "yout": COST_SCHEMA,
            }
        ),
        "The documents' indexes and scores, best first.",
    ),
    body=example(
        open_request_schema(
            {
                "model": string(MAX_MODEL_LENGTH),
                "query": string(MAX_QUERY_LENGTH),
                "documents": array(ANY, 1, MAX_DOCUMENTS),
                "top_n": integer(1, MAX_TOP_N),
                "return_documents": BOOLEAN,
                "max_tokens_per_doc": integer(1, MAX_DOCUMENT_TOKENS),
                "user": STRING,
            },
            required=("query", "documents"),
        ),
        {"model": "$embedding", "query": "Where do cats sleep?", "documents": ["Cats sleep on sofas.", "Rain falls."]},
    ),
    notes="For models of the kind `rerank` or `embedding`. If `model` is omitted, the key's only rerank model is used, or its"
    " only embedding model if it has none.",
)
RERANK = EndpointAdapter(_open, declaration=DECLARATION)
