"""`POST /v1/rerank`: orders documents by their relevance to a query, in the format of Cohere and Jina.

Models of the kind `rerank` are called at their provider's `/rerank`. Models of the kind `embedding` can be used too: query and
documents are embedded in one call, and a document's score is the cosine similarity of its vector and the query's.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import aclosing
from operator import mul
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta
from msgspec.structs import replace

from edge.call.admission import Caller
from edge.call.endpoint_adapter import EndpointAdapter, Events, NonStreamingRenderer, ParsedRequest, cost_fields
from edge.call.exchange import Finished
from edge.call.requests import Flag
from edge.http.api_spec import (
    COST_SCHEMA,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_model_call,
    response_schema,
)
from edge.http.body_types import Body, ModelId, check_body
from edge.http.json_body import parse_json_object
from edge.http.tags import Metadata, split_tag
from edge.services import Services
from edge.v1.default_model import default_model
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall
from shared.dialects.rerank import best, max_search_units

KIND = "rerank"
MAX_DOCUMENTS = 1_000  # Cohere's limit
MAX_QUERY_LENGTH = 32_000  # characters
MAX_TOP_N = 1_000_000
MAX_DOCUMENT_TOKENS = 1_000_000
MARKER_TOKENS = 8  # upper bound of the tokens that a model adds to a pair of texts
MIN_CHARS_PER_TOKEN = 3  # for English text, with a margin
_OWN_FIELDS = ("return_documents", "rank_fields", "stream")


Text = Annotated[str, Meta(pattern=r"\S", extra={"expected": "a non-empty string"})]


class Document(Body):
    """A document. Its other fields are returned with it."""

    text: Annotated[Text, Meta(description="The text to rank.")]


class RerankRequest(Body):
    """Documents to order by their relevance to a query. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$embedding", "query": "Where do cats sleep?", "documents": ["Cats sleep on sofas.", "Rain falls."]}

    query: Annotated[
        Annotated[str, Meta(pattern=r"\S", max_length=MAX_QUERY_LENGTH)],
        Meta(
            description="What the documents should answer.",
            extra={"expected": f"a non-empty string of at most {MAX_QUERY_LENGTH} characters"},
        ),
    ]
    documents: Annotated[
        list[Text | Document],
        Meta(
            min_length=1,
            max_length=MAX_DOCUMENTS,
            description="Texts, or objects with a `text`.",
            extra={"expected": f"a list of 1 to {MAX_DOCUMENTS} strings, or of objects with a 'text'"},
        ),
    ]
    model: Annotated[ModelId | None, Meta(description="Default: the key's only rerank or embedding model.")] = None
    top_n: Annotated[Annotated[int, Meta(ge=1, le=MAX_TOP_N)] | None, Meta(description="Number of results. Default: all.")] = None
    return_documents: Annotated[Flag, Meta(description="Return the documents with the results.")] = None
    max_tokens_per_doc: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_DOCUMENT_TOKENS)] | None, Meta(description="Longer documents are cut off.")
    ] = None
    rank_fields: Annotated[
        Annotated[list[Literal["text"]], Meta(min_length=1, max_length=1)] | None,
        Meta(description="Only `text`.", extra={"expected": "['text']. Send the text to rank as 'text'"}),
    ] = None
    user: Annotated[str | None, Meta(description="Your id of the end user.")] = None
    metadata: Metadata = None


def parse(data: bytes) -> tuple[ChatCall, list[dict[str, Any]] | None]:
    """Parse a body. Returns the call (its model may be ""), and the documents if they are to be returned with the results."""
    body = parse_json_object(data)
    requested = check_body(body, RerankRequest)
    body, tag = split_tag(body)
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported for reranking.", "stream")
    query = requested.query
    texts = [document if isinstance(document, str) else document.text for document in requested.documents]
    passed = {name: value for name, value in body.items() if name not in _OWN_FIELDS and value is not None}
    size, query_size = sum(len(text.encode()) for text in texts), len(query.encode())
    pairs = query_size * len(texts)  # a reranker reads the query with every document
    call = ChatCall(
        model=requested.model or "",
        body={**passed, "documents": texts},
        stream=False,
        include_usage=False,
        choices=len(texts),
        output_limit=0,
        input_bound=size + pairs + MARKER_TOKENS * len(texts),
        input_estimate=(size + pairs) // 4 + 1,
        kind=KIND,
        tag=tag,
        max_search_units=max_search_units(query, texts, requested.max_tokens_per_doc),
    )
    returned = [item if isinstance(item, dict) else {"text": item} for item in body["documents"]]
    return call, returned if requested.return_documents else None


def embedding_call(call: ChatCall) -> ChatCall:
    """Return the call that embeds query and documents, in this order, for a model of the kind `embedding`.

    Documents are cut off after about `max_tokens_per_doc` tokens, because the model's tokenizer is unknown.
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
    """Return the field of the rerank body for a field of the embedding call."""
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
    """Return the cosine of two vectors, or 0 if it is undefined. `length` is that of `query`."""
    product: float = length * math.hypot(*vector)
    if not product or not math.isfinite(product) or len(vector) != len(query):
        return 0.0
    cosine: float = sum(map(mul, query, vector)) / product
    return max(-1.0, min(1.0, cosine))


class _RerankExtension:
    """Sets the default model of a call without one, and ranks by embeddings if the model is of the kind `embedding`."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call
        self._embeds = False

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call for the kind of its model. Raises the errors of `default_model`."""
        call = self._call
        if not call.model:
            call = call._replace(model=await default_model(services, caller, KIND, "embedding"))
        catalog = services.catalog
        model = catalog.models.get(catalog.model_id(call.model))
        self._embeds = model is not None and model.kind == "embedding"
        return embedding_call(call) if self._embeds else call

    async def record(self, services: Services, model: str, events: Events) -> Events:  # noqa: ARG002  (the protocol's signature)
        """Yield the events, with scores in place of embeddings. A thread computes them, because there may be many vectors."""
        async with aclosing(events):
            async for event in events:
                if self._embeds and isinstance(event, Finished):
                    body = await asyncio.to_thread(rank_embeddings, event.body, self._call.body.get("top_n"))
                    yield replace(event, body=body)
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
    return ParsedRequest(call, RerankRenderer(f"rerank-{call_id.hex}", documents), _RerankExtension(call))


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
    body=RerankRequest,
    notes="For models of the kind `rerank` or `embedding`. If `model` is omitted, the key's only rerank model is used, or its"
    " only embedding model if it has none.",
)
RERANK = EndpointAdapter(_open, declaration=DECLARATION)
