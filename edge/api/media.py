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
    ANYBODY,
    BOOLEAN,
    CALL_ERRORS,
    EVENTS,
    ID,
    INTEGER,
    JSON,
    OPEN_OBJECT,
    PAGE,
    STRING,
    TIMESTAMP,
    ResponseSpec,
    array,
    describe_route,
    enum,
    nullable,
    page_of,
    response_schema,
)
from edge.http.errors import render_native_error
from edge.http.paging import query_integer, split_page
from edge.media import jobs, requests, submission
from edge.media.files import file_response, thumbnail_response
from edge.request_context import account_caller, read, read_body, services, uncached_json, write
from shared import media
from shared.core.clock import now_ms
from shared.core.errors import InvalidRequest, NotFound, Unavailable, UpstreamTimeout, YoutError
from shared.files.signed_urls import verify_url
from shared.media import webhooks
from shared.models import MediaJob, MediaOutput

api = Blueprint("media", __name__, url_prefix="/api/media")

MAX_LISTED = 100
DEFAULT_LISTED = 20
KEEPALIVE_SECONDS = 10
MAX_STREAM_SECONDS = 900
NO_SUCH_FILE = "No such file, or its link has expired. Retrieve the job to get a new link."


_JOB = response_schema(
    {
        "job_uuid": ID,
        "kind": enum(*jobs.MEDIA_KINDS),
        "model": STRING,
        "status": enum(*jobs.MEDIA_STATES),
        "progress": INTEGER,
        "output_url": nullable(STRING),
        "outputs": array(OPEN_OBJECT),
        "error": nullable(OPEN_OBJECT),
        "credits_cost": INTEGER,
        "created": TIMESTAMP,
        "finished": nullable(TIMESTAMP),
    }
)
_SECRET = response_schema({"secret": STRING})


@api.post("/<any(image, video, speech):kind>/")
@describe_route(
    "Create a media job",
    bodies=requests.JOBS,
    responses={
        202: ResponseSpec(
            response_schema({"job_uuid": ID, "status": enum(*jobs.MEDIA_STATES), "credits_cost": INTEGER}),
            "The job. Poll it until it finishes.",
        )
    },
    errors=(*CALL_ERRORS, Unavailable),
    notes="Credits are held when the job is created, charged if it succeeds, and released otherwise.",
)
async def create(kind: str) -> Response:
    """Create a job and return its id with a 202."""
    terms = await submission.read_context()
    data = await read_body()
    call, callback_url = requests.parse_native_request(kind, data)
    (job, _), standing = await submission.submit(call, terms.for_body(data), callback_url)
    cost = job.credits_held if job.credits_charged is None else job.credits_charged
    response = uncached_json({"job_uuid": str(job.id), "status": job.status, "credits_cost": cost}, 202)
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(standing)})
    response.headers["location"] = f"/api/media/jobs/{job.id}/"
    return response


@api.get("/jobs/")
@describe_route(
    "List media jobs",
    query={**PAGE, "kind": enum(*jobs.MEDIA_KINDS), "status": enum(*jobs.MEDIA_STATES)},
    responses={200: ResponseSpec(page_of("jobs", _JOB), "A page of jobs, newest first.")},
    errors=(InvalidRequest, NotFound),
)
async def list_own() -> Response:
    """List the account's jobs, newest first. `after` is the last id of the previous page."""
    caller = await account_caller()
    limit = query_integer("limit", 1, MAX_LISTED, DEFAULT_LISTED)
    after = request.args.get("after")
    found = await jobs.list_jobs(
        caller.account,
        limit=limit + 1,
        after=jobs.parse_job_id(after) if after else None,
        kind=_choice("kind", jobs.MEDIA_KINDS),
        status=_choice("status", jobs.MEDIA_STATES),
    )
    page, last = split_page(found, limit)
    return uncached_json({"jobs": [jobs.document(job) for job in page], "next": str(last.job.id) if last else None})


@api.get("/jobs/<id>/")
@describe_route(
    "Retrieve a media job",
    path={"id": ID},
    responses={200: ResponseSpec(_JOB, "The job, or with `Accept: text/event-stream` a stream of its changes.", (JSON, EVENTS))},
    errors=(NotFound,),
)
async def retrieve_job(id: str) -> Response:
    """Return a job, or a stream of its changes if `Accept` prefers `text/event-stream`."""
    caller = await account_caller()
    found = await jobs.find_job(caller.account, jobs.parse_job_id(id))
    if request.accept_mimetypes.best_match(["application/json", "text/event-stream"]) == "text/event-stream":
        return _stream(found)
    return uncached_json(jobs.document(found))


