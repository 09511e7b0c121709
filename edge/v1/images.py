"""`POST /v1/images/generations`: submits a media job and waits for it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, Literal

import orjson
from msgspec import Meta
from quart import Blueprint, Response, stream_with_context

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    CALL_ERRORS,
    INTEGER,
    KEY,
    OPEN_OBJECT,
    ResponseSpec,
    array,
    describe_route,
    response_schema,
)
from edge.http.body_types import check_body
from edge.http.json_body import parse_json_object
from edge.media import jobs, requests, submission
from edge.media.job_wait import wait_for_job
from edge.request_context import read_body, services
from shared.core.errors import InvalidRequest, Unavailable
from shared.dialects.media import MediaCall
from shared.models import MediaOutput

images = Blueprint("images", __name__)


IMAGES = ResponseSpec(response_schema({"created": INTEGER, "data": array(OPEN_OBJECT), "yout": OPEN_OBJECT}), "The images.")
ResponseFormat = Annotated[
    Literal["b64_json", "url"] | None, Meta(description="Base64 (the default), or signed links that expire.")
]


class OpenAIImageRequest(requests.ImageRequest):
    """Images to generate. Fields of unknown cost are refused."""

    EXAMPLE = {"model": "$image", "prompt": "A lighthouse", "response_format": "url"}

    response_format: ResponseFormat = None


@images.post("/v1/images/generations")
@describe_route(
    "Generate images",
    callers=KEY,
    body=OpenAIImageRequest,
    responses={200: IMAGES},
    errors=(*CALL_ERRORS, Unavailable),
    notes="Creates a media job, as under `/api/media/`, and waits until it ends.",
)
async def generate() -> Response:
    """Generate images, and return them as base64 (`b64_json`) or as signed links that expire (`url`)."""
    terms = await submission.read_context(key_only=True)
    data = await read_body()
    body = parse_json_object(data)
    requested = check_body(body, OpenAIImageRequest)
    refuse_stream(body)
    return await respond_with_images(requests.media_call(body, requested), terms.for_body(data), requested.response_format)


def refuse_stream(body: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` if a body or a form requests a stream."""
    if body.get("stream") not in (None, False, "false"):
        raise InvalidRequest("'stream' is not supported for images.", "stream")


async def respond_with_images(call: MediaCall, terms: submission.SubmissionContext, response_format: str | None) -> Response:
    """Submit the job, wait until it ends, and return its images."""
    ordered = await submission.submit(call, terms)
    found = await wait_for_job(ordered.submitted, terms.caller.row.payer)
    rest = {
        "created": (found.job.finished_at or 0) // 1000,
        **{
            name: found.job.options[key]
            for name, key in (("size", "size"), ("output_format", "format"))
            if key in found.job.options
        },
        "yout": {
            "credits_charged": found.job.credits_charged,
            "balance": await services().balance_of(terms.caller.account),
            "job_uuid": str(found.job.id),
        },
    }
    pieces = stream_with_context(_document)(found, rest, response_format or "b64_json")
    response = Response(pieces, content_type="application/json")
    response.timeout = None
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.rate_limit_state)})
    return response


async def _document(found: jobs.FoundJob, rest: dict[str, Any], response_format: str) -> AsyncIterator[bytes]:
    """Yield the response in pieces, so that large images need not fit in memory."""
    yield orjson.dumps(rest)[:-1] + b',"data":['
    links = [file["url"] for file in jobs.document(found)["outputs"]]
    for number, output in enumerate(found.outputs):
        yield b"," if number else b""
        if response_format == "url":
            yield orjson.dumps({"url": links[number]})
            continue
        yield b'{"b64_json":"'
        async for piece in _base64(output):
            yield piece
        yield b'"}'
    yield b"]}"


async def _base64(output: MediaOutput) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in await services().storage.get_async(output.storage_key):
        whole = rest + piece
        cut = len(whole) - len(whole) % 3
        rest = whole[cut:]
        yield base64.b64encode(whole[:cut])
    yield base64.b64encode(rest)
