"""Compresses pages and JSON of Quart routes. Streams and calls of models, which bypass Quart, stay as they are."""

from __future__ import annotations

import asyncio

from quart import Response, request
from quart.wrappers.response import DataBody

from shared.text.compression import CODINGS, MIN_BYTES, compress, is_compressible, is_safe_to_compress

MAX_INLINE_BYTES = 200_000  # larger responses are compressed in a thread: this takes more than 2 ms


async def compress_response(response: Response) -> Response:
    """Compress a response to a GET after its route, if the client supports it and it is safe."""
    if (
        request.method not in ("GET", "HEAD")
        or not isinstance(response.response, DataBody)  # a stream or a file
        or len(response.response.data) < MIN_BYTES
        or response.status_code == 206
        or "content-encoding" in response.headers
        or not is_compressible(response.content_type or "")
    ):
        return response
    response.vary.add("accept-encoding")
    coding = request.accept_encodings.best_match(CODINGS)
    if coding is None or not is_safe_to_compress("cookie" in request.headers, request.headers.get("sec-fetch-site")):
        return response
    data = response.response.data
    compressed = compress(data, coding) if len(data) <= MAX_INLINE_BYTES else await asyncio.to_thread(compress, data, coding)
    response.set_data(compressed)
    response.headers["content-encoding"] = coding
    etag, weak = response.get_etag()
    if etag and not weak:
        response.set_etag(etag, weak=True)  # the same content in other bytes
    return response
