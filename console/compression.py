"""Compresses the console's pages."""

from __future__ import annotations

from flask import Flask, Response, request

from shared.text.compression import CODINGS, MIN_BYTES, compress, is_compressible, is_safe_to_compress


def install(app: Flask) -> None:
    """Compress responses of `app`. Install it before everything that changes a response."""
    app.after_request(_compress)


def _compress(response: Response) -> Response:
    """Compress a response to a GET, if the browser supports it and it is safe. Streamed exports stay as they are."""
    if (
        request.method not in ("GET", "HEAD")
        or response.is_streamed
        or response.direct_passthrough
        or "Content-Encoding" in response.headers
        or not is_compressible(response.content_type or "")
        or (response.content_length or 0) < MIN_BYTES
    ):
        return response
    response.vary.add("Accept-Encoding")
    coding = request.accept_encodings.best_match(CODINGS)
    if coding is None or not is_safe_to_compress("Cookie" in request.headers, request.headers.get("Sec-Fetch-Site")):
        return response
    response.set_data(compress(response.get_data(), coding))
    response.headers["Content-Encoding"] = coding
    return response
