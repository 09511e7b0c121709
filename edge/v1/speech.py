"""`POST /v1/audio/speech`: submits a media job, waits for it, and returns the audio."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    ANY,
    CALL_ERRORS,
    KEY,
    ResponseSpec,
    describe_route,
    enum,
    example,
    number,
    open_request_schema,
    string,
)
from edge.http.fields import MAX_MODEL_LENGTH, parse_json_object
from edge.media import requests, submission
from edge.media.files import file_response
from edge.media.job_wait import wait_for_job
from edge.request_context import read_body, services
from shared.core.errors import Unavailable

speech = Blueprint("speech", __name__)


@speech.post("/v1/audio/speech")
@describe_route(
    "Create speech",
    callers=KEY,
    body=example(
        open_request_schema(
            {
                "model": string(MAX_MODEL_LENGTH),
                "input": string(requests.MAX_PROMPT_LENGTH),
                "voice": ANY,
                "speed": number(0.25, 4),
                "response_format": enum(*requests.SPEECH_FORMATS),
            },
            required=("model", "input"),
        ),
        {"model": "$speech", "input": "Hello"},
    ),
    responses={200: ResponseSpec(None, "The audio. Its cost is in the `x-yout-…` headers.", ("*/*",))},
    errors=(*CALL_ERRORS, Unavailable),
)
async def create_speech() -> Response:
    """Generate speech. The cost and the balance are in headers."""
    terms = await submission.read_context(key_only=True)
    data = await read_body()
    ordered = await submission.submit(requests.build_media_call("speech", parse_json_object(data)), terms.for_body(data))
    found = await wait_for_job(ordered.submitted, terms.caller.row.payer)
    response = await file_response(found.job, found.outputs[0])
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.rate_limit_state)})
    response.headers["x-yout-credits-charged"] = str(found.job.credits_charged)
    response.headers["x-yout-balance"] = str(await services().balance_of(terms.caller.account))
    response.headers["x-yout-job"] = str(found.job.id)
    return response
