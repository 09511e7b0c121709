"""`POST /v1/audio/speech`: submits a media job, waits for it, and returns the audio."""

from __future__ import annotations

from quart import Blueprint, Response

from edge.call.responses import rate_headers
from edge.http.api_spec import ANY, CALL, KEY, Answer, declare, example, number, one_of, open_wish, text
from edge.http.fields import LONGEST_MODEL, json_object
from edge.media import requests, submission
from edge.media.files import file_response
from edge.media.job_wait import balance_of, made
from edge.request_context import read_body
from shared.core.errors import Unavailable

speech = Blueprint("speech", __name__)


@speech.post("/v1/audio/speech")
@declare(
    "Create speech",
    callers=KEY,
    body=example(
        open_wish(
            {
                "model": text(LONGEST_MODEL),
                "input": text(requests.LONGEST_PROMPT),
                "voice": ANY,
                "speed": number(0.25, 4),
                "response_format": one_of(*requests.SPEECH_FORMATS),
            },
            required=("model", "input"),
        ),
        {"model": "$speech", "input": "Hello"},
    ),
    answers={200: Answer(None, "The audio. Its cost is in the `x-yout-…` headers.", ("*/*",))},
    refusals=(*CALL, Unavailable),
)
async def speak() -> Response:
    """Generate speech. The cost and the balance are in headers."""
    terms = await submission.read_terms(key_only=True)
    data = await read_body()
    ordered = await submission.order(requests.media_call("speech", json_object(data)), terms.for_body(data))
    found = await made(ordered.submitted)
    response = await file_response(found.job, found.outputs[0])
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.standing)})
    response.headers["x-yout-credits-charged"] = str(found.job.credits_charged)
    response.headers["x-yout-balance"] = str(await balance_of(terms.caller.account))
    response.headers["x-yout-job"] = str(found.job.id)
    return response
