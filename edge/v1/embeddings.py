"""`POST /v1/embeddings`: embeds a batch of inputs, priced by their tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edge.call.endpoint_adapter import EndpointAdapter, NonStreamingRenderer, ParsedRequest, cost_fields, usd_fields
from edge.call.exchange import Finished
from edge.http.api_spec import (
    ANY,
    COST_SCHEMA,
    INTEGER,
    OPEN_OBJECT,
    STRING,
    USAGE_OPTIONS,
    ResponseSpec,
    array,
    describe_model_call,
    enum,
    example,
    integer,
    open_request_schema,
    response_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH, parse_json_object, read_include_cost, requested_model
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MAX_INPUTS = 2_048
MAX_DIMENSIONS = 65_536
MAX_TOKEN_ID = 2**31
FORMATS = ("float", "base64")


def parse(data: bytes) -> ChatCall:
    """Parse a body. The call's `choices` is the number of inputs."""
    body = parse_json_object(data)
    model = requested_model(body)
    include_cost = read_include_cost(body)
    body.pop("usage", None)
    count, tokens = _count(body.get("input"))
    if (body.get("encoding_format") or "float") not in FORMATS:
        raise InvalidRequest(f"'encoding_format' must be {' or '.join(FORMATS)}.", "encoding_format")
    dimensions = body.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or not 1 <= dimensions <= MAX_DIMENSIONS):
        raise InvalidRequest(f"'dimensions' must be an integer between 1 and {MAX_DIMENSIONS}.", "dimensions")
    if body.get("user") is not None and not isinstance(body["user"], str):
        raise InvalidRequest("'user' must be a string.", "user")
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported for embeddings.", "stream")
    return ChatCall(
        model=model,
        body=body,
        stream=False,
        include_usage=False,
        choices=count,
        output_limit=0,
        input_bound=tokens or len(data),
        input_estimate=tokens or len(data) // 4 + 1,
        kind="embedding",
        include_cost=include_cost,
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
    body=example(
        open_request_schema(
            {
                "model": string(MAX_MODEL_LENGTH),
                "input": ANY,
                "encoding_format": enum(*FORMATS),
                "dimensions": integer(1, MAX_DIMENSIONS),
                "user": STRING,
                "usage": USAGE_OPTIONS,
            },
            required=("model", "input"),
        ),
        {"model": "$embedding", "input": ["Hello"]},
    ),
)
EMBEDDINGS = EndpointAdapter(_open, declaration=DECLARATION)
