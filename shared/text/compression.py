"""Compresses HTTP responses, for the edge's and the console's pages. Decides which ones may be compressed.

A response to a request with cookies is compressed only if the browser states that the request came from our own pages. Otherwise
another site could send requests with guessed text in the URL and learn the page's secrets, such as its CSRF token, from the
length of the compressed response (BREACH).
"""

from __future__ import annotations

import gzip
import re

import brotli

CODINGS = ("br", "gzip")  # best first
MIN_BYTES = 1_000  # a smaller response fits into one packet anyway
BROTLI_QUALITY, GZIP_LEVEL = 5, 6  # about 1 ms for 100 KB
MAX_BROTLI_QUALITY, MAX_GZIP_LEVEL = 11, 9
_COMPRESSIBLE = re.compile(
    r"(text/(?!event-stream)[\w.+-]+|application/(json|javascript|xml|[\w.-]+\+(json|xml))|image/svg\+xml) *(;|$)"
)
_OWN_PAGES = ("same-origin", "none")  # `none`: typed into the address bar, or a bookmark


def is_compressible(content_type: str) -> bool:
    """Return whether compressing this media type helps and does not delay an event stream."""
    return _COMPRESSIBLE.match(content_type.lower()) is not None


def is_safe_to_compress(has_cookie: bool, fetch_site: str | None) -> bool:
    """Return whether the length of the response reveals nothing to other sites.

    `fetch_site` is the header `Sec-Fetch-Site`, which scripts cannot set, or None if the browser did not send it.
    """
    return not has_cookie or fetch_site in _OWN_PAGES


def compress(data: bytes, coding: str, once: bool = False) -> bytes:
    """Compress `data` with one of `CODINGS`: fast, or as small as possible if it is done only `once`."""
    if coding == "br":
        compressed: bytes = brotli.compress(data, quality=MAX_BROTLI_QUALITY if once else BROTLI_QUALITY)
        return compressed
    return gzip.compress(data, MAX_GZIP_LEVEL if once else GZIP_LEVEL, mtime=0)
