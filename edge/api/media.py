"""`/api/media/`: create image, video and speech jobs, list and cancel them, download their files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import orjson
from quart import Blueprint, Response, request, stream_with_context

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    ANY,
    ANYBODY,
    CALL,
    EVENTS,
    ID,
    INTEGER,
    JSON,
    MOMENT,
    OPEN,
    PAGE,
    STRING,
    Answer,
    array,
    declare,
    example,
    number,
    one_of,
    or_null,
    page_of,
    record,
    text,
    whole,
    wish,
)
from edge.http.errors import render_event
from edge.http.fields import LONGEST_MODEL
from edge.media import jobs, requests, submission
from edge.media.files import file_response
from edge.request_context import account_caller, private, read, read_body, services, write
from shared import media
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, NotFound, Unavailable, UpstreamTimeout, YoutError
from shared.files.signed_urls import check
from shared.media import webhooks
from shared.models import MediaJob, MediaOutput

api = Blueprint("media", __name__, url_prefix="/api/media")

MAX_LISTED = 100
DEFAULT_LISTED = 20
KEEPALIVE_SECONDS = 10
MAX_STREAM_SECONDS = 900
NO_SUCH_FILE = "No such file, or its link has expired. Retrieve the job to get a new link."


_JOB = record(
    {
        "job_uuid": ID,
        "kind": one_of(*jobs.MEDIA_KINDS),
        "model": STRING,
        "status": one_of(*jobs.MEDIA_STATES),
        "progress": INTEGER,
        "output_url": or_null(STRING),
        "outputs": array(OPEN),
        "error": or_null(OPEN),
        "credits_cost": INTEGER,
        "created": MOMENT,
        "finished": or_null(MOMENT),
    }
)
_PROMPT = text(requests.LONGEST_PROMPT)
_ORDER = {"model": text(LONGEST_MODEL), "callback_url": STRING, "user": text(512, 0), "safety_identifier": text(512, 0)}
_ORDERS = {
    "image": example(
        wish(
            {
                **_ORDER,
                "prompt": _PROMPT,
                "n": whole(1, requests.MOST_PICTURES),
                "size": STRING,
                "quality": STRING,
                "style": STRING,
                "background": STRING,
                "moderation": STRING,
                "output_format": one_of(*requests.IMAGE_FORMATS),
                "output_compression": whole(0, 100),
            },
            required=("model", "prompt"),
        ),
        {"model": "$image", "prompt": "A lighthouse"},
    ),
    "video": example(
        wish({**_ORDER, "prompt": _PROMPT, "seconds": ANY, "size": STRING, "quality": STRING}, required=("model", "prompt")),
        {"model": "$video", "prompt": "A lighthouse"},
    ),
    "speech": example(
        wish(
            {
                **_ORDER,
                "input": _PROMPT,
                "voice": ANY,
                "instructions": text(requests.LONGEST_PROMPT, 0),
                "speed": number(0.25, 4),
                "response_format": one_of(*requests.SPEECH_FORMATS),
            },
            required=("model", "input"),
        ),
        {"model": "$speech", "input": "Hello"},
    ),
}
_SECRET = record({"secret": STRING})


@api.post("/<any(image, video, speech):kind>/")
@declare(
    "Create a media job",
    bodies=_ORDERS,
    answers={
        202: Answer(
            record({"job_uuid": ID, "status": one_of(*jobs.MEDIA_STATES), "credits_cost": INTEGER}),
            "The job. Poll it until it finishes.",
        )
    },
    refusals=(*CALL, Unavailable),
    notes="Credits are held when the job is created, charged if it succeeds, and released otherwise.",
)
async def create(kind: str) -> Response:
    """Create a job and return its id with a 202."""
    terms = await submission.read_terms()
    data = await read_body()
    call, callback_url = requests.native(kind, data)
    (job, _), standing = await submission.order(call, terms.for_body(data), callback_url)
    cost = job.credits_held if job.credits_charged is None else job.credits_charged
    response = private({"job_uuid": str(job.id), "status": job.status, "credits_cost": cost}, 202)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    response.headers["location"] = f"/api/media/jobs/{job.id}/"
    return response


@api.get("/jobs/")
@declare(
    "List media jobs",
    query={**PAGE, "kind": one_of(*jobs.MEDIA_KINDS), "status": one_of(*jobs.MEDIA_STATES)},
    answers={200: Answer(page_of("jobs", _JOB), "A page of jobs, newest first.")},
    refusals=(InvalidRequest, NotFound),
)
async def list_own() -> Response:
    """List the account's jobs, newest first. `after` is the last id of the previous page."""
    caller = await account_caller()
    limit = _limit(request.args.get("limit"))
    after = request.args.get("after")
    found = await jobs.list_jobs(
        caller.account,
        limit=limit + 1,
        after=jobs.job_id(after) if after else None,
        kind=_choice("kind", jobs.MEDIA_KINDS),
        status=_choice("status", jobs.MEDIA_STATES),
    )
    page = found[:limit]
    following = str(page[-1].job.id) if len(found) > limit else None
    return private({"jobs": [jobs.document(job) for job in page], "next": following})