@api.delete("/jobs/<id>/")
@describe_route(
    "Delete a media job",
    path={"id": ID},
    responses={200: ResponseSpec(response_schema({"job_uuid": ID, "deleted": BOOLEAN}), "Deleted with its files.")},
    errors=(NotFound, Unavailable),
)
async def delete(id: str) -> Response:
    """Cancel a job if it is running, and delete it with its files. Its charge and usage remain."""
    caller = await account_caller()
    found = await jobs.find_job(caller.account, jobs.parse_job_id(id))
    await jobs.delete_job(found)
    return uncached_json({"job_uuid": str(found.job.id), "deleted": True})


@api.post("/jobs/<id>/cancel/")
@describe_route(
    "Cancel a media job",
    path={"id": ID},
    responses={200: ResponseSpec(_JOB, "The job. Its held credits are released; a finished job is returned unchanged.")},
    errors=(NotFound,),
)
async def cancel(id: str) -> Response:
    """Cancel a job and release its held credits. A finished job stays unchanged."""
    caller = await account_caller()
    await write(partial(media.cancel_job, caller.account, jobs.parse_job_id(id)))
    return uncached_json(jobs.document(await jobs.find_job(caller.account, jobs.parse_job_id(id))))


@api.get("/files/<id>")
@describe_route(
    "Download a file by its signed link",
    callers=ANYBODY,
    query={"expires": STRING, "signature": STRING},
    responses={200: ResponseSpec(None, "The file.", ("*/*",)), 206: ResponseSpec(None, "The requested range.", ("*/*",))},
    errors=(NotFound, Unavailable),
)
async def download_file(id: str) -> Response:
    """Return a file to anyone with its signed link."""
    return await file_response(*await _find_signed(f"/api/media/files/{id}", id))


@api.get("/files/<id>/thumbnail")
@describe_route(
    "Retrieve the thumbnail of an image by its signed link",
    callers=ANYBODY,
    query={"expires": STRING, "signature": STRING},
    responses={200: ResponseSpec(None, "A WebP image of at most 640 pixels, or the file itself if it is small.", ("image/*",))},
    errors=(NotFound, Unavailable),
)
async def show_thumbnail(id: str) -> Response:
    """Return an image's thumbnail to anyone with its signed link, which the account's media page contains."""
    return await thumbnail_response(*await _find_signed(f"/api/media/files/{id}/thumbnail", id))


@api.get("/webhook-secret/")
@describe_route("Retrieve the webhook signing secret", responses={200: ResponseSpec(_SECRET)})
async def show_secret() -> Response:
    """Return the secret that signs the account's webhooks."""
    caller = await account_caller()
    return uncached_json(
        {"secret": await write(partial(webhooks.get_or_create_secret, caller.account, services().settings.secret_key))}
    )


@api.post("/webhook-secret/")
@describe_route(
    "Rotate the webhook signing secret",
    responses={200: ResponseSpec(_SECRET, "The new secret. It replaces the old one at once.")},
)
async def rotate_secret() -> Response:
    """Replace the webhook signing secret."""
    caller = await account_caller()
    return uncached_json(
        {"secret": await write(partial(webhooks.replace_secret, caller.account, services().settings.secret_key))}
    )


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
    async with aclosing(services().job_poller.changes(id)) as changes:
        following = asyncio.ensure_future(anext(changes, None))
        try:
            while True:
                done, _ = await asyncio.wait([following], timeout=KEEPALIVE_SECONDS)
                if loop.time() > until:
                    yield render_native_error(
                        UpstreamTimeout("The stream reached its time limit; the job is still running. Reconnect to follow it.")
                    )
                    return
                if not done:
                    yield b": keepalive\n\n"
                    continue
                if following.result() is None:
                    return
                yield b"data: " + orjson.dumps(jobs.document(await jobs.find_job(account, id))) + b"\n\n"
                following = asyncio.ensure_future(anext(changes, None))
        except YoutError as error:
            yield render_native_error(error)
        finally:
            following.cancel()
            await asyncio.wait([following])  # a generator cannot be closed while its next item is awaited


async def _find_signed(path: str, id: str) -> tuple[MediaJob, MediaOutput]:
    """Return the output, if the request's signature is valid for `path`. Raises `NotFound`."""
    expires, signature = request.args.get("expires", ""), request.args.get("signature", "")
    if not verify_url(path, expires, signature, services().settings.secret_key, now_ms()):
        raise NotFound(NO_SUCH_FILE)
    found = await read(partial(_output, id))
    if found is None:
        raise NotFound(NO_SUCH_FILE)
    return found


def _output(id: str) -> tuple[MediaJob, MediaOutput] | None:
    try:
        output = MediaOutput.get_or_none(MediaOutput.id == jobs.parse_job_id(id))
    except NotFound:
        return None
    return (output.job, output) if output is not None else None


def _choice(name: str, allowed: tuple[str, ...]) -> str | None:
    value = request.args.get(name)
    if value is not None and value not in allowed:
        raise InvalidRequest(f"'{name}' must be one of {', '.join(allowed)}.", name)
    return value
