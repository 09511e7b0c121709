"""`POST /v1/images/generations`: a media job whose end the request waits for."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import orjson
from quart import Blueprint, Response, stream_with_context

from edge.call.responses import rate_headers
from edge.http.api_spec import CALL, INTEGER, KEY, OPEN, Answer, array, declare, example, one_of, open_wish, record, text, whole
from edge.http.fields import LONGEST_MODEL, json_object
from edge.media import jobs, requests, submission
from edge.media.job_wait import balance_of, made
from edge.request_context import read_body, services
from shared.core.errors import InvalidRequest, Unavailable
from shared.models import MediaOutput

images = Blueprint("images", __name__)

FORMATS = ("b64_json", "url")


@images.post("/v1/images/generations")
@declare(
    "Make pictures, as OpenAI's API does",
    callers=KEY,
    body=example(
        open_wish(
            {
                "model": text(LONGEST_MODEL),
                "prompt": text(requests.LONGEST_PROMPT),
                "n": whole(1, requests.MOST_PICTURES),
                "response_format": one_of(*FORMATS),
                "output_format": one_of(*requests.IMAGE_FORMATS),
            },
            required=("model", "prompt"),
        ),
        {"model": "$image", "prompt": "A lighthouse", "response_format": "url"},
    ),
    answers={200: Answer(record({"created": INTEGER, "data": array(OPEN), "yout": OPEN}), "The pictures.")},
    refusals=(*CALL, Unavailable),
    notes="A job like those under `/api/media/`, whose end the request waits for.",
)
async def generate() -> Response:
    """Pictures, in the answer itself (`b64_json`) or by links that expire (`url`)."""
    terms = await submission.read_terms(key_only=True)
    data = await read_body()
    body = json_object(data)
    wanted = body.get("response_format") or "b64_json"
    if wanted not in FORMATS:
        raise InvalidRequest("'response_format' must be b64_json or url.", "response_format")
    if body.get("stream"):
        raise InvalidRequest("'stream' is not supported here: pictures are sent when they are whole.", "stream")
    ordered = await submission.order(requests.media_call("image", body), terms.for_body(data))
    found = await made(ordered.submitted)
    rest = {
        "created": (found.job.finished_at or 0) // 1000,
        **{
            name: found.job.options[key]
            for name, key in (("size", "size"), ("output_format", "format"))
            if key in found.job.options
        },
        "yout": {
            "credits_charged": found.job.credits_charged,
            "balance": await balance_of(terms.caller.account),
            "job_uuid": str(found.job.id),
        },
    }
    response = Response(stream_with_context(_document)(found, rest, wanted), content_type="application/json")
    response.timeout = None
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.standing)})
    return response


async def _document(found: jobs.FoundJob, rest: dict[str, Any], wanted: str) -> AsyncIterator[bytes]:
    """The answer, piece by piece: several large pictures need not fit into memory."""
    yield orjson.dumps(rest)[:-1] + b',"data":['
    links = [file["url"] for file in jobs.document(found)["outputs"]]
    for number, output in enumerate(found.outputs):
        yield b"," if number else b""
        if wanted == "url":
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
