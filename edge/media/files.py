"""Serves stored files: streamed, with range requests, and with headers that keep browsers from executing content."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from quart import Response, request

from edge.request_context import services
from shared.core.errors import NotFound
from shared.media.thumbnails import THUMBNAIL_TYPE, thumbnail_key
from shared.models import MediaJob, MediaOutput

# File extensions by media type.
EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/webp": "webp",
    "video/mp4": "mp4", "video/webm": "webm",
    "audio/mpeg": "mp3", "audio/ogg": "ogg", "audio/wav": "wav", "audio/flac": "flac", "audio/aac": "aac", "audio/mp4": "m4a",
    "audio/pcm": "pcm",
}  # fmt: skip
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)


async def file_response(job: MediaJob, output: MediaOutput) -> Response:
    """Return the file, or the requested `Range` of it. Raises `NotFound` if it was deleted, `StorageUnavailable`."""
    size, etag = output.size_bytes, f'"{output.id.hex}"'
    header = request.headers.get("range")
    if header is not None and request.headers.get("if-range", etag) != etag:
        header = None
    part = _range(header, size) if header is not None else None
    if part == ():
        return Response(b"", status=416, headers={"content-range": f"bytes */{size}", **_headers(job, output, etag)})
    start, end = part or (0, size)
    if request.method == "HEAD":
        body: AsyncIterator[bytes] | bytes = b""
    else:
        try:
            body = await services().storage.get_async(output.storage_key, start, end) if size else b""
        except NotFound:
            raise NotFound("This file has been deleted.") from None
    response = Response(body, status=206 if part else 200, headers=_headers(job, output, etag))
    response.headers["content-length"] = str(end - start)
    if part:
        response.headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
    response.timeout = None  # downloading a large file may take a slow client a long time
    return response


async def thumbnail_response(job: MediaJob, output: MediaOutput) -> Response:
    """Return the file's thumbnail, or the file if it has none. Raises `NotFound` if it was deleted, `StorageUnavailable`."""
    storage = services().storage
    try:
        data = b"".join([piece async for piece in await storage.get_async(thumbnail_key(output.storage_key))])
    except NotFound:
        return await file_response(job, output)
    response = Response(data, headers=_headers(job, output, f'"{output.id.hex}-thumbnail"'))
    response.headers["content-type"] = THUMBNAIL_TYPE
    response.headers["cache-control"] = "private, max-age=3600"
    del response.headers["content-disposition"], response.headers["accept-ranges"]
    return response


def _headers(job: MediaJob, output: MediaOutput, etag: str) -> dict[str, str]:
    ending = EXTENSIONS.get(output.media_type, "bin")
    return {
        "content-type": output.media_type,
        "content-disposition": f'attachment; filename="{job.kind}-{job.id.hex[:12]}-{output.position + 1}.{ending}"',
        "accept-ranges": "bytes",
        "etag": etag,
        "cache-control": "private, max-age=300",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "cross-origin",  # other sites may embed files by their signed link
        "referrer-policy": "no-referrer",
    }


def _range(header: str, size: int) -> tuple[int, int] | tuple[()] | None:
    """Parse a `Range` as `(start, end)`: empty if outside the file, None if it is not a single byte range."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return None
    return (start, end) if start < end else ()