@api.get("/jobs/<id>/")
@declare(
    "Retrieve a media job",
    path={"id": ID},
    answers={200: Answer(_JOB, "The job, or with `Accept: text/event-stream` a stream of its changes.", (JSON, EVENTS))},
    refusals=(NotFound,),
)
async def show(id: str) -> Response:
    """Return a job, or a stream of its changes if `Accept` prefers `text/event-stream`."""
    caller = await account_caller()
    found = await jobs.find(caller.account, jobs.job_id(id))
    if request.accept_mimetypes.best_match(["application/json", "text/event-stream"]) == "text/event-stream":
        return _stream(found)
    return private(jobs.document(found))


@api.post("/jobs/<id>/cancel/")
@declare(
    "Cancel a media job",
    path={"id": ID},
    answers={200: Answer(_JOB, "The job. Its held credits are released; a finished job is returned unchanged.")},
    refusals=(NotFound,),
)
async def cancel(id: str) -> Response:
    """Cancel a job and release its held credits. A finished job stays unchanged."""
    caller = await account_caller()
    await write(partial(media.cancel, caller.account, jobs.job_id(id)))
    return private(jobs.document(await jobs.find(caller.account, jobs.job_id(id))))


@api.get("/files/<id>")
@declare(
    "Download a file by its signed link",
    callers=ANYBODY,
    query={"expires": STRING, "signature": STRING},
    answers={200: Answer(None, "The file.", ("*/*",)), 206: Answer(None, "The requested range.", ("*/*",))},
    refusals=(NotFound, Unavailable),
)
async def fetch(id: str) -> Response:
    """Return a file to anyone with its signed link."""
    path, settings = f"/api/media/files/{id}", services().settings
    if not check(path, request.args.get("expires", ""), request.args.get("signature", ""), settings.secret_key, now_ms()):
        raise NotFound(NO_SUCH_FILE)
    found = await read(partial(_output, id))
    if found is None:
        raise NotFound(NO_SUCH_FILE)
    return await file_response(*found)


@api.get("/webhook-secret/")
@declare("Retrieve the webhook signing secret", answers={200: Answer(_SECRET)})
async def show_secret() -> Response:
    """Return the secret that signs the account's webhooks."""
    caller = await account_caller()
    return private({"secret": await write(partial(webhooks.secret_of, caller.account, services().settings.secret_key))})


@api.post("/webhook-secret/")
@declare("Rotate the webhook signing secret", answers={200: Answer(_SECRET, "The new secret. It replaces the old one at once.")})
async def renew_secret() -> Response:
    """Replace the webhook signing secret."""
    caller = await account_caller()
    return private({"secret": await write(partial(webhooks.replace_secret, caller.account, services().settings.secret_key))})


def _stream(found: jobs.FoundJob) -> Response:
    """Stream the job as events: one now, one at each change, until it ends."""
    response = Response(stream_with_context(_events)(found), content_type="text/event-stream")
    response.headers.update({"cache-control": "no-store", "x-accel-buffering": "no"})
    response.timeout = None
    return response


async def _events(found: jobs.FoundJob) -> AsyncIterator[bytes]:
    account, id = found.job.__data__["account"], found.job.id
    loop = asyncio.get_running_loop()
    until = loop.time() + MAX_STREAM_SECONDS
    async with aclosing(services().watch.changes(id)) as changes:
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=KEEPALIVE_SECONDS)
                if loop.time() > until:
                    yield render_event(
                        UpstreamTimeout("The stream reached its time limit; the job is still running. Reconnect to follow it.")
                    )
                    return
                if not done:
                    yield b": keepalive\n\n"
                    continue
                if following.result() is None:
                    return
                yield b"data: " + orjson.dumps(jobs.document(await jobs.find(account, id))) + b"\n\n"
                following = asyncio.ensure_future(anext(changes, None))
        except YoutError as error:
            yield render_event(error)
        finally:
            following.cancel()
            await asyncio.wait([following])  # a generator cannot be closed while its next item is awaited


def _output(id: str) -> tuple[MediaJob, MediaOutput] | None:
    try:
        output = MediaOutput.get_or_none(MediaOutput.id == jobs.job_id(id))
    except NotFound:
        return None
    return (output.job, output) if output is not None else None


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LISTED
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MAX_LISTED):
        raise InvalidRequest(f"'limit' must be an integer between 1 and {MAX_LISTED}.", "limit")
    return int(text)


def _choice(name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.args.get(name)
    if value is not None and value not in allowed:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(allowed)}.", name)
    return value
