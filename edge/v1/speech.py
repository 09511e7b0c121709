"""`POST /v1/audio/speech`: a media job whose end the request waits for; the answer is the sound itself."""

from __future__ import annotations

from quart import Blueprint, Response, request

from edge.media import orders, requests
from edge.media.files import file_response
from edge.media.waiting import balance_of, made
from edge.requests import json_object
from edge.responses import rate_headers

speech = Blueprint("speech", __name__)


@speech.post("/v1/audio/speech")
async def speak() -> Response:
    """Speech. What it cost and what is left is in the headers, for the body has no room for it."""
    data = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    terms = await orders.read_terms(data, key_only=True)
    ordered = await orders.order(requests.media_call("speech", json_object(data)), terms)
    found = await made(ordered.submitted)
    response = await file_response(found.job, found.outputs[0])
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.standing)})
    response.headers["x-yout-credits-charged"] = str(found.job.credits_charged)
    response.headers["x-yout-balance"] = str(await balance_of(terms.caller.account))
    response.headers["x-yout-job"] = str(found.job.id)
    return response
