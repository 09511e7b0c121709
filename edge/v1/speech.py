"""`POST /v1/audio/speech`: submits a media job, waits for it, and returns the audio."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta
from quart import Blueprint, Response

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    CALL_ERRORS,
    KEY,
    ResponseSpec,
    describe_route,
)
from edge.http.body_types import check_body
from edge.http.json_body import parse_json_object
from edge.media import requests, submission
from edge.media.files import file_response
from edge.media.job_wait import wait_for_job
from edge.request_context import read_body, services
from shared.core.errors import Unavailable

speech = Blueprint("speech", __name__)


class OpenAISpeechRequest(requests.SpeechRequest):
    """Speech to generate from a text. Fields of unknown cost are refused."""

    stream_format: Annotated[
        Literal["audio"] | None,
        Meta(description="Only `audio`.", extra={"expected": "'audio'; streaming speech is not supported"}),
    ] = None


@speech.post("/v1/audio/speech")
@describe_route(
    "Create speech",
    callers=KEY,
    body=OpenAISpeechRequest,
    responses={200: ResponseSpec(None, "The audio. Its cost is in the `x-yout-…` headers.", ("*/*",))},
    errors=(*CALL_ERRORS, Unavailable),
)
async def create_speech() -> Response:
    """Generate speech. The cost and the balance are in headers."""
    terms = await submission.read_context(key_only=True)
    data = await read_body()
    body = parse_json_object(data)
    call = requests.media_call(body, check_body(body, OpenAISpeechRequest))
    ordered = await submission.submit(call, terms.for_body(data))
    found = await wait_for_job(ordered.submitted, terms.caller.row.payer)
    response = await file_response(found.job, found.outputs[0])
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.rate_limit_state)})
    response.headers["x-yout-credits-charged"] = str(found.job.credits_charged)
    response.headers["x-yout-balance"] = str(await services().balance_of(terms.caller.account))
    response.headers["x-yout-job"] = str(found.job.id)
    return response
