"""`POST /v1/embeddings`: a batch of inputs, priced by their tokens."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from edge.call.endpoint_adapter import Asked, Surface, Unstreamed, spent
from edge.call.exchange import Finished
from edge.http.api_spec import (
    ANY,
    INTEGER,
    OPEN,
    SPENT,
    STRING,
    Answer,
    array,
    declare_call,
    example,
    one_of,
    open_wish,
    record,
    text,
    whole,
)
from edge.http.fields import LONGEST_MODEL, json_object, model_of
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MOST_INPUTS = 2_048
MOST_DIMENSIONS = 65_536
LARGEST_TOKEN = 2**31
FORMATS = ("float", "base64")


def read(data: bytes) -> ChatCall:
    """The call that a body asks for. Its `choices` is the number of inputs."""
    body = json_object(data)
    model = model_of(body)
    count, tokens = _count(body.get("input"))
    if (body.get("encoding_format") or "float") not in FORMATS:
        raise InvalidRequest(f"'encoding_format' must be {' or '.join(FORMATS)}.", "encoding_format")
    dimensions = body.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or not 1 <= dimensions <= MOST_DIMENSIONS):
        raise InvalidRequest(f"'dimensions' must be a whole number from 1 to {MOST_DIMENSIONS}.", "dimensions")
    if body.get("user") is not None and not isinstance(body["user"], str):
        raise InvalidRequest("'user' must be a string.", "user")
    if body.get("stream"):
        raise InvalidRequest("Embeddings do not stream. Leave out 'stream'.", "stream")
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
    )


def _count(value: object) -> tuple[int, int]:
    """How many inputs there are, and how many tokens where they come as tokens; 0 for text. Raises `InvalidRequest`."""
    inputs = value if isinstance(value, list) and value and not _is_tokens(value) else [value]
    if len(inputs) > MOST_INPUTS:
        raise InvalidRequest(f"'input' has {len(inputs)} inputs; {MOST_INPUTS} are allowed at once.", "input")
    tokens = 0
    for index, item in enumerate(inputs):
        where = f"input[{index}]" if inputs is value else "input"
        if _is_tokens(item):
            tokens += len(item)
        elif not isinstance(item, str) or not item:
            raise InvalidRequest(f"'{where}' must be a string that is not empty, or a list of token ids.", where)
    if tokens and any(isinstance(item, str) for item in inputs):
        raise InvalidRequest("'input' must be all strings or all lists of token ids.", "input")
    return len(inputs), tokens


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(item) is int and 0 <= item < LARGEST_TOKEN for item in value)


class Vectors(Unstreamed):
    """The renderer of a list of embeddings, which is always whole."""

    __slots__ = ()

    def whole(self, event: Finished) -> dict[str, Any]:
        """The embeddings in the order of their inputs."""
        used = event.usage.input_tokens
        return {**event.body, "usage": {"prompt_tokens": used, "total_tokens": used}, "yout": spent(event)}


def _open(data: bytes, _: UUID) -> Asked:
    return Asked(read(data), Vectors())


DECLARATION = declare_call(
    "Embed texts, as OpenAI's API does",
    Answer(
        record(
            {
                "object": one_of("list"),
                "data": array(OPEN),
                "usage": record({"prompt_tokens": INTEGER, "total_tokens": INTEGER}),
                "yout": SPENT,
            }
        ),
        "The embeddings, in the order of their inputs.",
    ),
    body=example(
        open_wish(
            {
                "model": text(LONGEST_MODEL),
                "input": ANY,
                "encoding_format": one_of(*FORMATS),
                "dimensions": whole(1, MOST_DIMENSIONS),
                "user": STRING,
            },
            required=("model", "input"),
        ),
        {"model": "$embedding", "input": ["Hello"]},
    ),
)
EMBEDDINGS = Surface(_open, declaration=DECLARATION)
