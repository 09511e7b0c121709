"""`/v1/videos`: video jobs in OpenAI's format."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    BOOLEAN,
    CALL_ERRORS,
    INTEGER,
    KEY,
    OPEN_OBJECT,
    STRING,
    ResponseSpec,
    array,
    describe_route,
    enum,
    integer,
    nullable,
    response_schema,
)
from edge.http.body_types import check_body
from edge.http.client_library_options import refuse_client_options
from edge.http.json_body import parse_json_object
from edge.http.multipart import read_form
from edge.http.paging import query_integer, split_page
from edge.http.tags import nest_form_metadata
from edge.media import jobs, requests, submission
from edge.media.files import file_response
from edge.media.jobs import FoundJob
from edge.request_context import key_caller, read_body, uncached_json
from shared.core.errors import InvalidRequest, NotFound, Unavailable
from shared.media.failure_messages import failure_message
from shared.media.finish_job import NO_SUCH_JOB
from shared.media.job_json import requested_model
from shared.models import MediaJob

videos = Blueprint("videos", __name__)

PREFIX = "video_"
MAX_LISTED = 100
DEFAULT_LISTED = 20
STATUSES = {"queued": "queued", "running": "in_progress", "succeeded": "completed", "failed": "failed", "cancelled": "failed"}
CANCELLED = {"code": "cancelled", "message": "The job was cancelled. You were not charged."}


_VIDEO = response_schema(
    {
        "id": STRING,
        "object": enum("video"),
        "model": STRING,
        "status": enum(*sorted(set(STATUSES.values()))),
        "progress": INTEGER,
        "created_at": INTEGER,
        "completed_at": nullable(INTEGER),
        "error": nullable(OPEN_OBJECT),
        "yout": OPEN_OBJECT,
    }
)
_LIST = response_schema({"object": enum("list"), "data": array(_VIDEO), "has_more": BOOLEAN})


@videos.post("/v1/videos")
@describe_route(
    "Create a video",
    callers=KEY,
    body=requests.VideoRequest,
    responses={200: ResponseSpec(_VIDEO, "The video job. Poll it until it finishes.")},
    errors=(*CALL_ERRORS, Unavailable),
)
async def create() -> Response:
    """Submit a video job. OpenAI's SDKs send a form."""
    terms = await submission.read_context(key_only=True)
    body = await _body()
    if body.get("input_reference") is not None:
        raise InvalidRequest("'input_reference' is not supported. Describe the scene in 'prompt'.", "input_reference")
    call = requests.media_call(body, check_body(body, requests.VideoRequest))
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)  # a form has a new boundary each time
    ordered = await submission.submit(call, terms.for_body(canonical))
    found = await jobs.find_job(terms.caller.account, ordered.submitted.job.id)
    response = uncached_json(_document(found.job))
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.rate_limit_state)})
    return response


@videos.get("/v1/videos")
@describe_route(
    "List videos",
    callers=KEY,
    query={"limit": integer(1, MAX_LISTED), "order": enum("asc", "desc"), "after": STRING},
    responses={200: ResponseSpec(_LIST)},
    errors=(InvalidRequest, NotFound),
)
async def list_own() -> Response:
    """List the account's videos."""
    caller = await key_caller()
    limit, order = query_integer("limit", 1, MAX_LISTED, DEFAULT_LISTED), request.args.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", "order")
    after = request.args.get("after")
    found = await jobs.list_jobs(
        caller.account, limit=limit + 1, after=_id(after) if after else None, ascending=order == "asc", kind="video"
    )
    listed, last = split_page(found, limit)
    page = [_document(entry.job) for entry in listed]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return uncached_json({"object": "list", "data": page, "has_more": last is not None, **ends})


@videos.get("/v1/videos/<id>")
@describe_route("Retrieve a video", callers=KEY, responses={200: ResponseSpec(_VIDEO)}, errors=(NotFound,))
async def retrieve(id: str) -> Response:
    """Return a video job."""
    return uncached_json(_document((await _find(id)).job))


@videos.get("/v1/videos/<id>/content")
@describe_route(
    "Download a video",
    callers=KEY,
    query={"variant": enum("video")},
    responses={200: ResponseSpec(None, "The video file.", ("*/*",)), 206: ResponseSpec(None, "The requested range.", ("*/*",))},
    errors=(InvalidRequest, NotFound, Unavailable),
)
async def content(id: str) -> Response:
    """Return the video file."""
    if request.args.get("variant", "video") != "video":
        raise InvalidRequest("'variant' must be 'video'.", "variant")
    found = await _find(id)
    if not found.outputs:
        raise NotFound("This video has no content: it is not completed, or it has been deleted.")
    return await file_response(found.job, found.outputs[0])


@videos.delete("/v1/videos/<id>")
@describe_route(
    "Delete a video",
    callers=KEY,
    responses={200: ResponseSpec(response_schema({"id": STRING, "object": enum("video.deleted"), "deleted": BOOLEAN}))},
    errors=(NotFound, Unavailable),
)
async def delete(id: str) -> Response:
    """Cancel a running video job, and delete it with its files."""
    found = await _find(id)
    await jobs.delete_job(found)
    return uncached_json({"id": _name(found.job), "object": "video.deleted", "deleted": True})


async def _body() -> dict[str, Any]:
    data = await read_body()
    if request.mimetype != "multipart/form-data":
        return parse_json_object(data)
    form = await asyncio.to_thread(read_form, data, request.headers["content-type"])
    refuse_client_options(name for name, _ in (*form.fields, *form.files))
    for name, _ in form.files:
        raise InvalidRequest(f"'{name}' must not be a file. Describe the scene in 'prompt'.", name)
    return nest_form_metadata(dict(form.fields))


async def _find(id: str) -> FoundJob:
    caller = await key_caller()
    return await jobs.find_job(caller.account, _id(id), "video")


def _id(text: str) -> UUID:
    if not text.startswith(PREFIX):
        raise NotFound(NO_SUCH_JOB)
    return jobs.parse_job_id(text.removeprefix(PREFIX))


def _name(job: MediaJob) -> str:
    return PREFIX + job.id.hex


def _document(job: MediaJob) -> dict[str, Any]:
    """Return a video job in OpenAI's format. `prompt` is null, because prompts are not stored."""
    error = None
    if job.status == "cancelled":
        error = CANCELLED
    elif job.error_code is not None:
        error = {"code": job.error_code, "message": failure_message(job.error_code)}
    return {
        "id": _name(job),
        "object": "video",
        "model": requested_model(job),
        "status": STATUSES[job.status],
        "progress": job.progress,
        "created_at": job.created_at // 1000,
        "completed_at": job.finished_at // 1000 if job.status == "succeeded" and job.finished_at else None,
        "expires_at": job.files_expire_at // 1000 if job.files_expire_at else None,
        "seconds": str(job.options.get("seconds", "")),
        "size": job.options.get("size", "auto"),
        "prompt": None,
        "remixed_from_video_id": None,
        "error": error,
        "yout": {"credits_held": 0 if job.finished_at else job.credits_held, "credits_charged": job.credits_charged or 0},
    }
