"""`/v1/videos`: video jobs in OpenAI's format."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from quart import Blueprint, Response, request

from edge.call.responses import rate_headers
from edge.http.api_spec import (
    ANY,
    BOOLEAN,
    CALL,
    INTEGER,
    KEY,
    OPEN,
    STRING,
    Answer,
    array,
    declare,
    example,
    one_of,
    open_wish,
    or_null,
    record,
    text,
    whole,
)
from edge.http.client_options import refuse_client_options
from edge.http.fields import LONGEST_MODEL, json_object
from edge.http.multipart import read_form
from edge.media import jobs, requests, submission
from edge.media.files import file_response
from edge.media.jobs import FoundJob
from edge.request_context import private, read_body, services, write
from shared import media
from shared.core.errors import InvalidRequest, NotFound, Unavailable
from shared.files.storage import Storage
from shared.media.failure_messages import reason
from shared.media.finish_job import NO_SUCH_JOB
from shared.media.retention import delete_job
from shared.models import MediaJob

videos = Blueprint("videos", __name__)

PREFIX = "video_"
MAX_LISTED = 100
DEFAULT_LISTED = 20
STATUSES = {"queued": "queued", "running": "in_progress", "succeeded": "completed", "failed": "failed", "cancelled": "failed"}
CANCELLED = {"code": "cancelled", "message": "The job was cancelled. You were not charged."}


_VIDEO = record(
    {
        "id": STRING,
        "object": one_of("video"),
        "model": STRING,
        "status": one_of(*sorted(set(STATUSES.values()))),
        "progress": INTEGER,
        "created_at": INTEGER,
        "completed_at": or_null(INTEGER),
        "error": or_null(OPEN),
        "yout": OPEN,
    }
)
_LIST = record({"object": one_of("list"), "data": array(_VIDEO), "has_more": BOOLEAN})


@videos.post("/v1/videos")
@declare(
    "Create a video",
    callers=KEY,
    body=example(
        open_wish(
            {"model": text(LONGEST_MODEL), "prompt": text(requests.LONGEST_PROMPT), "seconds": ANY, "size": STRING},
            required=("model", "prompt"),
        ),
        {"model": "$video", "prompt": "A lighthouse"},
    ),
    answers={200: Answer(_VIDEO, "The video job. Poll it until it finishes.")},
    refusals=(*CALL, Unavailable),
)
async def create() -> Response:
    """Submit a video job. OpenAI's SDKs send a form."""
    terms = await submission.read_terms(key_only=True)
    body = await _body()
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)  # a form's boundary is different each time
    ordered = await submission.order(requests.media_call("video", body), terms.for_body(canonical))
    found = await jobs.find(terms.caller.account, ordered.submitted.job.id)
    response = private(_document(found.job))
    response.headers.update({name.decode(): value.decode() for name, value in rate_headers(ordered.standing)})
    return response


@videos.get("/v1/videos")
@declare(
    "List videos",
    callers=KEY,
    query={"limit": whole(1, MAX_LISTED), "order": one_of("asc", "desc"), "after": STRING},
    answers={200: Answer(_LIST)},
    refusals=(InvalidRequest, NotFound),
)
async def list_own() -> Response:
    """List the account's videos."""
    caller = await submission.key_account()
    sent, order = request.args.get("limit", str(DEFAULT_LISTED)), request.args.get("order", "desc")
    if not (sent.isascii() and sent.isdigit() and len(sent) < 5 and 1 <= int(sent) <= MAX_LISTED):
        raise InvalidRequest(f"'limit' must be an integer between 1 and {MAX_LISTED}.", "limit")
    if order not in ("asc", "desc"):
        raise InvalidRequest("'order' must be 'asc' or 'desc'.", "order")
    limit, after = int(sent), request.args.get("after")
    found = await jobs.list_jobs(
        caller.account, limit=limit + 1, after=_id(after) if after else None, ascending=order == "asc", kind="video"
    )
    page = [_document(entry.job) for entry in found[:limit]]
    ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
    return private({"object": "list", "data": page, "has_more": len(found) > limit, **ends})


@videos.get("/v1/videos/<id>")
@declare("Retrieve a video", callers=KEY, answers={200: Answer(_VIDEO)}, refusals=(NotFound,))
async def retrieve(id: str) -> Response:
    """Return a video job."""
    return private(_document((await _find(id)).job))


@videos.get("/v1/videos/<id>/content")
@declare(
    "Download a video",
    callers=KEY,
    query={"variant": one_of("video")},
    answers={200: Answer(None, "The video file.", ("*/*",)), 206: Answer(None, "The requested range.", ("*/*",))},
    refusals=(InvalidRequest, NotFound, Unavailable),
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
@declare(
    "Delete a video",
    callers=KEY,
    answers={200: Answer(record({"id": STRING, "object": one_of("video.deleted"), "deleted": BOOLEAN}))},
    refusals=(NotFound, Unavailable),
)
async def delete(id: str) -> Response:
    """Cancel a running video job, and delete it with its files."""
    found = await _find(id)
    await write(partial(media.cancel, found.job.__data__["account"], found.job.id))
    await asyncio.to_thread(_delete_files, services().storage, found)
    await write(partial(delete_job, found.job.id))
    return private({"id": _name(found.job), "object": "video.deleted", "deleted": True})


async def _body() -> dict[str, Any]:
    data = await read_body()
    if request.mimetype != "multipart/form-data":
        return json_object(data)
    form = await asyncio.to_thread(read_form, data, request.headers["content-type"])
    refuse_client_options(name for name, _ in (*form.fields, *form.files))
    for name, _ in form.files:
        raise InvalidRequest(f"'{name}' must not be a file. Describe the scene in 'prompt'.", name)
    return dict(form.fields)


async def _find(id: str) -> FoundJob:
    caller = await submission.key_account()
    return await jobs.find(caller.account, _id(id), "video")


def _id(text: str) -> UUID:
    if not text.startswith(PREFIX):
        raise NotFound(NO_SUCH_JOB)
    return jobs.job_id(text.removeprefix(PREFIX))


def _name(job: MediaJob) -> str:
    return PREFIX + job.id.hex


def _delete_files(storage: Storage, found: FoundJob) -> None:
    for output in found.outputs:
        storage.delete(output.storage_key)


def _document(job: MediaJob) -> dict[str, Any]:
    """Return a video job in OpenAI's format. `prompt` is null, because prompts are not stored."""
    error = None
    if job.status == "cancelled":
        error = CANCELLED
    elif job.error_code is not None:
        error = {"code": job.error_code, "message": reason(job.error_code)}
    return {
        "id": _name(job),
        "object": "video",
        "model": job.model,
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
