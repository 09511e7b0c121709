"""`POST /v1/embeddings`: embeds a batch of inputs, priced by their tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta

from edge.call.endpoint_adapter import EndpointAdapter, NonStreamingRenderer, ParsedRequest, cost_fields, usd_fields
from edge.call.exchange import Finished
from edge.call.requests import Usage
from edge.http.api_spec import (
    COST_SCHEMA,
    INTEGER,
    OPEN_OBJECT,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    response_schema,
)
from edge.http.body_types import Body, ModelId, check_body
from edge.http.json_body import parse_json_object
from edge.http.tags import Metadata, split_tag
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MAX_INPUTS = 2_048
MAX_DIMENSIONS = 65_536
MAX_TOKEN_ID = 2**31


class EmbeddingsRequest(Body):
    """A batch of inputs to embed. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$embedding", "input": ["Hello"]}

    model: ModelId
    input: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[list[Any], Meta(min_length=1)],
        Meta(
            description="A text, an array of token ids, or an array of up to 2048 of either.",
            extra={"expected": "a non-empty string, a list of token ids, or a list of either"},
        ),
    ]
    encoding_format: Annotated[Literal["float", "base64"] | None, Meta(description="Default: `float`.")] = None
    dimensions: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None, Meta(description="Length of each vector, where supported.")
    ] = None
    user: Annotated[str | None, Meta(description="Your id of the end user.")] = None
    usage: Usage = None
    metadata: Metadata = None


def parse(data: bytes) -> ChatCall:
    """Parse a body. The call's `choices` is the number of inputs."""
    body = parse_json_object(data)
    requested = check_body(body, EmbeddingsRequest)
    body.pop("usage", None)
    body, tag = split_tag(body)
    count, tokens = _count(requested.input)
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported for embeddings.", "stream")
    return ChatCall(
        model=requested.model,
        body=body,
        stream=False,
        include_usage=False,
        choices=count,
        output_limit=0,
        input_bound=tokens or len(data),
        input_estimate=tokens or len(data) // 4 + 1,
        kind="embedding",
        include_cost=bool(requested.usage and requested.usage.include),
        tag=tag,
    )


def _count(value: object) -> tuple[int, int]:
    """Return the number of inputs, and of tokens if the inputs are token ids (0 for text). Raises `InvalidRequest`."""
    inputs = value if isinstance(value, list) and value and not _is_tokens(value) else [value]
    if len(inputs) > MAX_INPUTS:
        raise InvalidRequest(f"'input' has {len(inputs)} inputs; the maximum is {MAX_INPUTS}.", "input")
    tokens = 0
    for index, item in enumerate(inputs):
        where = f"input[{index}]" if inputs is value else "input"
        if _is_tokens(item):
            tokens += len(item)
        elif not isinstance(item, str) or not item:
            raise InvalidRequest(f"'{where}' must be a non-empty string or a list of token ids.", where)
    if tokens and any(isinstance(item, str) for item in inputs):
        raise InvalidRequest("'input' must not mix strings and lists of token ids.", "input")
    return len(inputs), tokens


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and 0 <= item < MAX_TOKEN_ID for item in value)


class EmbeddingsRenderer(NonStreamingRenderer):
    """Renders a list of embeddings."""

    __slots__ = ()

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the embeddings in the order of their inputs."""
        used = event.usage.input_tokens
        usage = {"prompt_tokens": used, "total_tokens": used, **usd_fields(event)}
        return {**event.body, "usage": usage, "yout": cost_fields(event)}


def _open(data: bytes, _: UUID) -> ParsedRequest:
    return ParsedRequest(parse(data), EmbeddingsRenderer())


DECLARATION = describe_model_call(
    "Create embeddings",
    ResponseSpec(
        response_schema(
            {
                "object": enum("list"),
                "data": array(OPEN_OBJECT),
                "usage": response_schema({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
                "yout": COST_SCHEMA,
            }
        ),
        "The embeddings, in the order of their inputs.",
    ),
    body=EmbeddingsRequest,
)
EMBEDDINGS = EndpointAdapter(_open, declaration=DECLARATION)
