"""`POST /v1/moderations`: classifies texts and images."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from edge.call.admission import Caller
from edge.call.endpoint_adapter import EndpointAdapter, Events, NonStreamingRenderer, ParsedRequest, cost_fields
from edge.call.exchange import Finished
from edge.http.api_spec import (
    COST_SCHEMA,
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
from shared.billing.image_tokens import IMAGE_TOKENS
from shared.billing.token_usage import without_provider_cost
from shared.core.errors import InvalidRequest
from shared.dialects.base import ChatCall

MAX_INPUTS = 2_048
KIND = "moderation"


class ModerationRequest(Body):
    """Texts or images to classify. Other fields are forwarded to the provider."""

    EXAMPLE = {"model": "$moderation", "input": ["Hello"]}

    input: Annotated[
        Annotated[str, Meta(min_length=1)] | Annotated[list[Any], Meta(min_length=1, max_length=MAX_INPUTS)],
        Meta(
            description="A text, an array of texts, or an array of content parts of type `text` or `image_url`.",
            extra={"expected": f"a non-empty string, or a list of 1 to {MAX_INPUTS} strings or content parts"},
        ),
    ]
    model: Annotated[ModelId | None, Meta(description="Default: the only moderation model available to the key.")] = None
    user: Annotated[str | None, Meta(description="Your id of the end user.")] = None
    safety_identifier: Annotated[str | None, Meta(description="Your id of the end user, for abuse detection.")] = None
    metadata: Metadata = None


def parse(data: bytes) -> ChatCall:
    """Parse a body. The call's model is "" if the body has none. Raises `InvalidRequest`."""
    body = parse_json_object(data)
    requested = check_body(body, ModerationRequest)
    body, tag = split_tag(body)
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported for moderations.", "stream")
    results, images, image_bytes = _measure(requested.input)
    text_bytes = len(data) - image_bytes
    return ChatCall(
        model=requested.model or "",
        body=body,
        stream=False,
        include_usage=False,
        choices=results,
        output_limit=0,
        input_bound=text_bytes + images * IMAGE_TOKENS,
        input_estimate=text_bytes // 4 + images * IMAGE_TOKENS // 3 + 1,
        kind=KIND,
        tag=tag,
    )


def _measure(value: str | list[Any]) -> tuple[int, int, int]:
    """Return the number of results, the number of images, and the images' size in bytes."""
    if isinstance(value, str):
        return 1, 0, 0
    if isinstance(value[0], str):
        for index, item in enumerate(value):
            if not isinstance(item, str) or not item:
                raise InvalidRequest(f"'input[{index}]' must be a non-empty string, like the first input.", f"input[{index}]")
        return len(value), 0, 0
    sizes = [_image_size(item, f"input[{index}]") for index, item in enumerate(value)]
    found = [size for size in sizes if size]
    return 1, len(found), sum(found)  # all parts together get one result


def _image_size(part: Any, where: str) -> int:
    """Return the size of a part's image, or 0 for a text part."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        if not isinstance(part.get("text"), str) or not part["text"]:
            raise InvalidRequest(f"'{where}.text' must be a non-empty string.", f"{where}.text")
        return 0
    if kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else None
        if not isinstance(url, str) or not url:
            raise InvalidRequest(f"'{where}.image_url' must be an object with a 'url'.", f"{where}.image_url")
        return len(url)
    raise InvalidRequest(f"'{where}' must be a content part of type 'text' or 'image_url'.", where)


class ModerationRenderer(NonStreamingRenderer):
    """Renders the provider's response with our `yout` object."""

    __slots__ = ()

    def render_complete(self, event: Finished) -> dict[str, Any]:
        """Return the results in the order of their inputs."""
        return {**without_provider_cost(event.body), "yout": cost_fields(event)}


class DefaultModel:
    """Chooses the model of a call without one: the only moderation model available to the key."""

    def __init__(self, call: ChatCall) -> None:
        self._call = call

    async def prepare_call(self, services: Services, caller: Caller) -> ChatCall:
        """Return the call with its model. Raises `InvalidRequest` unless exactly one is available, and the key's own errors."""
        return self._call._replace(model=await default_model(services, caller, KIND))

    def record(self, services: Services, model: str, events: Events) -> Events:  # noqa: ARG002  (the protocol's signature)
        """Return the events unchanged."""
        return events


def _open(data: bytes, _: UUID) -> ParsedRequest:
    call = parse(data)
    return ParsedRequest(call, ModerationRenderer(), None if call.model else DefaultModel(call))


DECLARATION = describe_model_call(
    "Create a moderation",
    ResponseSpec(
        response_schema({"id": STRING, "model": STRING, "results": array(OPEN_OBJECT), "yout": COST_SCHEMA}),
        "One result for each text, or one for all parts.",
    ),
    body=ModerationRequest,
    notes="If `model` is omitted, the key's only moderation model is used; an error if there are several.",
)
MODERATIONS = EndpointAdapter(_open, declaration=DECLARATION)
